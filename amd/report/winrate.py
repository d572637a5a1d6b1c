"""How often one system's image of a prompt scores higher than the other's: paired by prompt and seed, ties count half.

The paper's Figure 9 does not define its win rate; this is the usual one, and 50 % is no difference. Source of the
interval: Wilson 1927, with half wins as a share of n; the bootstrap draws prompts, whose images stay together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

CONFIDENCE = 0.95
RESAMPLES = 10_000
PAIRING = ("prompt", "seed")  # columns that say which records belong together


@dataclass(frozen=True)
class WinRate:
    """Shares in [0, 1]."""

    rate: float
    wins: int
    ties: int
    n: int
    wilson: tuple[float, float]  # pairs as if independent: right for one image per prompt
    bootstrap: tuple[float, float]  # over prompts


def win_rate(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    score: str,
    *,
    pairing: Sequence[str] = PAIRING,
    seed: int = 0,
) -> WinRate:
    """Records per sample of two systems, with the columns `pairing` (its first says which prompt) and `score`.

    ValueError where a column is missing, a pair is there twice or in one of the two only, or a score is not finite.
    """
    pairing = list(pairing)
    paired = _indexed(ours, pairing, score, "the first").join(
        _indexed(theirs, pairing, score, "the second"), how="outer", suffixes=(" ours", " theirs")
    )
    if (alone := paired.isna().any(axis=1)).any():
        example = paired[alone].reset_index()[pairing].to_dict("records")[0]
        raise ValueError(f"{int(alone.sum())} of {len(paired)} pairs are in one system's records only, as {example}")
    if paired.empty:
        raise ValueError("no records to compare")
    difference = paired[f"{score} ours"] - paired[f"{score} theirs"]
    won = pd.Series(np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0)), paired.index)
    per_prompt = won.groupby(level=0).agg(["sum", "size"])
    return WinRate(
        rate=float(won.mean()),
        wins=int((difference > 0).sum()),
        ties=int((difference == 0).sum()),
        n=len(won),
        wilson=wilson(float(won.sum()), len(won)),
        bootstrap=bootstrap(per_prompt["sum"].to_numpy(), per_prompt["size"].to_numpy(), seed=seed),
    )


def wilson(wins: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The score interval of a share wins / n; within [0, 1] at any n, unlike the normal one."""
    if not 0 <= wins <= n or n < 1:
        raise ValueError(f"{wins} wins of {n} is no share")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre, spread = wins + z * z / 2, z * np.sqrt(wins * (n - wins) / n + z * z / 4)
    low, high = (centre - spread) / (n + z * z), (centre + spread) / (n + z * z)
    return max(float(low), 0.0), min(float(high), 1.0)


def bootstrap(
    wins: np.ndarray, sizes: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile interval of sum(wins) / sum(sizes) over prompts drawn with replacement; wins, sizes (prompts,).

    Multinomial counts instead of indices: the same distribution, in memory of resamples x prompts.
    """
    draw = np.random.default_rng(seed)
    counts = draw.multinomial(len(wins), np.full(len(wins), 1 / len(wins)), size=resamples)
    rates = counts @ wins.astype(np.float64) / (counts @ sizes)
    low, high = np.quantile(rates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _indexed(records: pd.DataFrame, pairing: list[str], score: str, which: str) -> pd.DataFrame:
    if missing := [name for name in (*pairing, score) if name not in records.columns]:
        raise ValueError(f"{which} system's records have no column {missing[0]!r}; they have {list(records.columns)}")
    if not np.isfinite(records[score].to_numpy(np.float64)).all():
        raise ValueError(f"{which} system's records: a {score} is not finite")
    if (twice := records.duplicated(pairing)).any():
        raise ValueError(f"{which} system's records have {records.loc[twice, pairing].to_dict('records')[0]} twice")
    return records.set_index(pairing)[[score]]
