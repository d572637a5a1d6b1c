"""The paper-scale judge: the network, layers and reference statistics of ADM's evaluator, in PyTorch.

Network: torch-fidelity's port of the 2015 TensorFlow Inception graph, with TF1's bilinear resize. FID reads pool_3
(2048), sFID the first 7 channels of `mixed_6/conv` flattened NHWC (17 x 17 x 7 = 2023), which is `Mixed_6d.branch1x1`
after its ReLU in the port, IS the logits without bias (1008). Source: openai/guided-diffusion evaluations/evaluator.py.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from amd.measure.fidelity import Manifold, Moments
from amd.measure.judge import Reference, Seen

SPATIAL_CHANNELS = 7
SPATIAL_FEATURES = 17 * 17 * SPATIAL_CHANNELS


class Inception:
    """uint8 images (B, 3, H, W) -> `Seen`: pool (B, 2048), spatial (B, 2023), logits (B, 1008), float32."""

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        """`weights` is torch-fidelity's weights-inception-2015-12-05-6726825d.pth."""
        state = torch.load(weights, map_location="cpu", weights_only=True)
        # torch-fidelity unpickles the file that it is given: it gets a copy that was written here, of tensors alone
        copy = io.BytesIO()
        torch.save(dict(state), copy)
        copy.seek(0)
        network = FeatureExtractorInceptionV3("adm", ["2048", "logits_unbiased"], feature_extractor_weights_path=copy)
        self.network = network.to(device).eval()
        self.device = torch.device(device)
        self._spatial: Tensor | None = None
        self.network.get_submodule("Mixed_6d.branch1x1").register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._spatial = output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)  # NHWC, as the reference has it

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Seen:
        """uint8 (B, 3, H, W), or one channel that is repeated."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        pool, logits = self.network(images.to(self.device))
        assert self._spatial is not None
        assert self._spatial.shape[1] == SPATIAL_FEATURES
        return Seen(pool.cpu(), self._spatial.float().cpu(), logits.cpu())


def reference(statistics: Path, look: Callable[[np.ndarray], Seen] | None = None) -> Reference:
    """ADM's npz: mu, sigma (pool) and mu_s, sigma_s (spatial), of the whole training set.

    `look` sees the images of the same file, uint8 (N, H, W, 3), for precision and recall; without it they are not read.
    """
    with np.load(statistics, allow_pickle=False) as file:
        missing = [key for key in ("mu", "sigma", "mu_s", "sigma_s") if key not in file.files]
        if missing:
            raise ValueError(
                f"{statistics}: no {', '.join(missing)} in it (it has {', '.join(sorted(file.files))}); "
                "wanted is a reference batch with both pairs of statistics, such as VIRTUAL_imagenet256_labeled.npz"
            )
        pool = _moments(file["mu"], file["sigma"], 2048, statistics)
        spatial = _moments(file["mu_s"], file["sigma_s"], SPATIAL_FEATURES, statistics)
        if bool((spatial.mean < 0).any()):
            raise ValueError(f"{statistics}: mu_s is negative somewhere, which no mean behind a ReLU is")
        manifold = None
        if look is not None:
            if "arr_0" not in file.files:
                raise ValueError(f"{statistics}: no images (arr_0) in it, which precision and recall need")
            manifold = Manifold(look(file["arr_0"]).pool)
    return Reference(pool, spatial, manifold)


def _moments(mean: np.ndarray, covariance: np.ndarray, size: int, file: Path) -> Moments:
    if mean.shape != (size,) or covariance.shape != (size, size):
        raise ValueError(
            f"{file}: statistics of shape {mean.shape} and {covariance.shape}, expected ({size},) and its square"
        )
    return Moments(torch.from_numpy(mean).double(), torch.from_numpy(covariance).double())
