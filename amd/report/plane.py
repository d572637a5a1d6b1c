"""The plane's figures: Figure 7 (reward shapes the student), Figure 8 (students over training), how well the reward
tells the Forbidden Zone, and the law of sharpening. Drawn from the plane job's folders; no torch, no formula.

Which layout a figure of kind `plane` has is said by its options: `snapshots: n` shows n points of training in columns,
`zone: 1` draws lines over training, neither shows the end of training beside teacher and reward.
"""

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from amd.config import plan
from amd.config.digest import plane_digest
from amd.config.load import Library
from amd.config.schema.tables import Figure
from amd.report import plane_words as words
from amd.report.style import banner_lines, look, panels, save, write_json, write_text

GOOD, BAD, AWAY = "#0072b2", "#d55e00", "#8c8c8c"  # on a mode that the reward likes, on one it does not, off all modes
INK = ListedColormap([[0.3, 0.3, 0.3, a] for a in np.linspace(0, 0.75, 64)])  # density as ink on white
SIDE_IN = 1.95  # of a panel
WIDE = 6  # students beside one another
SHOWN = 2000  # points of a scatter

Drawn = tuple[list[str], dict[str, Any]]
"""What a layout says below its caption, and the numbers of the figure's JSON."""


@dataclass(frozen=True)
class Found:
    """One problem's folder."""

    name: str
    content: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def modes(self) -> np.ndarray:
        """(M, 2)."""
        return np.array(self.content["modes"])

    @property
    def titles(self) -> list[str]:
        """Of the problem's methods, in order."""
        return list(dict.fromkeys(run["title"] for run in self.content["runs"]))

    def runs(self, system: str) -> list[dict[str, Any]]:
        """Every seed of a system."""
        return [run for run in self.content["runs"] if run["system"] == system]

    def points(self, run: dict[str, Any], at: int) -> np.ndarray:
        """(n, 2) samples of a run at an evaluation."""
        return self.arrays["snapshots"][self.content["runs"].index(run), at][:SHOWN]


def read(library: Library, problem: str, scale: str, root: Path) -> Found:
    """A problem's folder. ValueError where it is missing, or was made from another configuration."""
    folder = root / plan.plane(scale, problem)
    command = f"python -m amd plane --scale {scale} --problem {problem} --out {plan.plane(scale, problem)} --state DIR"
    file = folder / "measurements.json"
    if not file.is_file():
        raise ValueError(f"{file}: not there yet; make it: {command}")
    content = json.loads(file.read_text())
    entry = library.problems[problem]
    systems = {title: library.system(name) for title, name in entry.methods.items()}
    wanted = plane_digest(entry, systems, library.scale(scale))
    if (made := content["run_digest"]) != wanted:
        raise ValueError(f"{file}: made from another configuration ({made}, now {wanted}); make it anew: {command}")
    with np.load(folder / "samples.npz", allow_pickle=False) as arrays:
        return Found(problem, content, dict(arrays))


def build(library: Library, name: str, scale: str, out: Path, *, root: Path = Path()) -> None:
    """Write `out`.png, .json and .md for a figure of kind plane or law."""
    entry = library.figures[name]
    found = [read(library, problem, scale, root) for problem in entry.problems]
    banner = banner_lines(library.scale(scale).banner, None)
    png = out.with_name(f"{out.name}.png")
    if entry.kind == "law":
        said, numbers = law(entry, found, png, banner)
    elif "snapshots" in entry.options:
        said, numbers = evolution(entry, found, png, banner)
    elif "zone" in entry.options:
        said, numbers = zone(entry, found, png, banner)
    else:
        said, numbers = shaping(entry, found, png, banner)
    title = f"{entry.paper}: {entry.title}" if entry.paper else entry.title
    write_json(
        out.with_name(f"{out.name}.json"),
        {"figure": name, "title": title, "kind": entry.kind, "scale": scale, "banner": banner, **numbers},
    )
    head = [f"# {title}", *[f"> {line}" for line in banner], " ".join(entry.caption.split())]
    foot = words.footer([f.content for f in found])
    write_text(out.with_name(f"{out.name}.md"), "\n\n".join([*head, *said, foot]) + "\n")


# --- panels ----------------------------------------------------------------------------------------------------------


def bare(ax: Axes, found: Found, title: str = "") -> None:
    """A square of the plane without ticks."""
    reach = float(found.arrays["axis"][-1])
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(True)
    ax.set_title(title, fontsize=9)


