"""How far a long job is: a bar on a terminal, a line every ten seconds where there is none. Both carry the ETA."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm


class Progress:
    """`with Progress("sit-amd seed 0", total) as progress: progress.step(...)`."""

    def __init__(self, title: str, total: int, done: int = 0, *, quiet: bool = False, every_s: float = 10.0) -> None:
        """`done` steps were made by earlier attempts. `quiet`: say nothing (every process but the main one)."""
        self.title, self.total, self.done, self.every_s = title, total, done, every_s
        self._quiet = quiet
        self._first, self._start = done, time.monotonic()
        self._said = self._start
        self._bar = tqdm(total=total, initial=done, desc=title, disable=True if quiet else None, dynamic_ncols=True)

    def __enter__(self) -> Self:
        """The bar is there already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    @property
    def each_s(self) -> float:
        """Seconds per step of this attempt."""
        return (time.monotonic() - self._start) / max(self.done - self._first, 1)

    def step(self, **values: float) -> None:
        """One more step is done. `values` are shown beside it."""
        self.done += 1
        if not self._bar.disable:
            if values:
                self._bar.set_postfix({key: f"{value:.3g}" for key, value in values.items()}, refresh=False)
            self._bar.update()
        elif not self._quiet and time.monotonic() - self._said >= self.every_s:
            self._said = time.monotonic()
            shown = "".join(f", {key} {value:.3g}" for key, value in values.items())
            left = (self.total - self.done) * self.each_s
            self.say(f"{self.done}/{self.total}, {self.each_s:.2f} s each, {left:.0f} s left{shown}")

    def say(self, event: str) -> None:
        """A line in the log, above the bar if there is one."""
        if not self._quiet:
            tqdm.write(f"{time.strftime('%H:%M:%S')} {self.title}: {event}", file=sys.stderr)
            sys.stderr.flush()
