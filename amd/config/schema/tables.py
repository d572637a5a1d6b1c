"""Benchmarks, and the tables and figures that show them."""

from typing import Annotated, Literal

from pydantic import Field

from amd.config.schema.closed import Closed, Positive, Track


class Benchmark(Closed):
    """What is sampled, who judges it, and what is reported."""

    name: str = ""
    title: str
    track: Track
    protocol: str  # one sentence that a reader of the number needs
    version: Positive = 1  # raise it when the meaning of a number changes: everything is scored anew
    labels: Literal["balanced", "random"] = "balanced"
    seed: int = 0  # of the samples; sample i of every system starts from the same noise
    metrics: list[str]
    per_prompt: Positive = 1  # images of each prompt (text track)
    splits: Positive = 10  # of the inception score


class Column(Closed):
    """A column of a table."""

    key: str
    title: str
    group: str | None = None
    benchmark: str | None = None  # None: a descriptor printed as it stands
    metric: str | None = None
    better: Literal["up", "down", "none"]
    digits: Annotated[int, Field(ge=0)] = 2
    trained_on: list[str] = []  # systems' methods for which this metric was also the training reward


class Row(Closed):
    """A row: a system that is measured, or numbers that are quoted."""

    title: str
    group: str | None = None
    system: str | None = None
    printed: dict[str, str] = {}  # column -> the paper's own string
    quoted_from: str | None = None  # rows that are never measured here, or (a released system) not at every scale
    descriptors: dict[str, str] = {}


class Table(Closed):
    """A table of the paper, or one of ours beside it."""

    name: str = ""
    title: str
    caption: str
    track: Track
    paper: str | None = None  # "Table 4" where the paper has it
    columns: list[Column]
    rows: list[Row]
    baseline: str | None = None  # the row's title that paired tests compare with
    notes: list[str] = []


class Figure(Closed):
    """A figure of the paper, or one of ours beside it."""

    name: str = ""
    title: str
    caption: str
    track: Track
    paper: str | None = None
    kind: Literal["plane", "law", "curves", "coevolution", "dose", "gallery", "winrate"]
    systems: dict[str, str] = {}  # printed title -> system
    problems: list[str] = []
    benchmarks: list[str] = []  # winrate: whose prompts are the contests
    baseline: str | None = None  # winrate: the title that the others play against
    benchmark: str | None = None  # whose metrics curves, coevolution and dose show
    stage: Literal["finetune", "ablation"] = "finetune"  # which iterations the curves run over
    metrics: list[str] = []
    options: dict[str, float] = {}  # numbers of a kind, e.g. k of each dose
