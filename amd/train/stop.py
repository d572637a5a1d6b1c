"""When to leave: SIGTERM, SIGINT, or a time budget that nears its end. The caller saves, leaves with exit code 75."""

import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

TEMPFAIL = 75
"""sysexits.h EX_TEMPFAIL: try again; the next attempt resumes."""
PATIENCE_S = 2.0


class Stop:
    """`with Stop(budget_s) as stop:` and, between steps, `if stop.reason(): save; stop.leave(...)`.

    A signal is remembered until the step is done. Launchers repeat signals, so a second one changes nothing, but for a
    second Ctrl-C from someone who has waited `PATIENCE_S`.
    """

    def __init__(self, budget_s: float | None = None) -> None:
        """`budget_s` counts from here; None is no limit."""
        self.budget_s = budget_s
        self._start = time.monotonic()
        self._step = self._start
        self._longest = 0.0
        self._signal: signal.Signals | None = None
        self._signalled = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the handlers over."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            if number == signal.SIGINT and time.monotonic() - self._signalled > PATIENCE_S:
                raise KeyboardInterrupt
            return
        self._signal, self._signalled = signal.Signals(number), time.monotonic()
        how = "; Ctrl-C again stops without saving" if number == signal.SIGINT else ""
        print(f"{self._signal.name}: leaving after this step{how}", file=sys.stderr, flush=True)

    def stepped(self) -> None:
        """Call once per step: the budget keeps room for the longest one."""
        now = time.monotonic()
        self._longest, self._step = max(self._longest, now - self._step), now

    def resting(self) -> None:
        """Call after work that is no step (set-up, a save): the next step is measured from here."""
        self._step = time.monotonic()

    def reason(self, reserve_s: float = 0.0) -> str | None:
        """Why to stop now, or None. `reserve_s`: what saving will take."""
        if self._signal is not None:
            return self._signal.name
        if self.budget_s is not None:
            elapsed = time.monotonic() - self._start
            if elapsed + self._longest + 2 * reserve_s >= self.budget_s:
                return f"budget of {self.budget_s:.0f} s nearly used ({elapsed:.0f} s)"
        return None

    def give_up(self) -> None:
        """Leave if there is a reason to, while there is nothing to save yet: what waiting for a lease calls."""
        if reason := self.reason():
            self.leave(reason, "nothing was begun")

    def leave(self, reason: str, saved: str) -> NoReturn:
        """SystemExit(75). `saved` says what the next attempt finds."""
        print(f"{reason}: {saved}; run the same command again to go on (exit {TEMPFAIL})", file=sys.stderr, flush=True)
        raise SystemExit(TEMPFAIL)
