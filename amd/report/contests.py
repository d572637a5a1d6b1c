"""Figure 9: how often a system's image of a prompt scores higher than the baseline's, per benchmark and scorer."""

from typing import Any

import pandas as pd

from amd.config import plan
from amd.config.load import Run
from amd.report.sheet import Drawing, Sheet
from amd.report.style import look, panels, save
from amd.report.winrate import WinRate, win_rate

PAIRS = ("prompt", "index", "training")  # same prompt, same noise, same training seed


def contests(sheet: Sheet) -> Drawing:
    """A panel per benchmark; per scorer a bar for each system, with the interval of a bootstrap over prompts."""
    baseline = sheet.figure.baseline
    assert baseline is not None  # checked at load
    metrics = sheet.library.domain(sheet.scale, sheet.figure.track).metrics
    others = [title for title in sheet.figure.systems if title != baseline]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for benchmark in sheet.figure.benchmarks:
        theirs = _records(sheet, baseline, benchmark)
        for title in others:
            ours = _records(sheet, title, benchmark)
            if theirs is None or ours is None:
                continue
            seeds = sorted(set(ours["training"]) & set(theirs["training"]))
            for metric in sheet.figure.metrics:
                if metric in ours.columns and seeds:
                    won = win_rate(_of(ours, seeds), _of(theirs, seeds), metric, pairing=PAIRS)
                    entry = found.setdefault(benchmark, {}).setdefault(title, {"seeds": seeds})
                    entry[metric] = _plain(won)
    if not found:
        raise ValueError(
            f"figures/{sheet.figure.name}.yaml: no records exist at scale {sheet.scale} yet; run amd score"
        )
    figure, axes = panels(1, len(found), 4.2 * len(found), 3.4)
    colours = look([baseline, *others])
    for ax, (benchmark, systems) in zip(axes, found.items(), strict=True):
        _panel(ax, systems, sheet.figure.metrics, metrics, colours)
        ax.set_title(sheet.library.benchmarks[benchmark].title)
    axes[0].set_ylabel(f"win rate over {baseline}, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(others))
    save(figure, sheet.png, sheet.banner)
    n = max(entry[m]["n"] for systems in found.values() for entry in systems.values() for m in entry if m != "seeds")
    said = (
        f"Pairs share prompt, noise and training seed (up to {n} pairs); ties count half. Bars: all seeds together; "
        "whiskers: 95 % of a bootstrap over prompts. The dotted line is no difference."
    )
    trained = [metrics[m] for m in sheet.figure.metrics if m == "hpsv2" and m in metrics]
    warned = [f"{trained[0]} was the training reward of AMD and DMDR."] if trained else []
    return Drawing(
        {"baseline": baseline, "benchmarks": found},
        [said, *warned, *sheet.absent({baseline, *(title for systems in found.values() for title in systems)})],
    )


def _panel(ax: Any, systems: dict[str, dict[str, Any]], metrics: list[str], names: dict[str, str], look: Any) -> None:
    width = 0.8 / len(systems)
    shown = [m for m in metrics if any(m in entry for entry in systems.values())]
    for i, (title, entry) in enumerate(systems.items()):
        at = [k + (i - (len(systems) - 1) / 2) * width for k in range(len(shown))]
        rates = [100 * entry[m]["rate"] for m in shown]
        low = [rate - 100 * entry[m]["bootstrap"][0] for rate, m in zip(rates, shown, strict=True)]
        high = [100 * entry[m]["bootstrap"][1] - rate for rate, m in zip(rates, shown, strict=True)]
        bar = {"elinewidth": 1, "ecolor": "#333333", "capsize": 2}
        ax.bar(at, rates, 0.9 * width, color=look[title][0], label=title, yerr=[low, high], error_kw=bar)
    ax.axhline(50, color="#333333", linewidth=1, linestyle=":")
    ax.set_xticks(range(len(shown)), [names.get(m, m) for m in shown])
    ax.set_ylim(0, 100)


def _records(sheet: Sheet, title: str, benchmark: str) -> pd.DataFrame | None:
    """Records of every seed that is scored under the present configuration, with the column `training`."""
    frames = []
    for run in sheet.runs(title, stage=False):
        if sheet.read(run, _path(plan.score, run, benchmark)) is not None:
            frames.append(pd.read_parquet(sheet.root / _path(plan.records, run, benchmark)).assign(training=run.seed))
    return pd.concat(frames, ignore_index=True) if frames else None


def _path(kind: Any, run: Run, benchmark: str) -> str:
    return kind(run.scale.name, run.name, run.seed, benchmark, run.domain.judge.name)


def _of(records: pd.DataFrame, seeds: list[int]) -> pd.DataFrame:
    return records[records["training"].isin(seeds)]


def _plain(won: WinRate) -> dict[str, Any]:
    return {**vars(won), "wilson": list(won.wilson), "bootstrap": list(won.bootstrap)}
