"""Activations computed again in the backward pass, for less memory."""

from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, *inputs: Any) -> Any:
    """`block(*inputs)`, whose activations are computed again in the backward pass.

    Weights that were frozen in the forward pass are so in the second one too, though they may train again by then: a
    critic's features carry a gradient to the student through a fake teacher that is not to have any. They are looked up
    in each pass: of a block that is shared out over ranks, the second finds those that were gathered for it.
    """
    asked = [weight.requires_grad for weight in block.parameters()]

    def run(*inputs: Any) -> Any:
        here = zip(block.parameters(), asked, strict=True)
        changed = [(weight, before) for weight, before in here if weight.requires_grad != before]
        for weight, before in changed:
            weight.requires_grad_(before)
        try:
            return block(*inputs)
        finally:
            for weight, before in changed:
                weight.requires_grad_(not before)

    return checkpoint(run, *inputs, use_reentrant=False)
