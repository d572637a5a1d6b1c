"""The closed form that repulsive sharpening obeys on the plane: how much mass ends in the modes that the reward likes.

A fake teacher trained with the weight W = exp(-k a) models p_student W. Distribution matching rests where that equals
the real teacher's p, so p_student ~ p exp(k a): a tilt whose advantages a depend on p_student themselves. With a reward
of two levels and one group per batch, the mass p of the good modes solves

    logit p = logit p0 + k (a_hi(p) - a_lo(p)),   a_hi = min(c, sqrt((1 - p) / p)),   a_lo = -min(c, sqrt(p / (1 - p)))

with p0 the real teacher's mass there and c the clip of the advantage. Our derivation; the paper has no such statement
(its Figure 7 says that suppressed modes vanish, which k = 1 does not do: p0 = 1/2 gives p = 0.814).
"""

import math

import numpy as np

EDGE = 1e-12  # p is looked for in [EDGE, 1 - EDGE]


def logit(p: float) -> float:
    """log p / (1 - p)."""
    return math.log(p) - math.log1p(-p)


def advantages(p: float, clip: float = 1.0) -> tuple[float, float]:
    """a_hi, a_lo of a large group of which a share p has the higher of two rewards (Eq. 12)."""
    return min(clip, math.sqrt((1 - p) / p)), -min(clip, math.sqrt(p / (1 - p)))


def log_weights(p: float, k: float, clip: float, group: int) -> tuple[float, float]:
    """log E[W | good], log E[W | bad] where the other K - 1 of a group are good with probability p each.

    A group without both kinds has no spread: a = 0.
    """
    n = group - 1
    others = np.arange(group)  # how many of the other n are good
    choose = np.array([math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) for j in range(group)])
    share = np.exp(choose + others * math.log(p) + (n - others) * math.log1p(-p))

    def expected(good: np.ndarray, is_good: bool) -> float:
        fraction = good / group
        with np.errstate(divide="ignore", invalid="ignore"):
            a = np.sqrt((1 - fraction) / fraction) if is_good else -np.sqrt(fraction / (1 - fraction))
        mixed = (good > 0) & (good < group)
        return float((share * np.exp(-k * np.where(mixed, np.clip(a, -clip, clip), 0.0))).sum())

    return math.log(expected(others + 1, True)), math.log(expected(others, False))


def equilibrium(p0: float, k: float, clip: float = 1.0, group: int | None = None) -> float:
    """Mass of the good modes at rest.

    Args:
        p0: the real teacher's mass of them, in (0, 1).
        k: sharpening strength; 0 gives p0.
        clip: bound of the advantage.
        group: K; None is a group so large that its statistics are exact, the closed form above. A finite group sees
            its own composition, and then W's expectation over compositions stands in its place.
    """
    if not 0 < p0 < 1:
        raise ValueError(f"p0 = {p0}: the good modes must hold some of the teacher's mass and not all")
    if group is not None and group < 2:
        raise ValueError(f"group = {group}: one sample has no spread (Eq. 12)")

    def residual(p: float) -> float:
        if group is None:
            high, low = advantages(p, clip)
            pull = k * (high - low)
        else:
            good, bad = log_weights(p, k, clip, group)
            pull = bad - good
        return logit(p) - logit(p0) - pull

    low, high = EDGE, 1 - EDGE
    assert residual(low) < 0 < residual(high)  # the pull is bounded by 2 k c, the logit is not
    while high - low > 1e-12:  # bisection; the root is unique for k c <= 2, where the residual rises with p
        middle = (low + high) / 2
        low, high = (middle, high) if residual(middle) < 0 else (low, middle)
    return (low + high) / 2


def tilted(masses: np.ndarray, rewards: np.ndarray, k: float, clip: float = 1.0) -> np.ndarray:
    """The same law for M modes of any rewards: p_m ~ masses_m exp(k a_m), a = clip((r - mean) / std) under p itself.

    Found by damped iteration; the two-level case is `equilibrium`.
    """
    start = np.asarray(masses, dtype=np.float64)
    start = start / start.sum()
    p = start.copy()
    for _ in range(10_000):
        mean = float((p * rewards).sum())
        std = math.sqrt(float((p * (rewards - mean) ** 2).sum()))
        if std < 1e-9:
            return start
        target = start * np.exp(k * np.clip((rewards - mean) / std, -clip, clip))
        moved = 0.9 * p + 0.1 * target / target.sum()
        if np.abs(moved - p).max() < 1e-13:
            return moved
        p = moved
    raise RuntimeError(f"the tilt of {len(p)} modes did not settle for k = {k}")
