"""The plane: 2-D mixtures with their exact posterior mean, and MLPs of which R runs are one batched network.

Shapes: R runs, B rows each; rows are in (run, row) order, so a stacked network sees (R * B, ...) and splits it itself.
Conditions are {"label": (rows,) int64}; the null label is the number of classes. t = 0 is noise, t = 1 is clean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from amd.backbones.base import Backbone, Precision
from amd.distill.path import Linear, rows
from amd.distill.types import Condition

BROAD_STD = 1.5  # of the Gaussian that stands for "anything" in the unconditional teacher of a single prompt
BROAD_SHARE = 0.5  # its weight there; without it the two teachers agree and guidance is 0 (Eq. 9)


def ring8(radius: float) -> Tensor:
    """(8, 2) means on a circle, mode 0 on the right, counter-clockwise."""
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def grid9(spacing: float) -> Tensor:
    """(9, 2) means on a 3 x 3 grid, mode 0 lower left, mode 2 lower right, mode 8 upper right."""
    line = spacing * torch.arange(-1, 2, dtype=torch.float64)
    return torch.stack([line.repeat(3), line.repeat_interleave(3)], 1)


MIXTURES = {"ring8": ring8, "grid9": grid9}


@dataclass(frozen=True)
class Mixture:
    """Gaussian mixtures over common components, one set of weights per class and one for the null condition.

    The exact real teacher: its posterior mean, its energy and its samples are all in closed form.
    """

    means: Tensor  # (M, 2)
    stds: Tensor  # (M,)
    weights: Tensor  # (classes + 1, M), rows sum to 1; the last row is the null condition
    modes: int  # the first `modes` components are what a student shall find; the rest is the broad one

    path = Linear()

    @property
    def classes(self) -> int:
        """Number of classes, which is also the null label."""
        return self.weights.shape[0] - 1

    def __call__(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (B, 2), t (B,) -> E[x | x_t] (B, 2)."""
        return self.predict_x0(x_t, t, cond)

    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """E[x | x_t] under x_t = t x + (1 - t) eps (B, 2), in the precision of x_t.

        Component m sees x_t ~ N(t mu, S) with S = t^2 std^2 + (1 - t)^2, and then
        E[x | x_t, m] = mu + gain (x_t - t mu) with gain = t std^2 / S.
        """
        means, variance = self.means.to(x_t), self.stds.to(x_t) ** 2
        alpha, sigma = (rows(c, x_t) for c in self.path.coefficients(t))  # (B, 1)
        spread = alpha**2 * variance + sigma**2  # (B, M)
        distance = (x_t**2).sum(1, keepdim=True) - 2 * alpha * (x_t @ means.T) + alpha**2 * (means**2).sum(1)
        logits = self.weights.to(x_t).log()[cond["label"]] - distance / (2 * spread) - spread.log()
        share = logits.softmax(1)
        gain = alpha * variance / spread
        return (share * (1 - alpha * gain)) @ means + (share * gain).sum(1, keepdim=True) * x_t

    def energy(self, x: Tensor, label: Tensor) -> Tensor:
        """E(x) = -log p(x | label) (B,), Definition 3.2; in float64."""
        means, variance = self.means.to(x).double(), self.stds.to(x).double() ** 2
        distance = (x.double()[:, None] - means).square().sum(2)
        log_share = self.weights.to(x).double().log()[label]
        return -(log_share - distance / (2 * variance) - (2 * math.pi * variance).log()).logsumexp(1)

    def sample(self, label: Tensor, generator: torch.Generator) -> Tensor:
        """(n,) labels -> (n, 2) samples, float32."""
        component = torch.multinomial(self.weights[label], 1, generator=generator)[:, 0]
        noise = torch.randn(label.shape[0], 2, generator=generator, dtype=torch.float64)
        return (self.means[component] + self.stds[component, None] * noise).float()


def one_prompt(means: Tensor, std: float) -> Mixture:
    """One class that holds every mode; the null condition is half of that and half a broad Gaussian."""
    modes = means.shape[0]
    stds = torch.full((modes + 1,), std, dtype=torch.float64)
    stds[-1] = BROAD_STD
    weights = torch.zeros(2, modes + 1, dtype=torch.float64)
    weights[0, :-1] = 1 / modes
    weights[1, :-1] = (1 - BROAD_SHARE) / modes
    weights[1, -1] = BROAD_SHARE
    return Mixture(torch.cat([means, torch.zeros(1, 2, dtype=torch.float64)]), stds, weights, modes)


def two_prompts(means: Tensor, std: float) -> Mixture:
    """Class 0 holds the even modes, class 1 the odd ones; the null condition holds all of them."""
    modes = means.shape[0]
    parity = torch.arange(modes) % 2
    weights = torch.stack([(parity == 0).double(), (parity == 1).double(), torch.ones(modes, dtype=torch.float64)])
    stds = torch.full((modes,), std, dtype=torch.float64)
    return Mixture(means, stds, weights / weights.sum(1, keepdim=True), modes)


CONDITIONS = {"one": one_prompt, "split2": two_prompts}


