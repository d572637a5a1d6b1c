"""What a run said of itself: a JSON line per logged step, kept beside its states across attempts.

On resume the lines after the resumed step are cut off, so that a step stands there once.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path


class Journal:
    """`state/journal.jsonl`; `step` is the number of steps done, the same as a state's."""

    def __init__(self, file: Path, *, resumed: int = 0) -> None:
        """Cuts what is after step `resumed`, and a last line that was torn by a kill."""
        self.file = Path(file)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read(self.file) if _step(line) <= resumed]
        part = self.file.with_name(self.file.name + ".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
        os.replace(part, self.file)

    def write(self, step: int, values: Mapping[str, object]) -> None:
        """Append one line. Numbers that are not finite are written as their names: JSON has none."""
        line = {"step": step, **{key: _plain(value) for key, value in values.items()}}
        with self.file.open("a") as stream:
            stream.write(json.dumps(line, allow_nan=False) + "\n")


def read(file: Path) -> list[dict[str, object]]:
    """Every whole line of a journal, oldest first; an absent file has none."""
    if not file.is_file():
        return []
    lines = []
    for raw in file.read_text().splitlines():
        try:
            lines.append(json.loads(raw))
        except ValueError:  # the last line of a killed attempt
            continue
    return lines


def _step(line: Mapping[str, object]) -> int:
    step = line["step"]
    assert isinstance(step, int)
    return step


def _plain(value: object) -> object:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
