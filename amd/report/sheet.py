"""A figure at a scale, before it is drawn: its runs, the files that they left, honest names, where the picture goes."""

import json
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amd.config import plan
from amd.config.load import Library, Run
from amd.config.schema.tables import Figure
from amd.report.style import arrow, banner_lines

DISTANCES = frozenset({"fid", "sfid"})
"""Metrics of which less is better, and which may shrink by factors; of all others more is better."""


@dataclass(frozen=True)
class Drawing:
    """What a kind of figure gives back: the numbers that it shows and sentences for its caption."""

    numbers: dict[str, Any]
    said: list[str]


@dataclass(frozen=True)
class Sheet:
    """A figure of the configuration at a scale, and where its files go."""

    library: Library
    figure: Figure
    scale: str
    out: Path  # without extension
    root: Path

    @property
    def banner(self) -> list[str]:
        """The scale's banner and what stands in for what."""
        domain = self.library.domain(self.scale, self.figure.track)
        return banner_lines(self.library.scales[self.scale].banner, domain.stand_in)

    def metric(self, key: str) -> str:
        """The domain's honest name, with the direction that is better."""
        name = self.library.domain(self.scale, self.figure.track).metrics[key]
        return name + arrow("down" if key in DISTANCES else "up")

    @property
    def metrics(self) -> list[str]:
        """The figure's, as far as the domain measures them."""
        assert self.figure.benchmark is not None
        measured = plan.metrics(self.library, self.figure.benchmark, self.scale)
        return [key for key in self.figure.metrics if key in measured]

    def runs(self, title: str, stage: bool = True) -> list[Run]:
        """Every seed of a system, at the figure's stage."""
        system = self.figure.systems[title]
        seeds = plan.seeds(self.library, system, self.scale, self.figure.systems.values())
        own = self.figure.stage if stage else None
        return [self.library.run(system, self.scale, seed, own) for seed in seeds]

    def read(self, run: Run, path: str) -> dict[str, Any] | None:
        """A JSON file of `run`, or None where it is missing or of another configuration."""
        file = self.root / path
        if not file.is_file():
            return None
        content = json.loads(file.read_text())
        return content if content["run_digest"] == run.digest else None

    @property
    def png(self) -> Path:
        """The picture's path."""
        return self.out.with_name(f"{self.out.name}.png")

    def absent(self, found: Container[str]) -> list[str]:
        """A sentence that names the systems that are not among `found`."""
        missing = [name for name in self.figure.systems if name not in found]
        return [f"Not run at this scale yet: {', '.join(missing)}."] if missing else []
