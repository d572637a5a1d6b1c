"""How many threads torch computes with."""

import os

import torch


def threads() -> int:
    """Use OMP_NUM_THREADS threads, or one: then a result does not depend on how many cores a machine has."""
    count = int(os.environ.get("OMP_NUM_THREADS") or 1)
    torch.set_num_threads(count)
    return count
