"""Frechet distance, inception score, precision, recall: golden values of ADM's evaluator, identities, invariances."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor

from amd.measure import fidelity
from amd.measure.fidelity import Manifold, Moments, frechet, inception_score, moments, precision_recall

GOLDEN = Path(__file__).parents[1] / "data" / "adm_metrics.json"
SEEDS = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    """Numbers of openai/guided-diffusion's own code; the file names the commit."""
    return json.loads(GOLDEN.read_text())


def draw(seed: int, rows: int, width: int) -> Tensor:
    """Correlated features."""
    source = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=source, dtype=torch.float64)
    return torch.randn(rows, width, generator=source, dtype=torch.float64) @ mix


def test_frechet_distance_is_adms(golden) -> None:
    a, b = (torch.tensor(golden[key], dtype=torch.float64) for key in "AB")
    assert frechet(moments(a), moments(b)) == pytest.approx(golden["frechet_A_B"], abs=1e-6)


def test_frechet_distance_of_diagonal_gaussians_is_adms(golden) -> None:
    each = golden["diag"]
    one, two = (
        Moments(torch.tensor(each[f"mu{i}"]).double(), torch.diag(torch.tensor(each[f"s{i}"]).double())) for i in (1, 2)
    )
    assert frechet(one, two) == pytest.approx(each["frechet"], abs=1e-12)  # 1 + 4 + (1-2)^2 + 0 + (3-1)^2


def test_inception_score_is_adms_in_order(golden) -> None:
    logits = torch.tensor(golden["logits"], dtype=torch.float64)
    assert inception_score(logits, 40) == pytest.approx(golden["inception_score_split40"], abs=1e-6)
    assert inception_score(logits, 50) == pytest.approx(2.5361232659881328, abs=1e-6)  # splits of 50, 50 and 20
    shuffled = logits[torch.randperm(len(logits), generator=torch.Generator().manual_seed(2020))]
    assert abs(inception_score(shuffled, 40) - golden["inception_score_split40"]) > 1e-4


def test_inception_score_of_certain_balanced_classes_is_their_number(golden) -> None:
    logits = torch.eye(10).repeat(4, 1) * 1e3
    assert inception_score(logits, 40) == pytest.approx(golden["inception_score_perfect_10_classes"], abs=1e-9)


@given(SEEDS, st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_inception_score_lies_between_one_and_the_number_of_classes(seed: int, split: int) -> None:
    logits = draw(seed, 30, 5).float()
    assert 1 - 1e-9 <= inception_score(logits, split) <= 5 + 1e-9


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_frechet_distance_is_symmetric_and_sees_no_rotation_or_common_shift(seed: int) -> None:
    a, b = draw(seed, 40, 6), draw(seed + 1, 50, 6)
    rotation, _ = torch.linalg.qr(draw(seed + 2, 6, 6))
    distance = frechet(moments(a), moments(b))
    scale = 1 + float(moments(a).covariance.trace() + moments(b).covariance.trace())
    tolerance = 1e-9 * scale  # float64, and a square root of eigenvalues near zero
    assert distance >= -tolerance
    assert frechet(moments(b), moments(a)) == pytest.approx(distance, abs=tolerance)
    assert frechet(moments(a @ rotation + 3), moments(b @ rotation + 3)) == pytest.approx(distance, abs=tolerance)
    assert frechet(moments(a), moments(a)) == pytest.approx(0, abs=tolerance)


def test_frechet_distance_is_that_of_the_matrix_square_root() -> None:
    a, b = moments(draw(0, 60, 8)), moments(draw(1, 70, 8))
    root = sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
    expected = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * np.trace(root)
    assert frechet(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_frechet_distance_of_fewer_samples_than_features_is_finite() -> None:
    a, b = draw(0, 20, 64), draw(1, 30, 64)  # singular: matrix square roots by Newton's iteration fail here
    assert np.isfinite(frechet(moments(a), moments(b)))
    assert frechet(moments(a), moments(a)) == pytest.approx(0, abs=1e-6 * float(moments(a).covariance.trace()))


def test_moments_are_numpys_in_float64() -> None:
    features = draw(0, 30, 4).float()
    found = moments(features)
    assert found.mean.dtype == found.covariance.dtype == torch.float64
    assert np.allclose(found.mean, features.double().numpy().mean(0), atol=1e-14)
    assert np.allclose(found.covariance, np.cov(features.double().numpy(), rowvar=False), atol=1e-12)


def slow_precision_recall(samples: Tensor, reference: Tensor) -> tuple[float, float]:
    """Kynkaanniemi et al., point by point."""

    def inside(rows: Tensor, points: Tensor) -> float:
        radii = [sorted(float((p - q).norm()) for j, q in enumerate(points) if j != i)[2] for i, p in enumerate(points)]
        hits = [any(float((row - p).norm()) <= r for p, r in zip(points, radii, strict=True)) for row in rows]
        return sum(hits) / len(hits)

    return inside(samples, reference), inside(reference, samples)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chunk", [7, 1000])
def test_precision_and_recall_are_those_of_a_loop_over_points(seed: int, chunk: int, monkeypatch) -> None:
    monkeypatch.setattr(fidelity, "CHUNK", chunk)
    samples, reference = draw(seed, 20, 3) * 0.7, draw(seed + 10, 30, 3)
    assert precision_recall(Manifold(samples), Manifold(reference)) == pytest.approx(
        slow_precision_recall(samples, reference)
    )


def test_a_collapsed_set_has_precision_and_no_recall() -> None:
    reference = draw(0, 200, 4)
    collapsed = reference[:1] + 1e-3 * draw(1, 50, 4)
    precision, recall = precision_recall(Manifold(collapsed), Manifold(reference))
    assert precision == 1
    assert recall <= 1 / 200
    assert precision_recall(Manifold(reference), Manifold(reference)) == (1, 1)
    assert precision_recall(Manifold(reference + 1e3), Manifold(reference)) == (0, 0)


def test_what_is_no_number_is_refused() -> None:
    bad = draw(0, 10, 3)
    bad[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"1 of 30 values of features are not finite"):
        moments(bad)
    with pytest.raises(ValueError, match="not finite"):
        inception_score(bad, 5)
    with pytest.raises(ValueError, match="not finite"):
        Manifold(bad)


def test_sets_too_small_to_say_anything_are_refused() -> None:
    with pytest.raises(ValueError, match="n >= 2"):
        moments(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="3 points have no 3 nearest neighbours"):
        Manifold(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="split_size 0"):
        inception_score(torch.zeros(3, 2), 0)
    with pytest.raises(ValueError, match="3 and 4 features"):
        frechet(moments(draw(0, 9, 3)), moments(draw(0, 9, 4)))
