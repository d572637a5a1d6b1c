"""What is wrong with a system, and where another file names one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from amd.config.methods import SHRINKING, TAKES
from amd.config.read import unknown
from amd.config.schema.closed import VIDEO, ScorerArchitecture
from amd.config.schema.sizes import VideoSizes
from amd.config.schema.system import System

if TYPE_CHECKING:
    from amd.config.load import Library

NEEDS: dict[str, tuple[str, ...]] = {  # kind of a system -> keys it must have
    "student": ("backbone", "method", "start", "teacher", "stage"),
    "teacher": ("backbone",),
    "initial": ("backbone", "teacher"),
    "classifier": ("architecture", "half"),
    "scorer": ("architecture", "half"),
    "plane": ("backbone", "method"),
    "released": ("release",),
}
MAY: dict[str, tuple[str, ...]] = {  # keys it may have besides; title, about and sources are for all
    "student": ("numbers", "cfg_weight", "lora", "student_lora", "batch", "ema", "warmup", "teacher_seed"),
    "teacher": ("cfg_weight", "start"),
    "initial": ("numbers", "cfg_weight", "teacher_seed"),
    "classifier": (),
    "scorer": (),
    "plane": ("numbers", "cfg_weight", "lora", "ema"),
    "released": ("cfg_weight",),
}
ARCHITECTURES: dict[str, tuple[str, ...]] = {"classifier": ("conv", "resnet"), "scorer": get_args(ScorerArchitecture)}


def of_system(library: "Library", system: System) -> Iterator[str]:
    """A system: its keys, method, teacher and start."""
    document = library.documents["systems"][system.name]
    given = {key for key in system.model_fields_set if getattr(system, key) not in (None, "")}
    for key in NEEDS[system.kind]:
        if key not in given:
            yield f"{document.at(key)}: missing; a {system.kind} needs it"
    allowed = {*NEEDS[system.kind], *MAY[system.kind], "name", "kind", "track", "title", "about", "sources"}
    for key in sorted(given - allowed):
        yield f"{document.at(key)}: a {system.kind} has no '{key}'; it may have {', '.join(sorted(allowed - {'name'}))}"
    built = ARCHITECTURES.get(system.kind, ())
    if built and system.architecture is not None and system.architecture not in built:
        kind = f"architecture of a {system.kind}"
        yield f"{document.at('architecture')}: {unknown(system.architecture, kind, built)}"
    if system.method is not None:
        yield from _method(document, system)
    if system.release is not None and system.release.embedded_guidance is not None and system.cfg_weight != 1:
        here = document.at("cfg_weight")
        yield f"{here}: {system.cfg_weight}, and release.embedded_guidance besides; a recipe guides in one of the ways"
    if system.kind == "initial":
        yield from _initial(library, document, system)
    if system.kind == "teacher" and system.start is not None:
        yield from _teacher_start(library, document, system)
    if system.kind not in ("student", "initial"):
        return
    if system.teacher is not None:
        yield from belongs(library, document.at("teacher"), system.teacher, "teacher", system.track)
    if system.start is None:
        return
    start = library.systems.get(system.start)
    if start is None:
        yield f"{document.at('start')}: {unknown(system.start, 'system', library.systems)}"
        return
    if start.kind not in ("student", "teacher", "initial") or (start.track, start.backbone) != (
        system.track,
        system.backbone,
    ):
        yield (
            f"{document.at('start')}: '{start.name}' is a {start.kind} with backbone '{start.backbone}' of track "
            f"{start.track}; a student, teacher or initial with backbone '{system.backbone}' belongs here"
        )
    if start.kind == "student" and start.teacher_seed != system.teacher_seed:
        yield (
            f"{document.at('teacher_seed')}: {system.teacher_seed}, but its start '{start.name}' learnt from the "
            f"teacher of seed {start.teacher_seed}; set both"
        )
    chain = [system.name]
    while start is not None and start.start is not None:
        chain.append(start.name)
        if start.start in chain:
            yield f"{document.at('start')}: {' <- '.join([*chain, start.start])} goes in a circle"
            return
        start = library.systems.get(start.start)


def _initial(library: "Library", document: Any, system: System) -> Iterator[str]:
    """Numbers of a regression on the teacher's ODE: of the student's times alone."""
    if extra := sorted(set(system.numbers.model_dump(exclude_none=True)) - {"steps", "shift"}):
        yield f"{document.at('numbers', extra[0])}: an initial has the student's times alone: steps and shift"
    steps = system.numbers.steps or 1
    for scale in library.scales.values():
        sizes: VideoSizes | None = getattr(scale, system.track, None)
        if sizes is not None and sizes.teacher_steps % steps:
            here = library.documents["scales"][scale.name].at(system.track, "teacher_steps")
            yield f"{here}: {sizes.teacher_steps} is not a multiple of the {steps} steps of system '{system.name}'"


def _teacher_start(library: "Library", document: Any, system: System) -> Iterator[str]:
    """A teacher that is told a first frame begins from one that is not, where it is trained here."""
    assert system.start is not None
    here, start = document.at("start"), library.systems.get(system.start)
    if system.track != "i2v":
        yield f"{here}: a teacher of track {system.track} is trained from scratch; one of i2v alone has a start"
    elif start is None:
        yield f"{here}: {unknown(system.start, 'system', library.systems)}"
    elif (start.kind, start.track, start.backbone) != ("teacher", "video", system.backbone):
        yield (
            f"{here}: '{start.name}' is a {start.kind} with backbone '{start.backbone}' of track {start.track}; a "
            f"teacher of track video with backbone '{system.backbone}' belongs here"
        )


def _method(document: Any, system: System) -> Iterator[str]:
    assert system.method is not None
    if system.method not in TAKES:
        yield f"{document.at('method')}: {unknown(system.method, 'method', TAKES)}"
        return
    numbers = system.numbers.model_dump(exclude_none=True)
    for key in numbers:
        if key not in TAKES[system.method]:
            kind = f"number of method '{system.method}'"
            yield f"{document.at('numbers', key)}: {unknown(key, kind, TAKES[system.method])}"
    if numbers.get("low", 0.0) >= numbers.get("high", 1.0):
        yield f"{document.at('numbers', 'low')}: {numbers.get('low')} is not below high {numbers.get('high', 1.0)}"
    moves = system.numbers.pull != 0  # None keeps the row's own, which is not 0
    if system.kind == "student" and system.method in SHRINKING and moves and system.lora is None:
        yield (
            f"{document.at('lora')}: missing; the real teacher of '{system.method}' borrows the fake's low-rank "
            "branch, e.g. lora: {rank: 32, scale: 2.0}"
        )


def belongs(library: "Library", here: str, name: str, kind: str, track: str) -> Iterator[str]:
    """That the system `name`, named at `here`, is a `kind` that `track` may use."""
    shared = VIDEO if kind == "scorer" and track in VIDEO else (track,)  # a scorer of clips is one of both tracks
    known = {s.name for s in library.systems.values() if s.kind == kind and s.track in shared}
    if name not in library.systems:
        yield f"{here}: {unknown(name, 'system', known)}"
    elif name not in known:
        found = library.systems[name]
        yield f"{here}: '{name}' is a {found.kind} of track {found.track}; a {kind} of track {track} belongs here"
