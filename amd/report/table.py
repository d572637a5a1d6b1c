"""A table of the paper from score files: md and tex to read, csv and json to compute with. No torch.

Every number comes from a file; what is not measured says so. Names of metrics are the domain's honest ones, the banner
says at which scale, and a difference whose interval over seeds holds zero is printed as inside the noise.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from amd.config.load import Library
from amd.report.cells import Line
from amd.report.content import Content, collect
from amd.report.grids import against_grid, main_grid
from amd.report.markup import escape, latex, markdown
from amd.report.statistics import LEVEL
from amd.report.style import write_json, write_text
from amd.report.wording import footer, notes, order_lines, title


def build(library: Library, name: str, scale: str, out_base: Path, *, root: Path = Path()) -> None:
    """Write `out_base`.md, .tex, .csv and .json. ValueError where the table cannot be built yet, with the reason."""
    content = collect(library, name, scale, root)
    out = Path(out_base)
    for ext, text in (("md", as_markdown(content)), ("tex", as_latex(content)), ("csv", as_csv(content))):
        write_text(out.with_name(f"{out.name}.{ext}"), text)
    write_json(out.with_name(f"{out.name}.json"), as_json(content))


def as_markdown(content: Content) -> str:
    """To read."""
    parts = [f"# {title(content)}"]
    parts += [f"> **{line}**" if i == 0 else f"> {line}" for i, line in enumerate(content.banner)]
    parts += [" ".join(content.table.caption.split()), markdown(main_grid(content))]
    if (tests := against_grid(content)) is not None:
        parts += [
            f"## Against {content.table.baseline}, seed by seed",
            f"Paired over seeds; ± is half of the {LEVEL:.0%} interval of the difference, "
            "inside the noise where the interval holds zero.",
            markdown(tests),
        ]
    if ranks := order_lines(content):
        parts += ["## The paper's order", "\n".join(f"- {line}" for line in ranks)]
    parts += ["## Notes", "\n".join(f"- {note}" for note in notes(content))]
    parts += ["## Made from", "\n".join(f"- {line}" for line in footer(content))]
    return _joined(parts)


def _joined(parts: Sequence[str]) -> str:
    """Blank lines between, but for the lines of one quotation."""
    text = parts[0]
    for before, part in pairwise(parts):
        text += ("\n>\n" if before.startswith(">") and part.startswith(">") else "\n\n") + part
    return text + "\n"


def as_latex(content: Content) -> str:
    """To paste: needs booktabs."""
    caption = escape(f"{title(content)}. {' '.join(content.table.caption.split())}")
    lines = [f"% {line}" for line in [*content.banner, *notes(content), *order_lines(content), *footer(content)]]
    lines += [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    lines += [rf"{{\small {escape(' '.join(content.banner))}\par}}"] if content.banner else []
    lines.append(latex(main_grid(content)))
    if (tests := against_grid(content)) is not None:
        lines += [
            "",
            r"\medskip",
            rf"{{\small Against {escape(content.table.baseline or '')}, seed by seed}}",
            "",
            latex(tests),
        ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def as_csv(content: Content) -> str:
    """A line per cell, unrounded."""
    sink = io.StringIO()
    header = "table scale group row system trained_on column metric n_seeds mean low high printed difference"
    header += " baseline_difference baseline_low baseline_high p verdict per_seed"
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header.split())
    for line in content.lines:
        for column in content.measured:
            if (value := line.values.get(column.key)) is None:
                continue
            mean, test = value.summary, value.comparison
            writer.writerow(
                [content.table.name, content.scale, line.row.group, line.row.title, line.row.system, value.trained_on]
                + [column.key, content.names[column.key], len(value.per_seed)]
                + ([mean.mean, mean.low, mean.high] if mean else [None] * 3)
                + [value.printed, value.difference]
                + ([test.difference.mean, test.difference.low, test.difference.high] if test else [None] * 3)
                + ([test.p, test.verdict] if test else [None] * 2)
                + [" ".join(f"{seed}:{number}" for seed, number in value.per_seed.items())]
            )
    return sink.getvalue()


def as_json(content: Content) -> dict[str, Any]:
    """Everything, with names."""
    table = content.table
    return {
        "table": table.name,
        "title": title(content),
        "caption": " ".join(table.caption.split()),
        "paper": table.paper,
        "scale": content.scale,
        "banner": content.banner,
        "baseline": table.baseline,
        "level": LEVEL,
        "columns": [{**column.model_dump(), "name": content.names[column.key]} for column in content.columns],
        "rows": [_row_json(content, line) for line in content.lines],
        "floor": content.floor,
        "order": content.orders,
        "notes": notes(content),
        "footer": footer(content),
        "pulled": [each.as_json() for each in content.pulled],
    }


def _row_json(content: Content, line: Line) -> dict[str, Any]:
    cells = {}
    for key, value in line.values.items():
        cell = {**asdict(value), "per_seed": {str(seed): number for seed, number in value.per_seed.items()}}
        cells[key] = {k: v for k, v in cell.items() if k != "wanted"}
    return {
        "title": line.row.title,
        "group": line.row.group,
        "system": line.row.system,
        "quoted_from": line.row.quoted_from,
        "state": line.state,
        "seeds": list(line.seeds),
        "seeds_wanted": list(line.wanted),
        "baseline": line.baseline,
        "digest": content.digests.get(line.row.system or ""),
        "made_from": {
            str(seed): {k: score.get(k) for k in ("student_sha256", "judge_sha256", "git_sha", "n", "created")}
            for seed, score in line.scores.items()
        },
        "descriptors": dict(line.row.descriptors),
        "cells": cells,
    }
