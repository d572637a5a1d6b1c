"""Score files -> a table's cells: mean over seeds, the paper's value, the difference, the test against the baseline.

A score is believed if its digest is the one that the configuration asks for now; others are out of date and left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amd.config import plan
from amd.config.load import Library
from amd.config.methods import REWARDED
from amd.config.schema.tables import Column, Row, Table
from amd.report.statistics import Comparison, Summary, compare, summary

Score = Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """One measured cell."""

    per_seed: dict[int, float]
    wanted: tuple[int, ...]  # seeds that the plan asks for
    summary: Summary | None  # None: no seed has been scored
    comparison: Comparison | None  # against the baseline row, seed by seed; None: nothing to compare
    printed: str | None  # the paper's
    difference: float | None  # mean minus printed
    printed_difference: float | None  # of the paper's values: row minus baseline
    trained_on: bool  # the metric was this row's training reward, or one of its family


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    row: Row
    seeds: tuple[int, ...]  # that every measured cell of the row has
    wanted: tuple[int, ...]
    values: dict[str, Value]  # Column.key -> cell
    baseline: bool
    scores: dict[int, Score]  # seed -> score file, the first benchmark's
    floors: dict[str, dict[str, float]]  # Column.key -> what real images have there, by what is compared

    @property
    def state(self) -> str:
        """What stands in the seeds column."""
        if not self.wanted:  # a row without a system, or of a released one at a scale that does not sample it
            return "quoted" if self.row.quoted_from else "-"
        if len(self.seeds) == len(self.wanted):
            return str(len(self.seeds))
        return f"{len(self.seeds)} of {len(self.wanted)}" if self.seeds else "not run"


def read_scores(paths: Sequence[str], digests: Mapping[str, str], root: Path) -> tuple[dict[str, Score], list[str]]:
    """path -> score, and one sentence for each file that is there and not used."""
    found, complaints = {}, []
    for path in paths:
        file = root / path
        if not file.is_file():
            continue
        score = json.loads(file.read_text())
        if score["run_digest"] != digests[path]:
            complaints.append(
                f"{path} is out of date: of {score['run_digest']}, wanted {digests[path]}; score it again"
            )
        else:
            found[path] = score
    return found, complaints


def lines(library: Library, name: str, scale: str, root: Path) -> tuple[list[Line], list[str]]:
    """Every row of a table with what has been measured, and what has to be said about files that were left out."""
    table, planned = library.tables[name], plan.cells(library, name, scale)
    digests = {
        path: library.run(cell.system, scale, seed).digest
        for cell in planned
        for seed, path in zip(cell.seeds, cell.scores, strict=True)
    }
    scores, complaints = read_scores(list(digests), digests, root)
    columns = {column.key: column for column in table.columns}
    measured: dict[tuple[int, str], dict[int, float]] = {}
    floors: dict[tuple[int, str], dict[str, float]] = {}
    for cell in planned:
        there = {seed: scores[path] for seed, path in zip(cell.seeds, cell.scores, strict=True) if path in scores}
        numbers = {
            seed: score["metrics"][cell.metric] for seed, score in there.items() if cell.metric in score["metrics"]
        }
        measured[cell.row, cell.column] = numbers
        floors[cell.row, cell.column] = {
            kind: known[cell.metric]
            for score in there.values()
            for kind, known in (score.get("floor") or {}).items()
            if cell.metric in known
        }
    found = []
    for i, row in enumerate(table.rows):
        cells = [cell for cell in planned if cell.row == i]
        if row.system is not None and not cells and not row.printed:
            continue  # a released system that the paper prints nothing of, at a scale that does not sample it
        base = baseline(table, i)
        values = {
            cell.column: _value(library, table, i, base, columns[cell.column], measured, cell.seeds) for cell in cells
        }
        values |= {
            key: Value({}, (), None, None, printed, None, None, False)
            for key, printed in row.printed.items()
            if key not in values
        }
        wanted = cells[0].seeds if cells else ()
        by_seed = {
            seed: scores[path]
            for cell in cells[:1]
            for seed, path in zip(cell.seeds, cell.scores, strict=True)
            if path in scores
        }
        real = {cell.column: floors[i, cell.column] for cell in cells}
        found.append(Line(row, tuple(sorted(by_seed)), wanted, values, base == i, by_seed, real))
    return found, complaints


def baseline(table: Table, row: int) -> int | None:
    """Index of the row that `row` is tested against: the baseline of its own group, else the table's only one."""
    named = [i for i, other in enumerate(table.rows) if other.title == table.baseline]
    own = [i for i in named if table.rows[i].group == table.rows[row].group]
    if own:
        return own[0]
    return named[0] if len(named) == 1 else None


def _value(
    library: Library,
    table: Table,
    row: int,
    base: int | None,
    column: Column,
    measured: Mapping[tuple[int, str], dict[int, float]],
    wanted: tuple[int, ...],
) -> Value:
    entry, numbers = table.rows[row], measured[row, column.key]
    assert entry.system is not None
    system = library.systems[entry.system]
    against = None
    if base is not None and base != row and system.kind == "student":  # a teacher's seed is not a student's
        against = compare(numbers, measured.get((base, column.key), {}))
    printed, reference = entry.printed.get(column.key), None
    if base is not None and base != row and printed is not None:
        reference = table.rows[base].printed.get(column.key)
    mean = summary(list(numbers.values())) if numbers else None
    return Value(
        per_seed=numbers,
        wanted=wanted,
        summary=mean,
        comparison=against,
        printed=printed,
        difference=None if mean is None or printed is None else mean.mean - float(printed),
        printed_difference=None if printed is None or reference is None else float(printed) - float(reference),
        trained_on=system.method in column.trained_on or (column.metric == "reward" and system.method in REWARDED),
    )


def order(found: Sequence[Line], column: Column) -> dict[str, list[str]] | None:
    """The paper's order of the rows that it prints, and ours of them, best first; None where one is missing."""
    both = [
        (line.row.title, float(value.printed), value.summary.mean)
        for line in found
        if (value := line.values.get(column.key)) is not None
        and value.printed is not None
        and value.summary is not None
    ]
    printed = sum(1 for line in found if column.key in line.row.printed)
    if len(both) < 2 or len(both) < printed or column.better == "none":
        return None
    sign = -1 if column.better == "up" else 1
    return {
        "paper": [title for title, value, _ in sorted(both, key=lambda each: sign * each[1])],
        "here": [title for title, _, value in sorted(both, key=lambda each: sign * each[2])],
    }
