"""Figures drawn from traces, scores and grids: a png, the plotted numbers as json, a caption as md. No torch.

curves: Figure 5, metrics over training, a panel per metric. coevolution: Figure 6, two metrics over training and
against each other. dose: metrics against a number of the method. gallery: every system's samples from the same noise.
The plane's figures are drawn by amd.report.plane.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import imread
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from scipy.stats import spearmanr

from amd.config import plan
from amd.config.load import Library, Run
from amd.config.schema import Figure
from amd.report.statistics import LEVEL, summary
from amd.report.style import arrow, banner_lines, look, panels, save, write_json, write_text

DISTANCES = frozenset({"fid", "sfid"})
"""Metrics of which less is better, and which may shrink by factors; of all others more is better."""

WIDE = 3.0  # ratio of the largest to the smallest distance from which an axis is logarithmic
UPDATES = "student updates of the second stage"


@dataclass(frozen=True)
class Drawing:
    """What a kind of figure gives back: the numbers that it shows and sentences for its caption."""

    numbers: dict[str, Any]
    said: list[str]


@dataclass(frozen=True)
class Sheet:
    """A figure of the configuration at a scale, and where its files go."""

    library: Library
    figure: Figure
    scale: str
    out: Path  # without extension
    root: Path

    @property
    def banner(self) -> list[str]:
        """The scale's banner and what stands in for what."""
        domain = self.library.domain(self.scale, self.figure.track)
        return banner_lines(self.library.scales[self.scale].banner, domain.stand_in)

    def metric(self, key: str) -> str:
        """The domain's honest name, with the direction that is better."""
        name = self.library.domain(self.scale, self.figure.track).metrics[key]
        return name + arrow("down" if key in DISTANCES else "up")

    @property
    def metrics(self) -> list[str]:
        """The figure's, as far as the domain measures them."""
        assert self.figure.benchmark is not None
        measured = plan.metrics(self.library, self.figure.benchmark, self.scale)
        return [key for key in self.figure.metrics if key in measured]

    def runs(self, title: str, stage: bool = True) -> list[Run]:
        """Every seed of a system, at the figure's stage."""
        system = self.figure.systems[title]
        seeds = plan.seeds(self.library, system, self.scale, self.figure.systems.values())
        own = self.figure.stage if stage else None
        return [self.library.run(system, self.scale, seed, own) for seed in seeds]

    def read(self, run: Run, path: str) -> dict[str, Any] | None:
        """A JSON file of `run`, or None where it is missing or of another configuration."""
        file = self.root / path
        if not file.is_file():
            return None
        content = json.loads(file.read_text())
        return content if content["run_digest"] == run.digest else None


def build(library: Library, name: str, scale: str, out_base: Path, *, root: Path = Path()) -> None:
    """Write `out_base`.png, .json and .md. ValueError: an unknown figure, or nothing that it shows exists yet."""
    if name not in library.figures:
        raise ValueError(f"'{name}' is no figure; known: {', '.join(sorted(library.figures))}")
    entry, out = library.figures[name], Path(out_base)
    if (reason := plan.reason_not_runnable(library, entry)) is not None:
        raise ValueError(f"figures/{name}.yaml cannot be drawn yet: {reason}")
    if entry.kind not in KINDS:
        from amd.report import plane

        return plane.build(library, name, scale, out, root=root)
    sheet = Sheet(library, entry, scale, out, root)
    drawing = KINDS[entry.kind](sheet)
    content = {"figure": name, "title": title(entry), "kind": entry.kind, "scale": scale, "banner": sheet.banner}
    write_json(out.with_name(f"{out.name}.json"), {**content, **drawing.numbers})
    parts = [f"# {title(entry)}", *[f"> {line}" for line in sheet.banner], " ".join(entry.caption.split())]
    write_text(out.with_name(f"{out.name}.md"), "\n\n".join([*parts, *drawing.said]) + "\n")
    return None


def title(entry: Figure) -> str:
    """As the paper numbers it."""
    return f"{entry.paper}: {entry.title}" if entry.paper else entry.title


def png(sheet: Sheet) -> Path:
    """The picture's path."""
    return sheet.out.with_name(f"{sheet.out.name}.png")


# --- over training ---------------------------------------------------------------------------------------------------


