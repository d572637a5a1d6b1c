"""What a checkout builds."""

from typing import Literal

from amd.config.schema.closed import Closed, Track

EVERYTHING = "*"  # in a goal: every runnable table, or figure


class Goal(Closed):
    """A named set of tables and figures, so that `make tiny` and `rule all` are data."""

    tables: list[str] = []
    figures: list[str] = []


class Choice(Closed):
    """config/config.yaml: what this checkout builds."""

    scale: str = "tiny"
    checkpoints: Literal["train", "pull"] = "train"  # who makes a checkpoint: training here, or `dvc pull`
    domains: dict[Track, str] = {}  # overrides of the scale's
    mirror: str | None = None  # folder with assets, looked at before any address
    goals: dict[str, Goal]  # "main", "all"
