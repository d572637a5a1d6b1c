"""Frechet distance, inception score, precision and recall: features in, float64 numbers out, whoever made the features.

Each metric is features -> statistics -> number. Sources: openai/guided-diffusion evaluations/evaluator.py (order and
splits of the inception score, Frechet formula), Heusel et al. 2017 (FID), Kynkaanniemi et al. 2019 (precision, recall).
Shapes: n samples, D features, C classes. Everything is computed in float64 on the CPU.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

NEIGHBOURS = 3  # k of precision and recall, as ADM and the paper that proposed them have it
CHUNK = 1000  # rows of a distance matrix that are held at a time


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and covariance (D, D) of a set of features, float64."""

    mean: Tensor
    covariance: Tensor

    @staticmethod
    def known(mean: Tensor, covariance: Tensor, root: Tensor) -> "Moments":
        """With a root that was taken before."""
        made = Moments(mean, covariance)
        made.__dict__["root"] = root  # where cached_property looks
        return made

    @cached_property
    def root(self) -> Tensor:
        """Symmetric square root of the covariance; eigenvalues that rounding made negative count as zeros."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def moments(features: Tensor) -> Moments:
    """features (n, D), n >= 2 -> mean and unbiased covariance."""
    if features.ndim != 2 or features.shape[0] < 2:
        raise ValueError(f"moments need features (n >= 2, D), not {tuple(features.shape)}")
    finite(features, "features")
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    return Moments(mean, centred.T @ centred / (features.shape[0] - 1))


def frechet(samples: Moments, reference: Moments) -> float:
    """|m_s - m_r|^2 + tr S + tr R - 2 tr sqrt(S R). Symmetric; the reference's root is computed once and kept.

    tr sqrt(S R) = tr sqrt(sqrt(R) S sqrt(R)), whose matrix is symmetric: its eigenvalues are real, and no matrix square
    root has to converge where a covariance is singular.
    """
    if samples.mean.shape != reference.mean.shape:
        raise ValueError(
            f"moments of {samples.mean.shape[0]} and {reference.mean.shape[0]} features have no Frechet distance"
        )
    inner = reference.root @ samples.covariance @ reference.root
    overlap = torch.linalg.eigvalsh(inner).clamp_min(0).sqrt().sum()
    offset = (samples.mean - reference.mean).square().sum()
    return float(offset + samples.covariance.trace() + reference.covariance.trace() - 2 * overlap)


def inception_score(logits: Tensor, split_size: int) -> float:
    """exp(mean KL(p(y|x) || p(y))) per split of `split_size` consecutive rows of logits (n, C), mean over the splits.

    In the order given, never shuffled, and a last shorter split counts like the others, as in ADM's evaluator.
    """
    if split_size < 1:
        raise ValueError(f"split_size {split_size} is not a number of rows")
    finite(logits, "logits")
    log_p = logits.double().log_softmax(1)
    scores = []
    for part in log_p.split(split_size):
        log_marginal = part.logsumexp(0) - torch.tensor(float(part.shape[0]), dtype=torch.float64).log()
        scores.append((part.exp() * (part - log_marginal)).sum(1).mean().exp())
    return float(torch.stack(scores).mean())


@dataclass(frozen=True)
class Manifold:
    """The union of balls around points (n, D), each reaching to the point's `NEIGHBOURS`-th nearest other point."""

    points: Tensor

    @staticmethod
    def known(points: Tensor, radii: Tensor) -> "Manifold":
        """With radii that were measured before."""
        made = Manifold(points)
        made.__dict__["radii"] = radii  # where cached_property looks
        return made

    def __post_init__(self) -> None:
        finite(self.points, "features")
        if self.points.shape[0] <= NEIGHBOURS:
            raise ValueError(f"{self.points.shape[0]} points have no {NEIGHBOURS} nearest neighbours")

    @cached_property
    def radii(self) -> Tensor:
        """(n,) squared distance of each point to its k-th nearest other point. Duplicates are neighbours."""
        points, found = self.points.double(), []
        for start in range(0, points.shape[0], CHUNK):
            distances = _squared_distances(points[start : start + CHUNK], points)
            own = torch.arange(distances.shape[0])
            distances[own, own + start] = torch.inf  # a point is not its own neighbour
            found.append(distances.topk(NEIGHBOURS, dim=1, largest=False, sorted=True).values[:, -1])
        return torch.cat(found)


def precision_recall(samples: Manifold, reference: Manifold) -> tuple[float, float]:
    """Shares of the samples within the reference's manifold, and of the reference within the samples'.

    Distances are taken `CHUNK` rows at a time: memory is `CHUNK` x the larger number of points, in doubles.
    """
    ours, real = samples.points.double(), reference.points.double()
    precise, recalled = 0, torch.zeros(real.shape[0], dtype=torch.bool)
    for rows, radii in zip(ours.split(CHUNK), samples.radii.split(CHUNK), strict=True):
        distances = _squared_distances(rows, real)
        precise += int((distances <= reference.radii).any(1).sum())
        recalled |= (distances <= radii[:, None]).any(0)
    return precise / ours.shape[0], int(recalled.sum()) / real.shape[0]


def _squared_distances(rows: Tensor, points: Tensor) -> Tensor:
    """(n, D), (m, D) -> (n, m)."""
    squares = rows.square().sum(1, keepdim=True) + points.square().sum(1)
    return torch.addmm(squares, rows, points.T, alpha=-2).clamp_min_(0)


def finite(values: Tensor, what: str) -> None:
    """Stop on a number that is none: a metric of it would be a number all the same."""
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise ValueError(f"{bad} of {values.numel()} values of {what} are not finite")
