"""How torch uses the CPU: how many threads it computes with, and whether freed memory is kept."""

import ctypes
import os

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
LARGE = 2**31 - 1


def threads() -> int:
    """Use OMP_NUM_THREADS threads, or one: then a result does not depend on how many cores a machine has.

    Where the CPU computes, freed memory is kept as well: otherwise glibc returns each activation to the system, which
    fills its pages with zeros when they are wanted again, a few thousand times in every training step.
    """
    count = int(os.environ.get("OMP_NUM_THREADS") or 1)
    torch.set_num_threads(count)
    if not torch.cuda.is_available():
        keep_freed_memory()
    return count


def keep_freed_memory() -> bool:
    """Tell malloc to; False where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(key, LARGE) == 1 for key in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
