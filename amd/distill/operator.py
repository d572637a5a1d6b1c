"""H: how the attractive and the repulsive displacement compose into the direction g that x descends (Eq. 6).

All in displacements d = x - x0_hat (Eq. 4): d_real - d_fake = x0_fake - x0_real, so x <- x - eta g moves x towards the
real teacher's target and away from the fake one's. The CA term is (w - 1)(d_cond - d_uncond), which is
(w - 1)(x0_uncond - x0_cond): the other order would invert guidance. Shapes: every d is (B, *S), the advantage (B,).
"""

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from amd.distill.path import rows
from amd.distill.slot import slot
from amd.distill.types import Displacements

if TYPE_CHECKING:
    from amd.distill.methods import Method


def guided(cond: Tensor, uncond: Tensor | None, cfg_weight: float) -> Tensor:
    """d_uncond + w (d_cond - d_uncond): guidance in displacements (above Eq. 9). w = 1 needs no uncond."""
    if cfg_weight == 1:
        return cond
    if uncond is None:
        raise ValueError(f"cfg_weight {cfg_weight} needs the unconditional displacement")
    return uncond + cfg_weight * (cond - uncond)


def augmentation(d: Displacements, cfg_weight: float) -> Tensor | float:
    """The CA term (w - 1)(d_cond - d_uncond) at the ca level (Eq. 9); exactly 0 for w = 1."""
    if cfg_weight == 1:
        return 0.0
    if d.uncond_ca is None:
        raise ValueError(f"cfg_weight {cfg_weight} needs the unconditional displacement at the ca level")
    return (cfg_weight - 1) * (d.real_ca - d.uncond_ca)


def coefficients(advantage: Tensor, s: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha = 1 + s a and beta = 1 - s a (Eq. 13), each (B, 1, ..., 1)."""
    return rows(1 + s * advantage, like), rows(1 - s * advantage, like)


@slot()
def standard(d: Displacements, advantage: Tensor | None, cfg_weight: float) -> Tensor:
    """d_real - d_fake, the real one guided (Eq. 7)."""
    return guided(d.real_dm, d.uncond_dm, cfg_weight) - d.fake_dm


@slot()
def decoupled(d: Displacements, advantage: Tensor | None, cfg_weight: float) -> Tensor:
    """d_dm + d_ca, each at its own level (Eq. 9; Decoupled DMD, arXiv 2511.22677, Eq. 8)."""
    return (d.real_dm - d.fake_dm) + augmentation(d, cfg_weight)


@slot("advantage")
def adaptive(d: Displacements, advantage: Tensor, cfg_weight: float, *, s: float = 0.5) -> Tensor:
    """beta d_dm + alpha d_ca (Eq. 10 with Eq. 13)."""
    alpha, beta = coefficients(advantage, s, d.real_dm)
    return beta * (d.real_dm - d.fake_dm) + alpha * augmentation(d, cfg_weight)


@slot("advantage")
def naive(d: Displacements, advantage: Tensor, cfg_weight: float, *, s: float = 0.5) -> Tensor:
    """alpha d_real - beta d_fake (Eq. 8): not a matching field, it does not vanish where the distributions agree."""
    alpha, beta = coefficients(advantage, s, d.real_dm)
    return alpha * guided(d.real_dm, d.uncond_dm, cfg_weight) - beta * d.fake_dm


@slot()
def abs_mean(
    d: Displacements, cfg_weight: float, *, normaliser: Literal["cfg", "cond", "none"] = "cfg"
) -> Tensor | float:
    """What g is divided by: mean |x - x0_hat| per sample, (B, 1, ..., 1), in float32 or better, never with alpha, beta.

    The paper's equations have no normaliser, every implementation has one (DMD's Eq. 8; DMD2, sd_guidance.py:235). It
    comes from the dm level: "cfg" the guided teacher, "cond" the conditional one (where the levels differ, the guided
    one is not known at dm), "none" is 1.
    """
    if normaliser == "none":
        return 1.0
    target = guided(d.real_dm, d.uncond_dm, cfg_weight) if normaliser == "cfg" else d.real_dm
    size = target.double() if target.element_size() == 8 else target.float()
    return size.abs().flatten(1).mean(1).clamp_min(1e-8).reshape(-1, *[1] * (target.ndim - 1))


def compose(
    method: "Method | str", displacements: Displacements, advantage: Tensor | None, cfg_weight: float
) -> Tensor:
    """The unnormalised g of a method: H applied to the displacements, and nothing else (Eq. 6 without F_ext).

    Args:
        method: a row of `amd.distill.methods.METHODS`, or its name.
        displacements: d = x - x0_hat of both teachers, (B, *S) each, at the dm level and at the ca level.
        advantage: (B,) in [-clip, clip] (Eq. 12); None for a method whose operator does not read it.
        cfg_weight: w of Eq. 9, `uncond + w (cond - uncond)`; 1 is no guidance.

    Returns:
        g (B, *S), not normalised, in the displacements' precision; x descends it.

    Raises:
        ValueError: an unknown method, a missing advantage, or a missing unconditional displacement.

    Source: AMD Eq. 7 (DMD, DMD2, MagicDistillation, DMDR), Eq. 8 (naive), Eq. 9 (D-DMD), Eq. 10 with Eq. 13 (AMD).
    """
    if isinstance(method, str):
        from amd.distill.methods import row

        method = row(method)
    if "advantage" in method.operator.reads and advantage is None:
        raise ValueError(f"{method.operator} reads the advantage, and none was given")
    return method.operator(displacements, advantage, cfg_weight)
