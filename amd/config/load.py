"""config/ as one checked Library, and a Run: one thing that is trained, resolved at a scale, with its digest.

A digest covers what defines a result and nothing else: a comment, a title or a source retrains nothing.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from pydantic import BaseModel

from amd.config.checks.fit import misfit
from amd.config.checks.problems import problems
from amd.config.digest import run_digest
from amd.config.methods import REWARDED
from amd.config.read import ConfigError, Document, extend, read, unknown, validate
from amd.config.schema.choice import Choice
from amd.config.schema.closed import Stage, Track
from amd.config.schema.domain import Domain
from amd.config.schema.problem import Problem
from amd.config.schema.scale import Scale
from amd.config.schema.sizes import ClassSizes, TextSizes, TrackSizes, VideoSizes
from amd.config.schema.system import System
from amd.config.schema.tables import Benchmark, Figure, Table

__all__ = ["ConfigError", "Library", "Run", "load"]

ABLATION = "--ablation"  # a run's name ends so where a figure asks for more iterations than the system's own stage has
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Run:
    """One thing that is trained or fetched: self-contained, so that a job needs nothing else of config/."""

    name: str  # the system's, or f"{system}--ablation"
    system: System
    scale: Scale
    domain: Domain
    seed: int
    stage_iterations: int  # student updates; 0 for teachers and classifiers
    digest: str
    start: "Run | None" = None  # whose weights a student, or a teacher of image to video, begins from
    teacher: "Run | None" = None  # the real teacher (seed: system.teacher_seed)
    reward: "Run | None" = None  # what gives the domain's reward; None: published (domain.reward.assets)
    judge: "Run | None" = None  # the classifier that scores; None: published (domain.judge.assets), or a panel
    panel: tuple["Run", ...] = ()  # what was trained here of the domain's panel
    mirror: str | None = None  # config.yaml's folder with assets, looked at before any address; no part of the digest

    @property
    def sizes(self) -> TrackSizes:
        """The scale's sizes of the run's track."""
        return self.scale.sizes(self.system.track)

    @property
    def cfg_weight(self) -> float:
        """w of Eq. 9: the domain's where its teacher needs an own one, else the system's."""
        return self.system.cfg_weight if self.domain.cfg_weight is None else self.domain.cfg_weight

    @property
    def numbers(self) -> dict[str, Any]:
        """Of the method's slots, as far as system and domain set any."""
        shift = {"shift": self.domain.shift} if self.domain.shift != 1 else {}
        return shift | self.system.numbers.model_dump(exclude_none=True)

    @property
    def batch(self) -> int:
        """Rows of a student or fake update over all ranks and micro-batches."""
        sizes = self.sizes
        return sizes.batch if self.system.batch == "full" or sizes.small_batch is None else sizes.small_batch

    @property
    def klass(self) -> ClassSizes:
        """The scale's sizes of the class track."""
        assert self.scale.klass is not None, "checked when the domain was asked for"
        return self.scale.klass

    @property
    def text(self) -> TextSizes:
        """The scale's sizes of the text track."""
        assert self.scale.text is not None, "checked when the domain was asked for"
        return self.scale.text

    @property
    def video(self) -> VideoSizes:
        """The scale's sizes of the video track, or of image to video."""
        sizes = self.sizes
        assert isinstance(sizes, VideoSizes)
        return sizes

    @property
    def prompted(self) -> TextSizes | VideoSizes:
        """The scale's sizes of a track that is asked by prompts."""
        sizes = self.sizes
        assert isinstance(sizes, TextSizes | VideoSizes)
        return sizes

    @property
    def reads(self) -> tuple["Run", ...]:
        """The runs whose checkpoints training reads: the reward only where the method has one, the judge never."""
        reward = self.reward if self.system.method in REWARDED else None
        return tuple(run for run in (self.start, self.teacher, reward) if run is not None)


class Scorers(TypedDict):
    """Fields of a Run."""

    reward: Run | None
    judge: Run | None
    panel: tuple[Run, ...]


