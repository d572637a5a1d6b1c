"""A table's content before any markup: its rows with their numbers, the names of its metrics, its banner, its floor."""

import math
from collections import Counter
from pathlib import Path

from amd.config import plan
from amd.config.load import Library
from amd.config.schema.tables import Column, Table
from amd.report.cells import Line, Value, lines, order
from amd.report.origin import Pulled, pulled_for
from amd.report.style import banner_lines


class Content:
    """A table with its numbers, before any markup."""

    def __init__(self, library: Library, table: Table, scale: str, found: list[Line], complaints: list[str]) -> None:
        domain = library.domain(scale, table.track)
        self.table, self.scale, self.lines, self.complaints = table, scale, found, complaints
        self.pulled: list[Pulled] = []
        self.columns = plan.columns(library, table, scale)
        names = {c.key: domain.metrics.get(c.metric, c.title) if c.metric else c.title for c in self.columns}
        several = {name for name, count in Counter(names.values()).items() if count > 1}  # of several benchmarks
        self.names = {
            c.key: f"{c.group}: {names[c.key]}" if c.group and names[c.key] in several else names[c.key]
            for c in self.columns
        }
        self.banner = banner_lines(library.scales[scale].banner, domain.stand_in)
        self.stands_in = domain.stand_in is not None
        self.scores = [score for line in found for score in line.scores.values()]
        self.digests = {
            line.row.system: library.run(line.row.system, scale, line.wanted[0]).digest
            for line in found
            if line.row.system and line.wanted
        }
        self.orders = {c.key: ranks for c in self.columns if (ranks := order(found, c)) is not None}
        # what is compared -> Column.key -> what real images have there
        self.floor: dict[str, dict[str, float]] = {}
        for line in found:
            for key, known in line.floors.items():
                for kind, value in known.items():
                    self.floor.setdefault(kind, {}).setdefault(key, value)

    @property
    def measured(self) -> list[Column]:
        """Columns with a metric."""
        return [column for column in self.columns if column.metric is not None]

    def has_printed(self, column: Column) -> bool:
        """Whether the paper prints anything in this column."""
        return any(column.key in line.row.printed for line in self.lines)

    def digits(self, column: Column, value: Value | None) -> int:
        """Two figures of the interval, three of a number without one; at most what the column asks for."""
        mean = None if value is None else value.summary
        if mean is not None and mean.half_width:
            return figures(mean.half_width, 2, column.digits)
        return column.digits if mean is None else figures(mean.mean, 3, column.digits)


def figures(value: float, count: int, most: int) -> int:
    """Decimals that show `count` figures of `value`, between 0 and `most`."""
    return most if value == 0 else max(0, min(most, count - 1 - math.floor(math.log10(abs(value)))))


def collect(library: Library, name: str, scale: str, root: Path) -> Content:
    """Read everything that the table shows."""
    if name not in library.tables:
        raise ValueError(f"'{name}' is no table; known: {', '.join(sorted(library.tables))}")
    table = library.tables[name]
    if (reason := plan.reason_not_runnable(library, table)) is not None:
        raise ValueError(f"tables/{name}.yaml cannot be built yet: {reason}")
    found, complaints = lines(library, name, scale, root)
    content = Content(library, table, scale, found, complaints)
    content.pulled = pulled_for(library, scale, found, root)
    return content