def mark(ax: Axes, found: Found) -> None:
    """A star on every mode that the reward likes, a cross on every other."""
    good = np.isin(np.arange(len(found.modes)), found.content["good"])
    ax.plot(*found.modes[good].T, "*", color="white", markeredgecolor="black", markeredgewidth=0.7, markersize=9)
    ax.plot(*found.modes[~good].T, "x", color="black", markersize=6, markeredgewidth=1.4)


def image(ax: Axes, found: Found, values: np.ndarray, **how: Any) -> None:
    """A landscape over the square."""
    reach = float(found.arrays["axis"][-1])
    ax.imshow(values, origin="lower", extent=(-reach, reach, -reach, reach), interpolation="bilinear", **how)


def teacher(ax: Axes, found: Found) -> None:
    """The teacher's density; its square root, so that what lies between modes is seen."""
    image(ax, found, np.sqrt(found.arrays["density"]), cmap="viridis")
    mark(ax, found)


def reward(ax: Axes, found: Found) -> None:
    """The reward, liked in blue, disliked in red, on a scale that is even to both sides."""
    values = found.arrays["reward"]
    top = float(np.abs(values).max())
    image(ax, found, values, cmap="RdBu", vmin=-top, vmax=top)
    mark(ax, found)


def student(ax: Axes, found: Found, points: np.ndarray) -> None:
    """Samples over the teacher's density in grey, coloured by the mode that they are on."""
    image(ax, found, np.sqrt(found.arrays["density"]), cmap=INK)
    distance = np.linalg.norm(points[:, None] - found.modes, axis=2)
    nearest, on = distance.argmin(1), distance.min(1) <= words.DISC * found.content["settings"]["mode_std"]
    good = np.isin(nearest, found.content["good"])
    for which, colour in ((~on, AWAY), (on & ~good, BAD), (on & good, GOOD)):
        ax.plot(*points[which].T, ".", color=colour, markersize=1.6, alpha=0.45, markeredgewidth=0, rasterized=True)


def note(ax: Axes, text: str) -> None:
    """Small print below a panel."""
    ax.set_xlabel(text, fontsize=7.5, color="#333333")


# --- layouts ---------------------------------------------------------------------------------------------------------


def contestants(entry: Figure, found: Found) -> dict[str, str]:
    """Printed title -> system: the figure's, or all of the problem's."""
    if entry.systems:
        return entry.systems
    return {run["title"]: run["system"] for run in found.content["runs"]}


def shaping(entry: Figure, found: Sequence[Found], png: Path, banner: Sequence[str]) -> Drawn:
    """Figure 7: per problem teacher, reward, students of the first seed at the end of training, `WIDE` to a line."""
    shown = [list(contestants(entry, each).items()) for each in found]
    columns = 2 + min(WIDE, max(map(len, shown)))
    lines = [max(1, math.ceil(len(systems) / (columns - 2))) for systems in shown]
    figure, axes = panels(sum(lines), columns, SIDE_IN * columns + 0.3, (SIDE_IN + 0.45) * sum(lines) + 0.2)
    free = iter(axes)
    for each, systems, count in zip(found, shown, lines, strict=True):
        grid = [[next(free) for _ in range(columns)] for _ in range(count)]
        first = grid[0]
        bare(first[0], each, "Teacher")
        teacher(first[0], each)
        first[0].set_ylabel(textwrap.fill(each.content["title"], 26), fontsize=9, fontweight="bold")
        bare(first[1], each, "Reward")
        reward(first[1], each)
        places = [ax for line in grid for ax in line[2:]]
        for ax, (title, system) in zip(places, systems, strict=False):
            runs = each.runs(system)
            bare(ax, each, title)
            student(ax, each, each.points(runs[0], -1))
            note(ax, words.short(runs))
        for ax in [*places[len(systems) :], *(ax for line in grid[1:] for ax in line[:2])]:
            ax.axis("off")
    save(figure, png, banner)
    said = [words.legend(found[0].content), *words.tables(entry, [f.content for f in found])]
    return said, words.numbers([f.content for f in found])