@dataclass(frozen=True)
class Library:
    """Everything under config/, checked."""

    root: Path
    choice: Choice
    scales: dict[str, Scale]
    domains: dict[str, Domain]
    systems: dict[str, System]
    benchmarks: dict[str, Benchmark]
    tables: dict[str, Table]
    figures: dict[str, Figure]
    problems: dict[str, Problem]
    documents: dict[str, dict[str, Document]] = field(default_factory=dict, repr=False, compare=False)
    _runs: dict[tuple[str, str, int, Stage | None], Run] = field(default_factory=dict, repr=False, compare=False)
    _digests: dict[tuple[str | int, ...], str] = field(default_factory=dict, repr=False, compare=False)

    def scale(self, name: str) -> Scale:
        """The scale, or a ConfigError that lists the known."""
        return _known(self.scales, name, "scale")

    def system(self, name: str) -> System:
        """The system, or a ConfigError that lists the known."""
        return _known(self.systems, name, "system")

    def domain(self, scale: str, track: Track) -> Domain:
        """The scale's domain for a track, unless config.yaml chooses another."""
        sizes = self.scale(scale)
        name = self.choice.domains.get(track) or sizes.domains.get(track)
        if name is None:
            raise ConfigError(f"{self.root}/scales/{scale}.yaml: domains.{track}: no domain for this track")
        domain = _known(self.domains, name, "domain")
        if (complaint := misfit(sizes, domain, self.systems)) is not None:
            raise ConfigError(f"{self.root}/scales/{scale}.yaml with domain '{name}': {complaint}")
        return domain

    def run(self, system: str, scale: str, seed: int, stage: Stage | None = None) -> Run:
        """Resolve a system (or a run's name) at a scale. A stage other than the system's own renames the run only
        where the scale gives it other iterations. Raises ConfigError for unknown names."""
        key = (system, scale, seed, stage)
        if key not in self._runs:
            self._runs[key] = self._run(*key)
        return self._runs[key]

    def _run(self, system: str, scale: str, seed: int, stage: Stage | None) -> Run:
        if system.endswith(ABLATION) and stage in (None, "ablation"):
            system, stage = system.removesuffix(ABLATION), "ablation"
        entry, sizes = self.system(system), self.scale(scale)
        if entry.kind == "plane":
            raise ConfigError(
                f"{self.root}/systems/{system}.yaml: kind plane: runs of the plane are stacked by problem"
            )
        domain = self.domain(scale, entry.track)
        if entry.kind != "student":
            if stage is not None:
                raise ConfigError(f"{self.root}/systems/{system}.yaml: a {entry.kind} has no stage '{stage}'")
            digest = run_digest(entry, sizes, domain, iterations=0)
            run = Run(system, entry, sizes, domain, seed, 0, digest, mirror=self.choice.mirror)
            if entry.kind == "initial":
                run = self._initial(run)
            if entry.start is not None and domain.teacher is None:  # a teacher that is trained here
                start = self.run(entry.start, scale, seed)
                digest = run_digest(entry, sizes, domain, iterations=0, start=start.digest)
                run = replace(run, start=start, digest=digest)
            # reward and judges of a teacher or of first weights are read when their samples are measured
            return run if entry.kind in ("classifier", "scorer") else replace(run, **self._scorers(domain, scale, seed))
        assert entry.stage is not None, "checked at load"
        assert entry.start is not None, "checked at load"
        assert entry.teacher is not None, "checked at load"
        if stage not in (None, entry.stage, "ablation"):
            raise ConfigError(f"{self.root}/systems/{system}.yaml: its stage is '{entry.stage}'; it has no '{stage}'")
        stages = sizes.sizes(entry.track).iterations
        iterations = stages[stage or entry.stage]
        name = system if iterations == stages[entry.stage] else system + ABLATION
        # first weights come of one teacher and are one file, as the published ones; a warm start has the student's seed
        start_seed = seed if self.system(entry.start).kind == "student" else entry.teacher_seed
        start = self.run(entry.start, scale, start_seed)
        teacher = self.run(entry.teacher, scale, entry.teacher_seed)
        scorers = self._scorers(domain, scale, entry.teacher_seed)
        reward = scorers["reward"]
        others = (start.digest, teacher.digest, reward.digest if reward else "")
        key = (system, scale, domain.name, iterations, *others)  # no seed: the same for every one
        if key not in self._digests:
            self._digests[key] = run_digest(entry, sizes, domain, iterations, *others)
        digest = self._digests[key]
        run = Run(name, entry, sizes, domain, seed, iterations, digest, start, teacher, mirror=self.choice.mirror)
        return replace(run, **scorers)

    def _initial(self, run: Run) -> Run:
        """Its teacher, and the digest that knows of it."""
        assert run.system.teacher is not None, "checked at load"
        teacher = self.run(run.system.teacher, run.scale.name, run.system.teacher_seed)
        digest = run_digest(run.system, run.scale, run.domain, iterations=0, teacher=teacher.digest)
        return replace(run, teacher=teacher, digest=digest)

    def _scorers(self, domain: Domain, scale: str, seed: int) -> Scorers:
        """The runs behind a domain's reward, judge and panel, where they are trained here."""
        named = {each.system for each in domain.panel.values() if each.system is not None}
        reward, judge = domain.reward.system, domain.judge.system
        return {
            "reward": None if reward is None else self.run(reward, scale, seed),
            "judge": None if judge is None else self.run(judge, scale, seed),
            "panel": tuple(self.run(name, scale, seed) for name in sorted(named)),
        }


