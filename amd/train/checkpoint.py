"""The training state: numbered folders, written whole, verified by sha256, resumed from the newest good one.

state/step-000123/{role}.safetensors, optim-{role}.pt (loads with weights_only=True), meta.json. Random numbers and the
data order are functions of (seed, iteration), so there is no random state; nothing in a folder depends on the number of
processes, or on whether they shared the weights out. Artefacts, the finished thing, are in `amd.train.artifact` and can
be reached from here.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from amd.train.artifact import (
    Refused,
    StateDict,
    artifact_sha,
    created,
    git_sha,
    read_artifact,
    read_meta,
    sha256,
    versions,
    write_artifact,
    write_json,
    write_tensors,
)
from amd.train.sharding import load_moments, moments, sharded, whole

__all__ = [
    "Loads",
    "Refused",
    "Session",
    "artifact_sha",
    "read_artifact",
    "read_meta",
    "write_artifact",
    "write_tensors",
]


class Loads(Protocol):
    """A module, an EMA, or the trainable part of a module (`amd.train.weights`)."""

    def load_state_dict(self, state_dict: dict[str, Tensor], /) -> object:
        """Take these values; raise if the names are not its own."""
        ...


def _sealed(meta: Mapping[str, object]) -> str:
    """sha256 of meta.json's own content, the seal excluded."""
    content = {key: value for key, value in meta.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Session:
    """The states of one run (`digest`) in one folder; keeps the last `keep` good ones.

    Not for concurrent use: hold an `amd.train.lease.Lease` on the folder. With several processes all save and restore;
    the main one writes.
    """

    def __init__(self, state: Path, digest: str, *, keep: int = 2, main: bool = True) -> None:
        """`main`: whether this process writes, and prints what it refuses."""
        self.state = Path(state)
        self.digest = digest
        self.keep = keep
        self.extra: dict[str, object] = {}
        """What `save` was given as `extra`, after `restore`."""
        self.save_s = 0.0
        """How long the last save took, seconds."""
        self._main = main
        self._good: list[int] = []  # oldest first
        self._refused: set[int] = set()
        self._last_save = time.monotonic()
        self.state.mkdir(parents=True, exist_ok=True)

    def folder(self, step: int) -> Path:
        """Where the state after `step` steps is."""
        return self.state / f"step-{step:06d}"

    @property
    def last_good(self) -> Path | None:
        """The newest state known to be good: saved or verified by this session."""
        return self.folder(self._good[-1]) if self._good else None

    def due(self, every_s: float) -> bool:
        """Whether `every_s` seconds have passed since the last save (or the start)."""
        return time.monotonic() - self._last_save >= every_s

    def save(
        self,
        step: int,
        tensors: Mapping[str, StateDict],
        optimisers: Mapping[str, Optimizer] | None = None,
        extra: Mapping[str, object] | None = None,
        attached: Mapping[str, str] | None = None,
    ) -> Path:
        """Write the state after `step` steps; a state of that step that this session wrote or read is left alone.

        Every process calls this: sharded tensors are gathered.

        `extra` is JSON. `attached`: files of the state folder (relative name -> sha256) that this state relies on, e.g.
        milestones; a state whose attached files are gone or altered is refused.
        """
        final = self.folder(step)
        if self._good and self._good[-1] == step:
            return final
        start = time.monotonic()
        weights = {role: whole(state, self._main) for role, state in tensors.items()}
        moved = {role: moments(optimiser, self._main) for role, optimiser in (optimisers or {}).items()}
        if self._main:
            self._write(step, weights, moved, dict(extra or {}), dict(attached or {}))
        self._refused.discard(step)
        self._good.append(step)
        self._prune()
        self._last_save = time.monotonic()
        self.save_s = self._last_save - start
        return final

    def _write(
        self,
        step: int,
        weights: Mapping[str, StateDict],
        moved: Mapping[str, object],
        extra: dict[str, object],
        attached: dict[str, str],
    ) -> None:
        final = self.folder(step)
        part = final.with_name(final.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        files = {
            f"{role}.safetensors": write_tensors(part / f"{role}.safetensors", state) for role, state in weights.items()
        }
        for role, values in moved.items():
            file = part / f"optim-{role}.pt"
            torch.save(values, file)
            files[file.name] = sha256(file)
        meta: dict[str, object] = {
            "step": step,
            "digest": self.digest,
            "git_sha": git_sha(),
            "versions": versions(),
            "created": created(),
            "files": files,
            "attached": attached,
            "extra": extra,
        }
        write_json(part / "meta.json", {**meta, "seal": _sealed(meta)})
        shutil.rmtree(final, ignore_errors=True)  # one that was refused, or nothing
        os.replace(part, final)

    def restore(self, loads: Mapping[str, Loads], optimisers: Mapping[str, Optimizer] | None = None) -> int:
        """Load the newest good state into `loads` (role -> what takes its tensors) and `optimisers`; its step, or 0.

        A truncated or altered state is refused by name on stderr and the one before it is used, and so is one of
        another digest. Nothing is loaded before everything of a state is verified. Roles must be those that were saved.
        """
        for step in sorted(self._steps(), reverse=True):
            try:
                meta = self._verified(
                    step, {f"{role}.safetensors" for role in loads} | {f"optim-{r}.pt" for r in optimisers or {}}
                )
                folder = self.folder(step)
                tensors = {role: load_file(folder / f"{role}.safetensors") for role in loads}
                moved = {  # mapped where a rank needs a part of it only: the ranks of a node then share one copy
                    role: torch.load(
                        folder / f"optim-{role}.pt",
                        map_location="cpu",
                        weights_only=True,
                        mmap=any(sharded(p) for group in optimiser.param_groups for p in group["params"]),
                    )
                    for role, optimiser in (optimisers or {}).items()
                }
            except (Refused, SafetensorError, OSError) as error:
                self._refused.add(step)
                if self._main:
                    print(
                        f"{self.folder(step)} refused: {error}; looking for the one before it",
                        file=sys.stderr,
                        flush=True,
                    )
                continue
            for role, target in loads.items():
                target.load_state_dict(tensors[role])
            for role, optimiser in (optimisers or {}).items():
                load_moments(optimiser, moved[role])
            extra = meta["extra"]
            assert isinstance(extra, dict)
            self.extra = extra
            # The one before it stays as the second good one: it is verified when it is needed.
            self._good = [s for s in sorted(self._steps()) if s <= step and s not in self._refused][-self.keep :]
            self._last_save = time.monotonic()
            return step
        return 0

    def clear(self) -> None:
        """Delete all states of this run: the artefact is in place."""
        for step in self._steps():
            shutil.rmtree(self.folder(step), ignore_errors=True)
        for part in self.state.glob("step-*.part"):
            shutil.rmtree(part, ignore_errors=True)
        self._good, self._refused = [], set()

    def _steps(self) -> list[int]:
        return [int(f.name[5:]) for f in self.state.glob("step-*") if f.is_dir() and f.name[5:].isdigit()]

    def _verified(self, step: int, expected: set[str]) -> dict[str, object]:
        folder = self.folder(step)
        try:
            meta = json.loads((folder / "meta.json").read_text())
        except (OSError, ValueError) as error:
            raise Refused(f"meta.json cannot be read ({error})") from error
        if not isinstance(meta, dict) or meta.get("seal") != _sealed(meta) or meta["step"] != step:
            raise Refused("meta.json was altered (its seal does not match)")
        if meta["digest"] != self.digest:
            raise Refused(f"it belongs to the run with digest {meta['digest']}, this one is {self.digest}")
        if set(meta["files"]) != expected:
            raise Refused(f"it holds {sorted(meta['files'])}, this run has {sorted(expected)}")
        wanted = {folder / name: digest for name, digest in meta["files"].items()}
        wanted |= {self.state / name: digest for name, digest in meta["attached"].items()}
        for file, digest in wanted.items():
            if not file.is_file():
                raise Refused(f"{file.relative_to(self.state)} is missing")
            if sha256(file) != digest:
                raise Refused(
                    f"{file.relative_to(self.state)} is truncated or altered (its sha256 is not the recorded one)"
                )
        return meta

    def _prune(self) -> None:
        """Keep the last good ones, and what other digests left here."""
        for step in self._steps() if self._main else []:
            if step in self._good[-self.keep :]:
                continue
            try:
                foreign = json.loads((self.folder(step) / "meta.json").read_text())["digest"] != self.digest
            except (OSError, ValueError, KeyError, TypeError):
                foreign = False
            if not foreign:
                shutil.rmtree(self.folder(step), ignore_errors=True)
        self._good = self._good[-self.keep :]
