"""What a student of the plane became: mass per mode, spread, distance to the real and to the good distribution, and how
well the reward tells the teacher's Forbidden Zone.

Shapes: n points (n, 2) of one run, M modes. Everything is computed in float64 from samples; nothing looks at weights.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amd.backbones.toy import Mixture
from amd.distill.advantage import group_relative
from amd.distill.methods import Method
from amd.distill.noise import generator
from amd.measure.law import equilibrium, tilted
from amd.rewards.toy import Reward

DISC = 3.0  # standard deviations around a mode that count as on it: 98.9 % of a 2-D Gaussian
COVERED = 0.25  # of a fair share 1/M within the disc: the mode is covered
FEWEST = 20  # samples that a mode must hold for its spread to be measured
ZONE_SAMPLES = 100_000  # of the teacher, for the border of its Forbidden Zone
CHUNK = 2000  # rows of a table of distances that are held at a time
DOSES = np.linspace(0, 4, 41)  # k of the law's curve


@dataclass(frozen=True)
class Measurement:
    """One run at one point of training; None where a number has no meaning there."""

    good: float | None  # p = good / (good + bad) by nearest mode; None where the reward parts no modes
    nearest: list[float]  # (M,) mass by nearest mode
    disc: list[float]  # (M,) mass within DISC standard deviations
    off: float  # mass in no disc
    covered: int  # modes with at least COVERED of a fair share in their disc
    std_ratio: float | None  # median over modes of (spread within a mode / the teacher's)
    std: float  # of all samples, root mean square over the two dimensions
    ed_real: float  # energy distance to the teacher's conditional distribution
    ed_good: float  # the same to its good modes alone
    reward: float  # mean
    zone: float  # share of samples in the Forbidden Zone E > gamma (Eq. 5)
    auroc_reward: float | None  # of "low reward" for "in the Forbidden Zone"
    auroc_advantage: float | None  # of "low group advantage" for the same: prompts are compared within, clipping ties


def forbidden_border(mixture: Mixture, quantile: float) -> float:
    """gamma of Eq. 5: a quantile of the teacher's energy over its own samples, classes in equal parts."""
    label = torch.arange(ZONE_SAMPLES) % mixture.classes
    x = mixture.sample(label, generator("forbidden zone"))
    return float(np.quantile(mixture.energy(x, label).numpy(), quantile))


def auroc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """P(score of a positive > score of a negative) + half of the ties; None where one of the two kinds is missing."""
    n, hits = len(score), int(positive.sum())
    if hits in (0, n):
        return None
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (count.cumsum() - (count - 1) / 2)[place]  # from 1, ties take their mean
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (n - hits)))


def mean_distance(a: Tensor, b: Tensor | None = None) -> float:
    """Mean Euclidean distance over all pairs of (n, 2) and (m, 2), or over the distinct pairs of one sample."""
    other = (a if b is None else b).double()
    total = sum(
        float(torch.cdist(part, other, compute_mode="donot_use_mm_for_euclid_dist").sum())
        for part in a.double().split(CHUNK)
    )
    return total / (len(a) * (len(other) - (b is None)))


def energy_distance(a: Tensor, b: Tensor, within_b: float | None = None) -> float:
    """2 E|A - B| - E|A - A'| - E|B - B'|, unbiased: 0 on average for equal distributions, so it may fall below 0.

    Szekely and Rizzo, 2013. `within_b`: E|B - B'| where it is known already.
    """
    return 2 * mean_distance(a, b) - mean_distance(a) - (mean_distance(b) if within_b is None else within_b)


