"""The paper-scale judge on a randomly initialised Inception: layers, order, files that are not as they should be."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from amd.config.load import load
from amd.config.schema.assets import Asset
from amd.data.assets import MissingAsset
from amd.measure.adm import SPATIAL_CHANNELS, SPATIAL_FEATURES, Inception, reference
from amd.measure.judge import build_judge

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file in the published layout with random weights; the class itself refuses to be built without a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="none")
    file = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05-6726825d.pth"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def inception(weights: Path) -> Inception:
    return Inception(weights)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_features_have_adms_sizes(inception: Inception, images: Tensor) -> None:
    seen = inception(images)
    assert [tuple(t.shape) for t in (seen.pool, seen.spatial, seen.logits)] == [(2, 2048), (2, 2023), (2, 1008)]
    assert {t.dtype for t in (seen.pool, seen.spatial, seen.logits)} == {torch.float32}
    assert float(seen.spatial.min()) >= 0  # behind a ReLU, as the reference's mu_s is
    assert float(seen.spatial.max()) > 0


def test_spatial_features_are_seven_channels_of_the_first_branch_channel_last(inception: Inception, images) -> None:
    kept: list[Tensor] = []
    branch = inception.network.get_submodule("Mixed_6d.branch1x1")
    hook = branch.register_forward_hook(lambda module, inputs, output: kept.append(output))
    seen = inception(images)
    hook.remove()
    assert tuple(kept[0].shape) == (2, 192, 17, 17)
    y, x, c = 5, 11, 3
    assert torch.equal(seen.spatial[:, (y * 17 + x) * SPATIAL_CHANNELS + c], kept[0][:, c, y, x])


def test_logits_are_without_bias(inception: Inception, images: Tensor) -> None:
    seen = inception(images)
    expected = seen.pool @ inception.network.fc.weight.detach().T
    assert torch.allclose(seen.logits, expected, atol=1e-5)  # float32, 2048 products
    assert float(inception.network.fc.bias.abs().max()) > 0


def test_grey_images_are_shown_in_all_three_channels(inception: Inception, images: Tensor) -> None:
    grey = images[:, :1]
    assert torch.equal(inception(grey).pool, inception(grey.repeat(1, 3, 1, 1)).pool)


def test_weights_that_hold_more_than_tensors_are_not_unpickled(tmp_path: Path) -> None:
    torch.save({"network": SimpleNamespace(x=1)}, tmp_path / "w.pth")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        Inception(tmp_path / "w.pth")


def statistics(**changes: Any) -> dict[str, np.ndarray]:
    """A reference batch in ADM's layout."""
    source = np.random.default_rng(0)
    arrays = {
        "mu": source.normal(size=2048),
        "sigma": np.eye(2048),
        "mu_s": source.random(SPATIAL_FEATURES),
        "sigma_s": np.eye(SPATIAL_FEATURES),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def test_reference_is_read_in_float64(tmp_path: Path) -> None:
    arrays = statistics()
    np.savez(tmp_path / "ref.npz", **arrays)
    found = reference(tmp_path / "ref.npz")
    assert found.pool.mean.dtype == found.spatial.covariance.dtype == torch.float64
    assert np.array_equal(found.spatial.mean, arrays["mu_s"])
    assert found.manifold is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mu_s": None, "sigma_s": None}, r"no mu_s, sigma_s in it .*wanted is a reference batch with both"),
        ({"mu_s": np.zeros(2048)}, r"statistics of shape \(2048,\).*expected \(2023,\)"),
        ({"mu_s": -np.ones(SPATIAL_FEATURES)}, "mu_s is negative somewhere"),
    ],
)
def test_other_statistics_are_refused_by_file_and_reason(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "ref.npz", **statistics(**changes))
    with pytest.raises(ValueError, match=said) as caught:
        reference(tmp_path / "ref.npz")
    assert "ref.npz" in str(caught.value)


def paper_run(tmp_path: Path, assets: list[Asset]):
    """The paper-scale run of AMD, its judge's assets looked up in `tmp_path` and nowhere else."""
    from dataclasses import replace

    run = load(ROOT / "config").run("sit-amd", "paper", 0)
    judge = run.domain.judge.model_copy(update={"assets": assets})
    return replace(run, domain=run.domain.model_copy(update={"judge": judge}), mirror=str(tmp_path))


def test_missing_weights_are_named_with_the_place_to_put_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))
    asked = load(ROOT / "config").run("sit-amd", "paper", 0).domain.judge.assets
    run = paper_run(tmp_path, [asset.model_copy(update={"url": None}) for asset in asked])
    with pytest.raises(MissingAsset, match=r"weights-inception-2015-12-05-6726825d\.pth") as caught:
        build_judge(run)
    assert str(tmp_path) in str(caught.value)


def test_judge_of_the_paper_scale_scores_without_a_network_of_ours(tmp_path: Path, weights: Path, monkeypatch) -> None:
    monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))
    (tmp_path / weights.name).symlink_to(weights)
    source = np.random.default_rng(0)
    pictures = source.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "ref.npz", **statistics(), arr_0=pictures)
    judge = build_judge(paper_run(tmp_path, [Asset(file=weights.name), Asset(file="ref.npz")]))
    assert judge.real is None
    assert judge.reference(["fid", "is"]).manifold is None
    manifold = judge.reference(["fid", "precision"]).manifold
    assert manifold is not None
    expected = judge.look(torch.from_numpy(pictures).permute(0, 3, 1, 2)).pool
    assert torch.equal(manifold.points, expected)
