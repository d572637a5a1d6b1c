"""What a handful of seeds can say: mean, 95 % interval, paired test. numpy and scipy only.

Student's t throughout: with three seeds its factor is 4.3, and pretending to more would be the one dishonest number of
a table. Pairing: the same seed shares its warm start and its noise between the rows of a table, so rows are compared
seed by seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # what scipy.stats.t calls, without the second that scipy.stats takes to load

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean of n values and the interval that holds the true mean at `LEVEL`; without a spread (n = 1) there is none."""

    n: int
    mean: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float | None:
        """What is printed behind the +-."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Comparison:
    """Difference of two rows over their common seeds: `difference.mean` is row minus baseline."""

    difference: Summary
    p: float | None  # two-sided paired t-test
    verdict: str  # "above" | "below" | "inside the noise" | "one seed"


def summary(values: Sequence[float], level: float = LEVEL) -> Summary:
    """Mean and t-interval of n >= 1 finite values."""
    data = _finite(values)
    mean = float(data.mean())
    if len(data) == 1:
        return Summary(1, mean, None, None)
    half = float(stdtrit(len(data) - 1, (1 + level) / 2)) * float(data.std(ddof=1)) / math.sqrt(len(data))
    return Summary(len(data), mean, mean - half, mean + half)


def compare(row: dict[int, float], baseline: dict[int, float], level: float = LEVEL) -> Comparison | None:
    """Paired comparison of two rows, each seed -> value, over the seeds that both have; None where they share none.

    The verdict follows the interval of the difference: inside the noise where it holds 0. It is no claim of equality.
    """
    seeds = sorted(row.keys() & baseline.keys())
    if not seeds:
        return None
    difference = summary([row[seed] - baseline[seed] for seed in seeds], level)
    if difference.low is None or difference.high is None:
        return Comparison(difference, None, "one seed")
    if difference.low <= 0 <= difference.high:
        verdict = "inside the noise"
    else:
        verdict = "above" if difference.mean > 0 else "below"
    error = (difference.high - difference.mean) / float(stdtrit(difference.n - 1, (1 + level) / 2))
    p = float(2 * stdtr(difference.n - 1, -abs(difference.mean) / error)) if error > 0 else float(difference.mean == 0)
    return Comparison(difference, p, verdict)


def _finite(values: Sequence[float]) -> np.ndarray:
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("no values to summarise")
    if not np.isfinite(data).all():
        raise ValueError(f"values are not finite: {data[~np.isfinite(data)][:3].tolist()}")
    return data
