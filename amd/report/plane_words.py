"""The tables and sentences under the plane's figures, from the numbers of the plane job. Nothing here is typed in."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from amd.config.schema.tables import Figure
from amd.report.markup import Grid, markdown

DISC = 3.0  # standard deviations around a mode that count as on it, as the measurements do
Content = dict[str, Any]
Run = dict[str, Any]

NAMES = {
    "good": "p",
    "off": "off",
    "covered": "modes",
    "std_ratio": "spread",
    "ed_real": "ED real",
    "ed_good": "ED good",
    "zone": "zone",
    "auroc_reward": "AUROC r",
    "auroc_advantage": "AUROC a",
}
"""Measured key -> what a table calls it."""


def values(runs: Sequence[Run], key: str, at: int = -1) -> list[float]:
    """Of every seed that has one."""
    return [run["curve"][at][key] for run in runs if run["curve"][at][key] is not None]


def number(value: float | None, digits: int = 3) -> str:
    """As printed; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def middle(runs: Sequence[Run], key: str, at: int = -1) -> float | None:
    """Median over seeds."""
    found = values(runs, key, at)
    return median(found) if found else None


def spread(runs: Sequence[Run], key: str, digits: int = 3) -> str:
    """Median over seeds, and the lowest and highest in brackets where there are several."""
    found = values(runs, key)
    if not found:
        return "-"
    digits = 0 if key == "covered" else digits
    text = number(median(found), digits)
    return text if len(found) == 1 else f"{text} ({number(min(found), digits)} to {number(max(found), digits)})"


def expected(law: dict[str, float]) -> float:
    """What the law says for the run's own K; where only the large group is known, that."""
    return law.get("p_at_K", law["p"])


def short(runs: Sequence[Run], at: int = -1) -> str:
    """One line for a panel: medians over seeds."""
    p, off = middle(runs, "good", at), middle(runs, "off", at)
    said = [] if p is None else [f"p {p:.2f}"]
    law = runs[0]["law"]
    if p is not None and law is not None and at in (-1, len(runs[0]["curve"]) - 1):
        said = [f"p {p:.2f} (law {expected(law):.2f})"]
    covered = middle(runs, "covered", at)
    return ", ".join([*said, f"off {off:.2f}", f"modes {covered:.0f}"])


def by_title(entry: Figure, content: Content) -> dict[str, list[Run]]:
    """Printed title -> runs: the figure's systems, or all of the problem's."""
    wanted = entry.systems or {run["title"]: run["system"] for run in content["runs"]}
    found = {title: [run for run in content["runs"] if run["system"] == system] for title, system in wanted.items()}
    missing = [title for title, runs in found.items() if not runs]
    if missing:
        known = sorted({run["system"] for run in content["runs"]})
        raise ValueError(
            f"figures/{entry.name}.yaml: systems: {', '.join(missing)} of problem '{content['problem']}' was not run; "
            f"it runs {', '.join(known)}"
        )
    return found


def legend(content: Content) -> str:
    """How to read panels and tables."""
    seeds = len({run["seed"] for run in content["runs"]})
    quantile = f"{content['settings']['gamma_quantile']:.0%}"
    said = (
        f"Panels show the first seed; numbers are medians over {seeds} seeds (lowest to highest), each of "
        f"{content['sizes']['samples']} samples of the averaged student. Stars are modes that the reward likes, "
        "crosses those it does not; points are blue on a liked mode, red on another, grey off all (further than "
        f"{DISC:g} standard deviations).",
        "p = good / (good + bad) by nearest mode; off: samples off all modes; modes: how many hold at least a quarter "
        "of a fair share within the disc; spread: median within-mode standard deviation over the teacher's; ED: energy "
        "distance to the teacher's distribution and to its liked modes alone; zone: samples in the teacher's Forbidden "
        f"Zone E > γ (Eq. 5), γ the {quantile} quantile of E over the teacher's own samples; AUROC of a low reward (r) "
        "and of a low group advantage (a) for being in the zone (Assumption 3.3; 0.5 says nothing).",
        "The law is the closed form of repulsive sharpening, logit p = logit p0 + k (a_hi − a_lo).",
    )
    return "\n\n".join(said)


def tables(entry: Figure, contents: Sequence[Content]) -> list[str]:
    """For every problem: what was measured at the end of training, and the law beside it where it says something."""
    said = []
    for content in contents:
        found = by_title(entry, content)
        keys = [key for key in NAMES if any(values(runs, key) for runs in found.values())]
        grid = Grid(["method", *[NAMES[key] for key in keys]])
        for title, runs in found.items():
            grid.rows.append([title, *[spread(runs, key) for key in keys]])
        floor = content["floor"]["ed_real"]
        said += [
            f"## {content['title']}",
            markdown(grid),
            f"Two samples of the teacher are at ED {floor:.4f} from each other.",
        ]
        rows = law_rows(entry, [content])
        if rows:
            said += law_table(rows)
    return said