def mixture(kind: str, radius: float, std: float, condition: str) -> Mixture:
    """The mixture of a problem: a key of MIXTURES, its size, the modes' standard deviation, a key of CONDITIONS."""
    for value, known in ((kind, MIXTURES), (condition, CONDITIONS)):
        if value not in known:
            raise ValueError(f"unknown {value!r}; known: {', '.join(known)}")
    return CONDITIONS[condition](MIXTURES[kind](radius), std)


class StackedMLP(nn.Module):
    """R independent multi-layer perceptrons as one network: a layer is one batched matrix product.

    Run r's weights come from `generators[r]` alone, so what a run is stacked with does not change it. The last layer
    starts at zero: the network starts as the zero function.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        depth: int,
        outputs: int,
        generators: Sequence[torch.Generator],
        *,
        first_gain: float = 1.0,
    ) -> None:
        """`first_gain` multiplies the first layer: the larger, the steeper the functions that are learnt soon."""
        super().__init__()
        self.runs = len(generators)
        sizes = [inputs, *[width] * depth]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            gain = first_gain if layer == 0 else 1.0
            bound = gain * math.sqrt(3 / fan_in)  # unit variance passes
            drawn = [torch.rand(fan_in, fan_out, generator=g) * (2 * bound) - bound for g in generators]
            shift = [(torch.rand(1, fan_out, generator=g) * 2 - 1) * gain / math.sqrt(fan_in) for g in generators]
            self.weights.append(nn.Parameter(torch.stack(drawn)))
            self.biases.append(nn.Parameter(torch.stack(shift)))
        self.weights.append(nn.Parameter(torch.zeros(self.runs, width, outputs)))
        self.biases.append(nn.Parameter(torch.zeros(self.runs, 1, outputs)))

    def forward(self, h: Tensor) -> Tensor:
        """(R * B, inputs) -> (R * B, outputs)."""
        h = h.reshape(self.runs, -1, h.shape[-1])  # refuses rows that do not split into R runs
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)  # (R, B, width)
            if index < last:
                h = nn.functional.silu(h)
        return h.reshape(-1, h.shape[-1])

    def hidden(self, h: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        """(R * B, inputs) -> the hidden layers asked for, (R * B, width) each."""
        h = h.reshape(self.runs, -1, h.shape[-1])
        found: dict[int, Tensor] = {}
        for index in range(max(layers) + 1):
            h = nn.functional.silu(torch.baddbmm(self.biases[index], h, self.weights[index]))
            found[index] = h.reshape(-1, h.shape[-1])
        return [found[index] for index in layers]


def one_hot(label: Tensor, classes: int, like: Tensor) -> Tensor:
    """(B,) -> (B, classes + 1) in the precision of `like`."""
    return nn.functional.one_hot(label, classes + 1).to(like)


class MLP2D(Backbone):
    """A velocity network on the plane, one per generator: the fake teachers, or a real one that is trained."""

    path = Linear()
    precision: Precision = "float32"
    FREQUENCIES = (1.0, 2.0, 4.0)  # half turns of t over [0, 1]
    turns: Tensor

    def __init__(self, width: int, depth: int, classes: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.classes, self.width, self.depth = classes, width, depth
        inputs = 2 + 2 * len(self.FREQUENCIES) + classes + 1
        self.network = StackedMLP(inputs, width, depth, 2, generators)
        self.register_buffer("turns", math.pi * torch.tensor(self.FREQUENCIES), persistent=False)

    def _inputs(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        phase = rows(t, x_t) * self.turns.to(x_t)
        return torch.cat([x_t, phase.sin(), phase.cos(), one_hot(cond["label"], self.classes, x_t)], 1)

    def velocity(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t (R * B, 2), t (R * B,) -> E[x - eps | x_t] (R * B, 2)."""
        return self.network(self._inputs(x_t, t, cond))

    def predict_x0(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """x_t + (1 - t) v (R * B, 2)."""
        return x_t + rows(1 - t, x_t) * self.velocity(x_t, t, cond)

    def native_loss(self, x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Velocity matching at F_t(x), mean over the two dimensions, unreduced (R * B,)."""
        return (self.velocity(self.path.add_noise(x, eps, t), t, cond) - (x - eps)).square().mean(1)

    def features(self, x_t: Tensor, t: Tensor, cond: Condition, layers: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Hidden states after the layers named, first is 0, each (R * B, 1, width): one token per point."""
        return tuple(h[:, None] for h in self.network.hidden(self._inputs(x_t, t, cond), layers))

    def null(self, cond: Condition) -> Condition:
        """The null condition of the same rows."""
        return {"label": torch.full_like(cond["label"], self.classes)}


class Student2D(nn.Module):
    """z (R * B, latent) -> x (R * B, 2) in one step: the first two of z, plus an MLP that starts at 0."""

    FIRST_GAIN = 5.0  # between two modes the map must jump: a steep start; at 1 the modes stay 1.7 times too wide

    def __init__(
        self, latent: int, width: int, depth: int, classes: int, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        if latent < 2:
            raise ValueError(f"latent {latent}: a student of the plane needs at least 2 dimensions of z")
        self.classes = classes
        self.network = StackedMLP(latent + classes + 1, width, depth, 2, generators, first_gain=self.FIRST_GAIN)

    def forward(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The time is not read: a one-step student is asked at t = 0 alone."""
        return z[:, :2] + self.network(torch.cat([z, one_hot(cond["label"], self.classes, z)], 1))
