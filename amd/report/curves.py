"""Metrics over training: Figure 5 with a panel per metric, Figure 6 with two metrics and their common path."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from amd.config import plan
from amd.report.sheet import DISTANCES, Drawing, Sheet
from amd.report.statistics import summary
from amd.report.style import look, panels, save

WIDE = 3.0  # ratio of the largest to the smallest distance from which an axis is logarithmic
UPDATES = "student updates of the second stage"


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
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
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
    save(figure, sheet.png, sheet.banner)
    return Drawing({"systems": found}, [seeds_said(found), *sheet.absent(found)])


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
    save(figure, sheet.png, sheet.banner)
    said = "On the right each seed's path is thin, the path of the means bold; a star is the end of training."
    return Drawing({"systems": found}, [seeds_said(found), said, *_correlations_said(found), *sheet.absent(found)])


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's, over the milestones of one seed; None where one of the two does not move."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    from scipy.stats import spearmanr  # a second to load, and one kind of figure asks for it

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
