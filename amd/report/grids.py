"""A table's content as grids of strings: what was measured, and how it compares with the baseline row.

The number of digits follows the interval; what is not measured is a dash.
"""

from amd.config.schema.tables import Column
from amd.report.cells import Line, Value
from amd.report.content import Content, figures
from amd.report.markup import MARK, Grid, plain, signed
from amd.report.style import arrow

NOTHING = "—"
FLOOR = {"half": "Real images, half against half", "at_n": "Real images, as many as samples"}


def main_grid(content: Content) -> Grid:
    """A row per system; per metric ours, the paper's value and the difference where it prints any; then the floor."""
    header = ["System", "Seeds"]
    for column in content.columns:
        header.append(content.names[column.key] + arrow(column.better))
        if column.metric and content.has_printed(column):
            header += [f"paper's {column.title}", "difference"]
    grid, group = Grid(header), None
    for line in content.lines:
        if line.row.group is not None and line.row.group != group:
            grid.rows.append(line.row.group)
        group = line.row.group
        quoted = f" (quoted: {line.row.quoted_from})" if line.row.quoted_from and not line.wanted else ""
        cells = [line.row.title + quoted, line.state]
        for column in content.columns:
            cells += _cells(content, line, column)
        grid.rows.append(cells)
    if content.floor:
        grid.rows.append("Floor")
        for key, title in FLOOR.items():
            cells = [title, NOTHING]
            for column in content.columns:
                value = content.floor.get(key, {}).get(column.key)
                cells.append(NOTHING if value is None else plain(value, figures(value, 3, column.digits)))
                cells += [NOTHING, NOTHING] if column.metric and content.has_printed(column) else []
            grid.rows.append(cells)
    return grid


def _cells(content: Content, line: Line, column: Column) -> list[str]:
    if column.metric is None:
        return [line.row.descriptors.get(column.key) or line.row.printed.get(column.key, NOTHING)]
    value = line.values.get(column.key)
    digits = content.digits(column, value)
    if value is None or value.summary is None:
        ours = NOTHING
    else:
        width = value.summary.half_width
        ours = plain(value.summary.mean, digits) + (f" ± {width:.{digits}f}" if width is not None else "")
        ours += f" {MARK}" if value.trained_on else ""
    if not content.has_printed(column):
        return [ours]
    if value is None or value.printed is None:
        return [ours, NOTHING, NOTHING]
    return [ours, value.printed, NOTHING if value.difference is None else signed(value.difference, digits)]


def against_grid(content: Content) -> Grid | None:
    """A row per system, per metric the difference from the baseline row, its interval and verdict, and the paper's."""
    columns = [c for c in content.measured if any(_compared(line, c) for line in content.lines)]
    if not columns:
        return None
    header = ["System"]
    for column in columns:
        header.append(content.names[column.key] + arrow(column.better))
        header += ["paper's"] if any(_paper_compared(line, column) for line in content.lines) else []
    grid, group = Grid(header), None
    for line in content.lines:
        if not any(_compared(line, column) for column in columns):
            continue
        if line.row.group is not None and line.row.group != group:
            grid.rows.append(line.row.group)
        group = line.row.group
        cells = [line.row.title]
        for column in columns:
            cells.append(_comparison(line.values.get(column.key), column))
            if any(_paper_compared(each, column) for each in content.lines):
                value = line.values.get(column.key)
                paper = None if value is None else value.printed_difference
                cells.append(NOTHING if paper is None else signed(paper, column.digits))
        grid.rows.append(cells)
    return grid


def _compared(line: Line, column: Column) -> bool:
    return column.key in line.values and line.values[column.key].comparison is not None


def _paper_compared(line: Line, column: Column) -> bool:
    return column.key in line.values and line.values[column.key].printed_difference is not None


def _comparison(value: Value | None, column: Column) -> str:
    if value is None or value.comparison is None:
        return NOTHING
    difference, verdict = value.comparison.difference, value.comparison.verdict
    width = difference.half_width
    digits = figures(width, 2, column.digits) if width else figures(difference.mean, 3, column.digits)
    text = signed(difference.mean, digits) + (f" ± {width:.{digits}f}" if width is not None else "")
    return f"{text}, {judged(verdict, column.better)}"


def judged(verdict: str, better: str) -> str:
    """above and below as better and worse, where the column says which is which."""
    if verdict not in ("above", "below") or better == "none":
        return verdict
    return "better" if (verdict == "above") == (better == "up") else "worse"
