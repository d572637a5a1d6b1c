"""F_ext as potentials V(x) to descend: F_ext = grad_x V (Eq. 25-28). `value` returns (B,), with x's graph.

The paper prints DMD2's and DMDR's forces as ascent directions (Table 1, Eq. 28); a potential to descend is
-log D = softplus(-logit) and -R. The push averages over the S dimensions of a latent, so a weight that was tuned at one
latent size keeps its balance at another only if it is scaled by dims / S: `dims` is the size it was tuned at.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from amd.distill.slot import Slot, slot
from amd.distill.types import Cast, Condition, Noise


@dataclass(frozen=True)
class Context:
    """What a force may look at."""

    cast: Cast
    noise: Noise
    x: Tensor  # (B, *S): with the student's graph in a student update, detached in a fake update
    cond: Condition

    @property
    def size(self) -> int:
        """S, the number of dimensions of one latent."""
        return self.x[0].numel()


@dataclass(frozen=True)
class Force:
    """lambda V(x), and what its critic learns in the fake's update."""

    value: Slot  # (Context) -> (B,)
    critic: Slot | None = None  # (Context) -> (B,)

    def __str__(self) -> str:
        return str(self.value) if self.critic is None else f"{self.value} against {self.critic}"

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Both slots that carry numbers."""
        return (self.value,) if self.critic is None else (self.value, self.critic)

    def map(self, change: Callable[[Slot], Slot]) -> "Force":
        """The same force with changed slots."""
        return Force(change(self.value), None if self.critic is None else change(self.critic))


@slot("pairs")
def tether(context: Context, *, lam: float = 0.25) -> Tensor:
    """lam x mean (G(z) - x_ode)^2 on pairs of noise and the teacher's ODE sample (Eq. 26, DMD v1's regression).

    The paper calls the target "ground truth"; it is the teacher's own sample for the same z. LPIPS at paper scale is
    DMD v1's distance, squared error the paper's. Source of 0.25: DMD v1 as recalled in the literature, unverified.
    """
    assert context.cast.pairs is not None
    z, target, cond = context.cast.pairs(context.noise)
    start = torch.zeros(z.shape[0], dtype=torch.float64, device=z.device)
    return lam * (context.cast.student(z, start, cond) - target).square().flatten(1).mean(1)


def _noised(context: Context, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """x at t ~ U[0, 1): the discriminator sees diffused samples (DMD2, sd_guidance.py:145)."""
    t = context.noise.uniform(f"t_{name}")
    return context.cast.path.add_noise(x, context.noise.normal(f"eps_{name}", tuple(x.shape[1:])), t), t


@slot("logit")
def adversarial(context: Context, *, lam: float = 3e-3, dims: int = 12288) -> Tensor:
    """lam x -log D(x_t) = softplus(-logit) (Eq. 27). 3e-3 is DMD2's for ImageNet at 3 x 64 x 64."""
    assert context.cast.logit is not None
    x_t, t = _noised(context, context.x, "student")
    return lam * dims / context.size * F.softplus(-context.cast.logit(x_t, t, context.cond))


@slot("logit", "real_data")
def discriminator(context: Context, *, critic_lam: float = 1e-2) -> Tensor:
    """critic_lam x (softplus(logit fake) + softplus(-logit real)); trained in the fake teacher's own update."""
    assert context.cast.logit is not None
    assert context.cast.real_data is not None
    real, real_cond = context.cast.real_data(context.noise)
    fake_t, t_fake = _noised(context, context.x, "fake")
    real_t, t_real = _noised(context, real, "real")
    fake = context.cast.logit(fake_t, t_fake, context.cond)  # apart: a stack's rows are in (run, row) order
    true = context.cast.logit(real_t, t_real, real_cond)
    return critic_lam * (F.softplus(fake) + F.softplus(-true))


@slot("reward")
def reward(context: Context, *, lam: float = 0.05, dims: int = 4096) -> Tensor:
    """-lam x R(x), back-propagated through decoder and reward (ReFL; Eq. 28 with its sign mended).

    0.05 x cross-entropy is DMDR's for SiT-XL/2's 4 x 32 x 32 latents, summed with the matching loss in one backward
    (vvvvvjdy/dmdr, train_sitxl_refl_deepspeed.py:566).
    """
    assert context.cast.reward is not None
    return -lam * dims / context.size * context.cast.reward(context.x, context.cond)


TETHER = Force(tether())
ADVERSARIAL = Force(adversarial(), discriminator())
REWARD = Force(reward())