def traces(sheet: Sheet) -> dict[str, dict[str, Any]]:
    """Title -> {"iterations", "seeds", "metrics": key -> (seeds, points), "n", "digest"}, of systems that have any."""
    found: dict[str, dict[str, Any]] = {}
    for name in sheet.figure.systems:
        each = {
            run.seed: content
            for run in sheet.runs(name)
            if (content := sheet.read(run, plan.trace(sheet.scale, run.name, run.seed, str(sheet.figure.benchmark))))
        }
        if not each:
            continue
        first = next(iter(each.values()))
        if any(content["iterations"] != first["iterations"] for content in each.values()):
            raise ValueError(f"traces of {name}: seeds have different iterations; trace them again")
        found[name] = {
            "iterations": first["iterations"],
            "seeds": list(each),
            "metrics": {key: [content["metrics"][key] for content in each.values()] for key in sheet.metrics},
            "n": first["n"],
            "digest": first["run_digest"],
        }
    if not found:
        raise ValueError(f"figures/{sheet.figure.name}.yaml: no trace exists at scale {sheet.scale} yet; run amd trace")
    return found


def line(axes: Axes, entry: Mapping[str, Any], key: str, name: str, colour: str, marker: str) -> None:
    """Mean over seeds, the band from the lowest seed to the highest."""
    values, at = np.array(entry["metrics"][key]), entry["iterations"]
    axes.fill_between(at, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(at, values.mean(0), color=colour, marker=marker, label=name)


def _log_if_wide(axes: Axes) -> None:
    """A distance that falls by factors hides its end on a linear axis."""
    low, high = axes.dataLim.ymin, axes.dataLim.ymax
    if low > 0 and high / low > WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())


def seeds_said(found: Mapping[str, Mapping[str, Any]]) -> str:
    """How many seeds, of how many samples."""
    counts = sorted({len(entry["seeds"]) for entry in found.values()})
    samples = sorted({entry["n"] for entry in found.values()})
    return (
        f"Lines are means over {' or '.join(map(str, counts))} training seeds, bands reach from the lowest to the "
        f"highest seed; each point is of {' or '.join(map(str, samples))} samples, the same noise everywhere. "
        "Iteration 0 is the start that all share."
    )


def absent(sheet: Sheet, found: Mapping[str, object]) -> list[str]:
    """A sentence that names what is missing."""
    missing = [name for name in sheet.figure.systems if name not in found]
    return [f"Not run at this scale yet: {', '.join(missing)}."] if missing else []


def curves(sheet: Sheet) -> Drawing:
    """A panel per metric, a line per system."""
    found = traces(sheet)
    figure, axes = panels(1, len(sheet.metrics), 3.5 * len(sheet.metrics), 3.7)
    for ax, key in zip(axes, sheet.metrics, strict=True):
        for name, (colour, marker) in look(list(sheet.figure.systems)).items():
            if name in found:
                line(ax, found[name], key, name, colour, marker)
        ax.set_title(sheet.metric(key))
        ax.set_xlabel(UPDATES)
        if key in DISTANCES:
            _log_if_wide(ax)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(found), 4))
    save(figure, png(sheet), sheet.banner)
    return Drawing({"systems": found}, [seeds_said(found), *absent(sheet, found)])


def coevolution(sheet: Sheet) -> Drawing:
    """The first two metrics over training, and the path that they take together; with their rank correlation."""
    found, (quality, reward) = traces(sheet), sheet.metrics[:2]
    figure, axes = panels(1, 3, 10.5, 3.7)
    for name, (colour, marker) in look(list(sheet.figure.systems)).items():
        if name not in found:
            continue
        line(axes[0], found[name], quality, name, colour, marker)
        line(axes[1], found[name], reward, name, colour, marker)
        x, y = (np.array(found[name]["metrics"][key]) for key in (reward, quality))
        for each_x, each_y in zip(x, y, strict=True):
            axes[2].plot(each_x, each_y, color=colour, alpha=0.3, linewidth=0.8)
        axes[2].plot(x.mean(0), y.mean(0), color=colour, marker=marker)
        axes[2].plot(x.mean(0)[-1], y.mean(0)[-1], marker="*", markersize=13, color=colour)
        found[name]["rank_correlation"] = [_rank_correlation(*pair) for pair in zip(x, y, strict=True)]
    for ax, key in zip(axes[:2], (quality, reward), strict=True):
        ax.set_title(sheet.metric(key))
        ax.set_xlabel(UPDATES)
    axes[2].set_title("Together")
    axes[2].set_xlabel(sheet.metric(reward))
    axes[2].set_ylabel(sheet.metric(quality))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save(figure, png(sheet), sheet.banner)
    said = "On the right each seed's path is thin, the path of the means bold; a star is the end of training."
    return Drawing({"systems": found}, [seeds_said(found), said, *_correlations_said(found), *absent(sheet, found)])


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's, over the milestones of one seed; None where one of the two does not move."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(spearmanr(x, y).statistic)


