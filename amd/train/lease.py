"""Who may train in a state folder: one process at a time.

A killed scheduler leaves its jobs running, and its successor submits them again. The second process waits here until
the first is done, then finds its states. flock ends with its holder, so a crashed holder never blocks; where
flock does not reach (a file system that locks per host), a holder elsewhere is known by its heartbeat, the mtime.
"""

import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4


class LeaseLost(RuntimeError):
    """Another process took the lease while this one did not beat; what this one has must not be written."""


class Lease:
    """`with Lease(state): ...` holds state/lease. Waits, with a message, as long as another process holds it."""

    def __init__(
        self,
        state: Path,
        *,
        beat_s: float = 10.0,
        stale_s: float = 60.0,
        interrupted: Callable[[], None] | None = None,
    ) -> None:
        """A holder on another host is dead after `stale_s` without a beat. `interrupted` may raise to stop waiting."""
        if stale_s < 3 * beat_s:
            raise ValueError(f"stale_s {stale_s} is less than three beats of {beat_s} s")
        self.file = Path(state) / "lease"
        self.beat_s, self.stale_s = beat_s, stale_s
        self._interrupted = interrupted or (lambda: None)
        self._token = uuid4().hex
        self._descriptor = -1
        self._end = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Take it, waiting if need be."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._wait()
            self._write({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "token": self._token})
        except BaseException:
            os.close(self._descriptor)
            raise
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self._end.set()
        assert self._beating is not None
        self._beating.join()
        if self._holder().get("token") == self._token:
            self._write({})
        os.close(self._descriptor)  # and with it the flock

    def check(self) -> None:
        """LeaseLost unless the lease is still ours; call it before writing anything."""
        holder = self._holder()
        if holder.get("token") != self._token:
            raise LeaseLost(f"{self.file}: taken by {_who(holder)}; this process stops without writing")

    def _wait(self) -> None:
        said, seen, since = 0.0, -1.0, time.monotonic()
        while True:
            holder = self._holder()
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked = True
            else:
                locked = False
                holder = self._holder()  # it may have been given back since it was read
                # Without a lock the holder is dead if it was on this host: flock ends with its process.
                if not holder or holder.get("host") == socket.gethostname():
                    if holder:
                        print(f"{self.file}: {_who(holder)} died; its lease is taken", file=sys.stderr, flush=True)
                    return
            mtime = os.fstat(self._descriptor).st_mtime  # compared with itself only: hosts' clocks differ
            if mtime != seen:
                seen, since = mtime, time.monotonic()
            elif not locked and time.monotonic() - since > self.stale_s:
                print(
                    f"{self.file}: {_who(holder)} has not beaten for {self.stale_s:.0f} s; its lease is taken",
                    file=sys.stderr,
                    flush=True,
                )
                return
            if not locked:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            if time.monotonic() - said > 60 or said == 0.0:
                print(f"{self.file}: {_who(holder)} is training here; waiting", file=sys.stderr, flush=True)
                said = time.monotonic()
            self._interrupted()
            time.sleep(min(1.0, self.beat_s / 2))

    def _holder(self) -> dict[str, object]:
        try:
            content = json.loads(os.pread(self._descriptor, 4096, 0) or b"{}")
        except ValueError:  # read while it was being written
            return {"pid": "?", "host": "?"}
        return content if isinstance(content, dict) else {}

    def _write(self, content: dict[str, object]) -> None:
        raw = json.dumps(content).encode() if content else b""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, raw, 0)  # in place: the lock is on this inode

    def _beat(self) -> None:
        while not self._end.wait(self.beat_s):
            if self._holder().get("token") == self._token:
                os.utime(self._descriptor)


def _who(holder: dict[str, object]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
