"""phi: whether the real teacher stands still. Each returns the share of the fake's low-rank branch that it borrows."""

import math

from amd.distill.slot import slot


@slot()
def frozen(progress: float) -> float:
    """phi_fix: the teacher as published."""
    return 0.0


@slot("pull")
def shrinking(progress: float, *, pull: float = 0.375, anneal: float = 0.5) -> float:
    """phi_theta -> phi_fix: real = phi + pull x (the fake's LoRA), annealed to 0 by a cosine over `anneal` of the run.

    MagicDistillation (arXiv 2503.13319) gives no numbers; these are DMDR's DynaDG: 0.75 of the fake's 2.0, over the
    first half (vvvvvjdy/dmdr, train_sitxl_refl_deepspeed.py:517).
    """
    return pull * 0.5 * (1 + math.cos(math.pi * progress / anneal)) if progress < anneal else 0.0