def law_rows(entry: Figure, contents: Sequence[Content]) -> list[dict[str, Any]]:
    """Every method that the law speaks of: p0, k, K, predicted, measured per seed."""
    rows = []
    for content in contents:
        for title, runs in by_title(entry, content).items():
            law, measured = runs[0]["law"], values(runs, "good")
            if law is None or not measured:
                continue
            rows.append(
                {
                    "problem": content["problem"],
                    "problem_title": content["title"],
                    "method": title,
                    "p0": law["p0"],
                    "k": law["k"],
                    "K": int(law["K"]),
                    "clip": law["clip"],
                    "predicted": law["p"],
                    "predicted_at_K": law.get("p_at_K"),
                    "seeds": [run["seed"] for run in runs],
                    "measured": measured,
                    "median": median(measured),
                    "expected": expected(law),
                    "difference": median(measured) - expected(law),
                }
            )
    return rows


def law_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The closed form beside the measurement."""
    several = len({row["problem"] for row in rows}) > 1
    header = ["method", "p0", "k", "K", "predicted p", "at this K", "measured p per seed", "median", "difference"]
    grid = Grid([*(["problem"] if several else []), *header])
    for row in rows:
        grid.rows.append(
            [
                *([row["problem_title"]] if several else []),
                row["method"],
                number(row["p0"]),
                f"{row['k']:g}",
                str(row["K"]),
                number(row["predicted"]),
                number(row["predicted_at_K"]),
                ", ".join(number(value) for value in row["measured"]),
                number(row["median"]),
                f"{row['difference']:+.3f}".replace("-", "−"),
            ]
        )
    worst = max(rows, key=lambda row: abs(row["difference"]))
    return [
        markdown(grid),
        "Predicted p is the closed form for a group so large that its statistics are exact; at this K, for groups of "
        "that size, and the difference is to the latter. The rewards of a real batch are not of two levels (samples "
        "lie off the modes), and the students are finite: "
        f"the largest difference here is {abs(worst['difference']):.3f} ({worst['method']}).",
    ]


def over_training(runs: Sequence[Run], key: str) -> tuple[list[int], np.ndarray]:
    """Iterations, and (seeds, iterations) values with NaN where a number has no meaning."""
    at = [point["iteration"] for point in runs[0]["curve"]]
    table = [[np.nan if point[key] is None else point[key] for point in run["curve"]] for run in runs]
    keep = ~np.isnan(np.array(table)).all(0)  # a point that no seed has is left out
    return [step for step, kept in zip(at, keep, strict=True) if kept], np.array(table)[:, keep]


def zone_tables(entry: Figure, contents: Sequence[Content]) -> list[str]:
    """AUROC over training, a table per problem."""
    said = [
        "A sample is in the teacher's Forbidden Zone where its exact energy E = −log p is above γ (Eq. 5). AUROC is "
        "the probability that a sample in the zone has a lower group advantage than one outside it: Assumption 3.3 "
        "takes it to be near 1; 0.5 says nothing, and below it the zone is where the reward is high. Medians over "
        "seeds; bands in the picture reach from the lowest seed to the highest."
    ]
    rows = {
        "zone": "in the zone",
        "auroc_advantage": "AUROC of a low advantage",
        "auroc_reward": "AUROC of a low reward",
    }
    for content in contents:
        found = by_title(entry, content)
        steps = [point["iteration"] for point in next(iter(found.values()))[0]["curve"]]
        grid = Grid(["method", "what", *map(str, steps)])
        for title, runs in found.items():
            for key, name in rows.items():
                grid.rows.append([title, name, *[number(middle(runs, key, at), 2) for at in range(len(steps))]])
        said += [f"## {content['title']} (γ = {content['gamma']:.2f})", markdown(grid)]
    return said


def numbers(contents: Sequence[Content]) -> dict[str, Any]:
    """What a figure's JSON holds: everything measured, the problems' settings, and what made them."""
    return {"problems": list(contents)}


def footer(contents: Sequence[Content]) -> str:
    """What the numbers are of."""
    said = []
    for content in contents:
        sizes, seeds = content["sizes"], sorted({run["seed"] for run in content["runs"]})
        said.append(
            f"{content['problem']}: {sizes['iterations']} student updates of {sizes['batch']} rows, seeds "
            f"{', '.join(map(str, seeds))}, digest {content['run_digest']}, commit {content['git_sha'][:12]}"
        )
    return "; ".join(said) + "."