FOLDERS: dict[str, tuple[type[BaseModel], str]] = {
    "scales": (Scale, "scale"),
    "domains": (Domain, "domain"),
    "systems": (System, "system"),
    "benchmarks": (Benchmark, "benchmark"),
    "tables": (Table, "table"),
    "figures": (Figure, "figure"),
    "problems": (Problem, "problem"),
}


def load(root: Path = Path("config")) -> Library:
    """Read and check everything under `root`. Raises ConfigError with every problem found, one a line."""
    root = Path(root)
    if not (root / "config.yaml").is_file():
        raise ConfigError(f"{root}/config.yaml: no such file; run from the repository's root, or name the folder")
    choice_document = read(root / "config.yaml")
    complaints: list[str] = []
    entries: dict[str, dict[str, BaseModel]] = {}
    documents: dict[str, dict[str, Document]] = {"config": {"config": choice_document}}
    for folder, (model, noun) in FOLDERS.items():
        entries[folder], documents[folder] = _folder(root / folder, model, noun, complaints)
    try:
        choice = validate(Choice, choice_document)
    except ConfigError as error:
        raise ConfigError([*complaints, *error.problems]) from error
    if complaints:
        raise ConfigError(complaints)
    library = Library(root, choice, documents=documents, **entries)  # type: ignore[arg-type]
    if found := list(problems(library)):
        raise ConfigError(found)
    return library


def _folder(folder: Path, model: type[M], noun: str, complaints: list[str]) -> tuple[dict[str, M], dict[str, Document]]:
    """Every .yaml of a folder by its stem; what is wrong with one file does not hide what is wrong with the next."""
    raw: dict[str, Document] = {}
    for file in sorted(folder.glob("*.yaml"), key=_natural):
        try:
            raw[file.stem] = read(file)
        except ConfigError as error:
            complaints += error.problems
    entries: dict[str, M] = {}
    documents: dict[str, Document] = {}
    for name in raw:
        try:
            documents[name] = extend(raw, name, noun)
            entries[name] = validate(model, documents[name], name)
        except ConfigError as error:
            complaints += error.problems
    return entries, documents


def _natural(file: Path) -> list[tuple[int, str]]:
    """table2 before table10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.stem) if part]


def _known(entries: dict[str, M], name: str, noun: str) -> M:
    if name not in entries:
        raise ConfigError(unknown(name, noun, entries))
    return entries[name]
