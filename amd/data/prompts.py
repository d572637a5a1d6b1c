"""Sets of prompts, by name: the benchmarks' own files, and their small stand-ins over the emoji vocabulary.

The same (source, count, seed) gives the same texts, always. Of a file, a count smaller than all is a random choice by
seed that keeps the file's order; a stand-in has no end and must be told how many.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from amd.config.schema.assets import Asset
from amd.data import motion
from amd.data.emoji import GROUPS, VOCABULARY
from amd.data.motion import draw_motion
from amd.data.prompt_files import PromptSet, Source, drawbench, geneval, json_lists, lines, pictures
from amd.data.rows import FORMS, TASKS, TRAINING, Row, draw_metadata, generator
from amd.data.video_prompts import vbench, vbench_i2v, vbench_still, videoalign

__all__ = ["PROMPTS", "PromptSet", "prompts"]

PATIENCE = 200  # texts in a row that came before: then all have come, and they come again


def prompts(
    source: str,
    assets: Sequence[Asset] = (),
    mirror: str | Path | None = None,
    count: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """The prompts of a source.

    Raises ValueError for an unknown source, files that are not what it reads and a count it does not have, MissingAsset
    where a file is nowhere.
    """
    if source not in PROMPTS:
        raise ValueError(f"prompts.source {source!r} is none; known: {', '.join(sorted(PROMPTS))}")
    return PROMPTS[source](assets, mirror, count, seed)


# --- stand-ins -------------------------------------------------------------------------------------------------------


Draw = Callable[[int, int, Sequence[str], Sequence[str]], Row]
"""(seed, index, kinds, objects) -> row."""


def _stand_in(name: str, split: dict[str, tuple[Sequence[str], Sequence[str]]], draw: Draw = draw_metadata) -> Source:
    """Rows drawn over category -> (kinds, objects), `count` split evenly; each category's texts are different ones as
    long as there are new ones."""

    def source(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
        if assets:
            raise ValueError(f"prompts.source {name!r} is drawn and has no assets, not {assets[0].file!r}")
        if count is None or count < len(split):
            raise ValueError(f"prompts.source {name!r} has no end: say how many (count), at least {len(split)}")
        rows: list[Row] = []
        categories: list[str] = []
        for place, (category, (kinds, names)) in enumerate(split.items()):
            share = count // len(split) + (place < count % len(split))
            stream = _different(_stream(name, category, seed), kinds, names, draw)
            rows += [next(stream) for _ in range(share)]
            categories += [category] * share
        return PromptSet(tuple(row["prompt"] for row in rows), tuple(rows), tuple(categories))

    return source


def _stream(name: str, category: str, seed: int) -> int:
    """The seed of a stream of rows. That of training is the seed itself, as in `captioned("emoji-scenes")`
    and `captioned("emoji-clips")`."""
    return seed if name.endswith("-train") else int(generator("prompts", name, category, seed).integers(2**62, 2**63))


def _different(stream: int, kinds: Sequence[str], names: Sequence[str], draw: Draw) -> Iterator[Row]:
    """Rows of a stream without those whose text came before; when no new one has come for long, all over again."""
    seen: set[str] = set()
    misses = index = 0
    while True:
        row = draw(stream, index, kinds, names)
        index += 1
        if row["prompt"] in seen:
            misses += 1
        else:
            yield row
            misses = 0
            seen.add(row["prompt"])
        if misses >= PATIENCE:
            seen.clear()


PROMPTS: dict[str, Source] = {
    "lines": lines,
    "geneval": geneval,
    "json-lists": json_lists,
    "drawbench": drawbench,
    "pictures": pictures,
    "vbench": vbench,
    "vbench-still": vbench_still,
    "vbench-i2v": vbench_i2v,
    "videoalign-csv": videoalign("prompt"),
    "videoalign-csv-shorter": videoalign("prompt_shorter"),
    "videoalign-csv-zh": videoalign("prompt_zh"),
    "emoji-train": _stand_in("emoji-train", {"train": (TRAINING, VOCABULARY)}),
    "emoji-tasks": _stand_in("emoji-tasks", {task: ([task], VOCABULARY) for task in TASKS}),
    "emoji-captions": _stand_in("emoji-captions", {"captions": (TRAINING, VOCABULARY)}),
    "emoji-groups": _stand_in(
        "emoji-groups", {group: (["mixed", "position"], names) for group, names in GROUPS.items()}
    ),
    "emoji-mixed": _stand_in("emoji-mixed", {form: ([form], VOCABULARY) for form in FORMS}),
    "motion-train": _stand_in("motion-train", {"train": (motion.TRAINING, motion.OBJECTS)}, draw_motion),
    "motion-mixed": _stand_in("motion-mixed", {kind: ([kind], motion.OBJECTS) for kind in motion.KINDS}, draw_motion),
    "motion-plain": _stand_in("motion-plain", {"plain": (motion.TRAINING, motion.OBJECTS)}, draw_motion),
    "motion-i2v": _stand_in("motion-i2v", {kind: ([kind], motion.OBJECTS) for kind in motion.KINDS}, draw_motion),
    "motion-hard": _stand_in("motion-hard", {kind: ([kind], motion.OBJECTS) for kind in ("two", "alike")}, draw_motion),
}
"""Name in a benchmark's `prompts` -> (assets, mirror, count, seed) -> set.

emoji-train: what a teacher and its students are trained on. Stand-ins: emoji-tasks of GenEval, emoji-captions of COCO's
captions, emoji-groups of HPDv2's four styles, emoji-mixed of DrawBench's categories. Of clips motion-train, and the
stand-ins motion-mixed of VBench and motion-i2v of VBench-I2V (a category is what moves how), motion-plain of
VideoGen-Eval, motion-hard of TA-Hard.
"""
