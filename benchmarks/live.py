"""Bytes of tensors that are alive at once, counted as they are made and freed, and the process's resident memory."""

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PAGE = os.sysconf("SC_PAGE_SIZE")


class Live(TorchDispatchMode):
    """While it is on: `now`, the bytes of what was made inside and is still held by anybody; `peak`, the most so far.

    A storage counts once, however many views it has. What a kernel takes for itself and gives back is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {
            tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)
        }
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)

        def freed() -> None:
            self.known.discard(key)
            self.now -= size

        weakref.finalize(storage, freed)


def peak(run: Callable[[], object]) -> int:
    """The most bytes of new tensors that were alive at once while `run` ran, its result included."""
    with torch.no_grad(), Live() as live:
        run()
    return live.peak


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
