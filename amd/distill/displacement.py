"""Ask both teachers at x_t, and return d = x - x0_hat. No gradient flows through either."""

import torch
from torch import Tensor

from amd.distill.renoise import Levels
from amd.distill.types import Cast, Condition, Conditioning, Denoiser, Displacements, Noise


def both(network: Denoiser, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
    """Conditional and unconditional x0_hat in one forward of 2B rows."""
    cond: Condition = {key: torch.cat([value, conditioning.uncond[key]]) for key, value in conditioning.cond.items()}
    with_cond, without = network(torch.cat([x_t, x_t]), torch.cat([t, t]), cond).chunk(2)
    return with_cond, without


@torch.no_grad()
def look(
    cast: Cast, x: Tensor, conditioning: Conditioning, levels: Levels, noise: Noise, uncond_dm: bool
) -> tuple[Displacements, Tensor]:
    """The displacements at x (B, *S) and the dm level's noise.

    Passes: fake B; real B without guidance, 2B with it; where levels split, real B at dm and 2B at ca (and 2B at dm
    when `uncond_dm` is asked for, which a split method does not need).
    """
    x = x.detach()
    guided = cast.cfg_weight != 1
    eps = noise.normal("eps", tuple(x.shape[1:]))
    x_dm = cast.path.add_noise(x, eps, levels.t_dm)
    fake = x - cast.fake(x_dm, levels.t_dm, conditioning.cond)
    uncond: Tensor | None = None
    if guided and (uncond_dm or levels.split is None):
        real, uncond = (x - x0 for x0 in both(cast.real, x_dm, levels.t_dm, conditioning))
    else:
        real = x - cast.real(x_dm, levels.t_dm, conditioning.cond)
    if levels.split is None or not guided:
        return Displacements(real, uncond, fake, real, uncond), eps
    own = levels.split.reshape(-1, *[1] * (x.ndim - 1))
    eps_ca = torch.where(own, noise.normal("eps_ca", tuple(x.shape[1:])), eps)
    real_ca, uncond_ca = (
        x - x0 for x0 in both(cast.real, cast.path.add_noise(x, eps_ca, levels.t_ca), levels.t_ca, conditioning)
    )
    return Displacements(real, uncond, fake, real_ca, uncond_ca), eps
