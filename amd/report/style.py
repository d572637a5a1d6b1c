"""How every figure looks: a palette that colour-blind readers can tell apart, light axes, the banner small on top.

Palette: Okabe and Ito, "Color Universal Design" (2008), its yellow left out (too light on white).
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from textwrap import fill
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#4d4d4d", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DPI = 150

LOOK: dict[Any, Any] = {  # of every picture of a report
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@cache
def pyplot() -> ModuleType:
    """matplotlib.pyplot without a screen, dressed in LOOK; loaded by what draws, not by tables."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(LOOK)
    from matplotlib import pyplot

    return pyplot


def look(titles: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Title -> (colour, marker), in the order of the figure's systems: the first, the baseline, is grey."""
    return {title: (PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]) for i, title in enumerate(titles)}


def panels(
    rows: int, columns: int, width_in: float, height_in: float, widths: Sequence[float] | None = None
) -> "tuple[Figure, list[Axes]]":
    """A figure with rows x columns axes, in reading order; `widths` of the columns, if they differ."""
    size = (width_in, height_in)
    figure, axes = pyplot().subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", width_ratios=widths
    )
    return figure, list(axes.flat)


def arrow(better: str) -> str:
    """Behind a metric's name: which way is better."""
    return {"up": " ↑", "down": " ↓"}.get(better, "")


def banner_lines(banner: str | None, stand_in: str | None) -> list[str]:
    """What a reader must know before any number; empty at paper scale."""
    return [" ".join(line.split()) for line in (banner, stand_in and f"Stand-in: {stand_in}.") if line]


def save(figure: "Figure", out: Path, banner: Sequence[str], metadata: Mapping[str, str] | None = None) -> None:
    """Write `out` (png), the banner in small print at its head. Atomic; closes the figure."""
    if banner:
        characters = int(figure.get_figwidth() * 17)
        figure.suptitle(
            "\n".join(fill(line, characters) for line in banner), fontsize=7, color="#8a4b00", x=0.01, ha="left"
        )
    write(
        out, lambda part: figure.savefig(part, dpi=DPI, format="png", metadata={"Software": "amd", **(metadata or {})})
    )
    pyplot().close(figure)


def write(out: Path, how: Callable[[Path], object]) -> None:
    """`how(part)` writes the file, which is then renamed into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    how(part)
    os.replace(part, out)


def write_text(out: Path, text: str) -> None:
    """Atomic."""
    write(out, lambda part: part.write_text(text))


def write_json(out: Path, content: Mapping[str, object]) -> None:
    """Atomic; a number that is none is refused."""
    write_text(out, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