def evolution(entry: Figure, found: Sequence[Found], png: Path, banner: Sequence[str]) -> Drawn:
    """Figure 8: a row per system, columns over training, the first seed."""
    each = found[0]
    steps = [point["iteration"] for point in each.content["runs"][0]["curve"]]
    shown = np.unique(np.linspace(0, len(steps) - 1, int(entry.options["snapshots"])).round().astype(int))
    systems = contestants(entry, each)
    columns = len(shown) + 1
    figure, axes = panels(len(systems), columns, SIDE_IN * columns + 0.3, (SIDE_IN + 0.45) * len(systems) + 0.2)
    for row, (title, system) in enumerate(systems.items()):
        line = axes[row * columns : (row + 1) * columns]
        bare(line[0], each, "Reward" if row else "Teacher")
        (reward if row else teacher)(line[0], each)
        line[0].set_ylabel(title, fontsize=9, fontweight="bold")
        runs = each.runs(system)
        for ax, at in zip(line[1:], shown, strict=True):
            bare(ax, each, f"iteration {steps[at]}")
            student(ax, each, each.points(runs[0], at))
            note(ax, words.short(runs, int(at)))
    save(figure, png, banner)
    return [words.legend(each.content), *words.tables(entry, [each.content])], words.numbers([each.content])


def zone(entry: Figure, found: Sequence[Found], png: Path, banner: Sequence[str]) -> Drawn:
    """Two rows over training, a column per problem: samples in the Forbidden Zone; AUROC of "low advantage" for it."""
    figure, axes = panels(2, len(found), 3.1 * len(found), 5.2)
    for column, each in enumerate(found):
        above, below = axes[column], axes[len(found) + column]
        systems = contestants(entry, each)
        for title, (colour, marker) in look(list(systems)).items():
            runs = each.runs(systems[title])
            for ax, key in ((above, "zone"), (below, "auroc_advantage")):
                at, values = words.over_training(runs, key)
                ax.fill_between(at, np.nanmin(values, 0), np.nanmax(values, 0), color=colour, alpha=0.15, linewidth=0)
                ax.plot(at, np.nanmedian(values, 0), color=colour, marker=marker, label=title)
        above.set_title(each.content["title"])
        below.axhline(0.5, color="#888888", linewidth=0.8, linestyle="--")
        below.set(ylim=(0, 1.02), xlabel="student updates")
    axes[0].set_ylabel("samples in the Forbidden Zone")
    axes[len(found)].set_ylabel('AUROC of "low advantage"')
    axes[0].legend()
    save(figure, png, banner)
    return words.zone_tables(entry, [f.content for f in found]), words.numbers([f.content for f in found])


def law(entry: Figure, found: Sequence[Found], png: Path, banner: Sequence[str]) -> Drawn:
    """Mass of the good modes against k: the closed form as lines, one per share of good modes, every run as a dot."""
    rows = words.law_rows(entry, [f.content for f in found])
    figure, (ax, right) = panels(1, 2, 9.0, 3.9)
    shares = sorted({row["p0"] for row in rows})
    colours = look([f"{share:.3g}" for share in shares])
    for share in shares:
        colour = colours[f"{share:.3g}"][0]
        curves = [f.content["law_curve"] for f in found if f.content["p0"] == share]
        curve = next(filter(None, curves), None)
        if curve:
            ax.plot(curve["k"], curve["p"], color=colour, label=f"$p_0$ = {share:.3g}")
    kinds = {f.name: marker for f, (_, marker) in zip(found, look([f.name for f in found]).values(), strict=True)}
    for row in rows:
        colour, marker = colours[f"{row['p0']:.3g}"][0], kinds[row["problem"]]
        at = row["k"] + 0.03 * (list(kinds).index(row["problem"]) - len(kinds) / 2)
        how: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linestyle": "none",
            "markerfacecolor": "none",
            "markersize": 5,
        }
        ax.plot([at] * len(row["measured"]), row["measured"], **how)
        right.plot([row["expected"]] * len(row["measured"]), row["measured"], **how)
    ax.set(xlabel="sharpening strength k, W = exp(−k a)", ylabel="mass of the good modes p", xlim=(-0.2, 3.4))
    ax.set_title("The closed form and every run")
    low = min(min(row["measured"] + [row["expected"]]) for row in rows) - 0.05
    right.plot([low, 1], [low, 1], color="#888888", linewidth=0.8)
    right.fill_between([low, 1], [low - 0.05, 0.95], [low + 0.05, 1.05], color="#888888", alpha=0.15, linewidth=0)
    right.set(xlim=(low, 1), ylim=(low, 1.01), xlabel="predicted p", ylabel="measured p")
    right.set_title("Measured against predicted, ± 0.05 shaded")
    for each in found:
        how = {"color": "black", "marker": kinds[each.name], "linestyle": "none", "markerfacecolor": "none"}
        right.plot([], [], label=each.content["title"], **how)
    ax.legend(loc="lower right")
    right.legend(loc="lower right", fontsize=7)
    save(figure, png, banner)
    contents = [f.content for f in found]
    return words.law_table(rows), {"rows": rows, **words.numbers(contents)}