class Judge:
    """Measures runs of one problem: everything that is the same for all of them is made once."""

    def __init__(
        self, mixture: Mixture, reward: Reward, good: Sequence[int], label: Tensor, group: int, gamma: float
    ) -> None:
        """`good`: modes that the reward likes; () is all of them. `label` (n,): what each sample was asked for; its
        rows are in groups of `group` (the last, incomplete group is left out of the advantages)."""
        self.mixture, self.reward, self.label, self.group, self.gamma = mixture, reward, label, group, gamma
        self.means = mixture.means[: mixture.modes]
        self.std = float(mixture.stds[0])
        self.good = sorted(good) or list(range(mixture.modes))
        liked = torch.zeros_like(mixture.weights[0], dtype=torch.bool)
        liked[self.good] = True
        weights = mixture.weights * liked
        if not bool((weights[:-1].sum(1) > 0).all()):
            lacking = int((weights[:-1].sum(1) == 0).nonzero()[0])
            raise ValueError(f"class {lacking} holds none of the good modes {self.good}: its samples have no target")
        target = Mixture(mixture.means, mixture.stds, weights / weights.sum(1, keepdim=True), mixture.modes)
        self.real = mixture.sample(label, generator("reference", "real"))
        self.target = target.sample(label, generator("reference", "good"))
        self.within = mean_distance(self.real), mean_distance(self.target)

    @property
    def p0(self) -> float:
        """The teacher's own mass of the good modes, over the classes in equal parts."""
        return float(self.mixture.weights[:-1, self.good].sum(1).mean())

    def floor(self) -> dict[str, float]:
        """The energy distance of two samples of the teacher: what a perfect student would score."""
        other = self.mixture.sample(self.label, generator("reference", "floor"))
        return {"ed_real": energy_distance(other, self.real, self.within[0])}

    def measure(self, x: Tensor) -> Measurement:
        """x (n, 2), row i asked for label i."""
        if not torch.isfinite(x).all():
            raise ValueError(f"{int((~torch.isfinite(x)).any(1).sum())} of {len(x)} samples are not finite")
        distance = torch.cdist(x.double(), self.means)  # (n, M)
        closest, nearest = distance.min(1)
        mass = torch.bincount(nearest, minlength=len(self.means)).double() / len(x)
        inside = closest <= DISC * self.std
        disc = torch.bincount(nearest[inside], minlength=len(self.means)).double() / len(x)
        spreads = [
            float(x[nearest == mode].double().var(0).mean().sqrt()) / self.std
            for mode in range(len(self.means))
            if int((nearest == mode).sum()) > FEWEST
        ]
        parted = len(self.good) < len(self.means)
        ed_real = energy_distance(x, self.real, self.within[0])
        return Measurement(
            good=float(mass[self.good].sum()) if parted else None,
            nearest=mass.tolist(),
            disc=disc.tolist(),
            off=float(1 - inside.double().mean()),
            covered=int((disc >= COVERED / len(self.means)).sum()),
            std_ratio=float(np.median(spreads)) if spreads else None,
            std=float(x.double().var(0).mean().sqrt()),
            ed_real=ed_real,
            ed_good=energy_distance(x, self.target, self.within[1]) if parted else ed_real,
            **self._zone(x),
        )

    def _zone(self, x: Tensor) -> dict[str, Any]:
        """Assumption 3.3, held against the exact energy."""
        cond = {"label": self.label}
        reward = self.reward(x.double(), cond)
        forbidden = (self.mixture.energy(x, self.label) > self.gamma).numpy()
        whole = len(x) // self.group * self.group
        advantage, _ = group_relative().function(reward[:whole], self.group)
        return {
            "reward": float(reward.mean()),
            "zone": float(forbidden.mean()),
            "auroc_reward": auroc(-reward.numpy(), forbidden),
            "auroc_advantage": auroc(-advantage.numpy(), forbidden[:whole]),
        }


def as_json(measurement: Measurement) -> dict[str, object]:
    """Rounded to what the samples carry: 6 digits."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return round(value, 6)
        return [short(v) for v in value] if isinstance(value, list) else value

    return {key: short(value) for key, value in asdict(measurement).items()}


def predicted(judge: Judge, method: Method, two_levels: bool, group: int) -> dict[str, float] | None:
    """What the closed form says of a method: p0, k, clip, K, p, and for a reward of two levels p at this K.

    None where it says nothing: p = p_real exp(k a) is a statement about distribution matching, which the naive operator
    is not and which an external force disturbs; and where the reward parts no modes.
    """
    modes = judge.mixture.modes
    if len(judge.good) == modes or method.operator.name == "naive" or method.external:
        return None
    k = float(method.fake["k"]) if "k" in dict(method.fake.numbers) else 0.0
    clip = float(method.advantage["clip"])
    law = {"p0": judge.p0, "k": k, "clip": clip, "K": float(group)}
    if two_levels:
        return law | {"p": equilibrium(judge.p0, k, clip), "p_at_K": equilibrium(judge.p0, k, clip, group)}
    level = judge.reward(judge.means, {"label": torch.zeros(modes, dtype=torch.long)}).numpy()
    mass = judge.mixture.weights[:-1, :modes].mean(0).numpy()
    return law | {"p": float(tilted(mass, level, k, clip)[judge.good].sum())}


def law_curve(p0: float, group: int) -> dict[str, list[float]]:
    """The closed form over k, for a figure: {"k", "p", "p_at_K"}."""
    return {
        "k": DOSES.round(6).tolist(),
        "p": [round(equilibrium(p0, float(k)), 6) for k in DOSES],
        "p_at_K": [round(equilibrium(p0, float(k), group=group), 6) for k in DOSES],
    }