def _correlations_said(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    each = []
    for name, entry in found.items():
        values = [value for value in entry["rank_correlation"] if value is not None]
        if values:
            each.append(f"{name} {summary(values).mean:.2f}")
    return (
        [f"Rank correlation of the two over a seed's milestones, mean over seeds: {', '.join(each)}."] if each else []
    )


# --- over a number ---------------------------------------------------------------------------------------------------


def dose(sheet: Sheet) -> Drawing:
    """Metrics against the number in `options`: every seed a dot, the mean with its interval."""
    found: dict[str, dict[str, Any]] = {}
    for name in sheet.figure.systems:
        each = {
            run.seed: content
            for run in sheet.runs(name)
            if (content := sheet.read(run, _score(sheet, run))) is not None
        }
        if each:
            found[name] = {
                "dose": sheet.figure.options[name],
                "seeds": list(each),
                "n": next(iter(each.values()))["n"],
                "metrics": {key: [content["metrics"][key] for content in each.values()] for key in sheet.metrics},
            }
    if not found:
        raise ValueError(f"figures/{sheet.figure.name}.yaml: no score exists at scale {sheet.scale} yet; run amd score")
    entries = sorted(found.values(), key=lambda entry: entry["dose"])
    figure, axes = panels(1, len(sheet.metrics), 3.0 * len(sheet.metrics), 3.4)
    colour = look(["", "dose"])["dose"][0]
    for ax, key in zip(axes, sheet.metrics, strict=True):
        for entry in entries:
            entry.setdefault("summary", {})[key] = vars(summary(entry["metrics"][key]))
            values = entry["metrics"][key]
            ax.plot([entry["dose"]] * len(values), values, "o", color=colour, alpha=0.35, markersize=3)
        means = [summary(entry["metrics"][key]) for entry in entries]
        errors = [mean.half_width or 0.0 for mean in means]
        at = [entry["dose"] for entry in entries]
        ax.errorbar(at, [mean.mean for mean in means], yerr=errors, color=colour, marker="o", capsize=3, elinewidth=1)
        ax.set_title(sheet.metric(key))
        ax.set_xlabel(_dose_label(sheet))
    save(figure, png(sheet), sheet.banner)
    counts = " or ".join(sorted({str(len(entry["seeds"])) for entry in entries}))
    samples = " or ".join(sorted({str(entry["n"]) for entry in entries}))
    said = (
        f"Small dots are seeds, lines their means with {LEVEL:.0%} intervals (Student's t over {counts} seeds); "
        f"{samples} samples per seed."
    )
    return Drawing({"systems": found}, [said, *absent(sheet, found)])


def _score(sheet: Sheet, run: Run) -> str:
    return plan.score(sheet.scale, run.name, run.seed, str(sheet.figure.benchmark), run.domain.judge.name)


def _dose_label(sheet: Sheet) -> str:
    """What the systems' titles have before the equals sign: "k = 1" -> "k"."""
    return next(iter(sheet.figure.systems)).partition("=")[0].strip()


# --- pictures --------------------------------------------------------------------------------------------------------


def gallery(sheet: Sheet) -> Drawing:
    """Every system's grid under its title."""
    found = {}
    for name in sheet.figure.systems:
        run = sheet.runs(name, stage=False)[0]
        if (file := sheet.root / plan.grid(sheet.scale, run.name, run.seed)).is_file():
            found[name] = {
                "system": run.system.name,
                "seed": run.seed,
                "grid": str(file.relative_to(sheet.root)),
                "file": file,
            }
    if not found:
        raise ValueError(f"figures/{sheet.figure.name}.yaml: no grid exists at scale {sheet.scale} yet; run amd grid")
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure, axes = panels(rows, columns, 3.0 * columns, 3.2 * rows + 0.3)
    for ax in axes:
        ax.set_axis_off()
    for ax, (name, entry) in zip(axes, found.items(), strict=False):
        picture = imread(entry.pop("file"))
        ax.imshow(
            picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if picture.shape[0] < 600 else "antialiased"
        )
        ax.set_title(name)
    save(figure, png(sheet), sheet.banner)
    said = "One row per class; a place in a grid starts from the same noise in all of them."
    return Drawing({"systems": found}, [said, *absent(sheet, found)])


KINDS: dict[str, Callable[[Sheet], Drawing]] = {
    "curves": curves,
    "coevolution": coevolution,
    "dose": dose,
    "gallery": gallery,
}
"""Kind of a figure's file -> how it is drawn; the plane's kinds are amd.report.plane's."""
