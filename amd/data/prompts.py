"""Sets of prompts, by name: the benchmarks' own files, and their small stand-ins over the emoji vocabulary.

The same (source, count, seed) gives the same texts, always. Of a file, a count smaller than all is a random choice by
seed that keeps the file's order; a stand-in has no end and must be told how many.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from amd.config.schema import Asset
from amd.data.assets import locate
from amd.data.captioned import choose
from amd.data.emoji import GROUPS, VOCABULARY
from amd.data.rows import FORMS, TASKS, TRAINING, Row, draw_metadata, generator

PATIENCE = 200  # texts in a row that came before: then all have come, and they come again


@dataclass(frozen=True)
class PromptSet:
    """N prompts."""

    texts: tuple[str, ...]
    rows: tuple[Row, ...] | None = None  # what GenEval's detector looks for
    categories: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)


Source = Callable[[Sequence[Asset], str | Path | None, int | None, int], PromptSet]


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


# --- files -----------------------------------------------------------------------------------------------------------


def _files(
    source: str, assets: Sequence[Asset], mirror: str | Path | None, suffixes: Sequence[str], what: str
) -> list[Path]:
    """One file for each of `suffixes`, in that order, or any number where they are one with a star."""
    names = [asset.file for asset in assets]
    if suffixes[-1].startswith("*"):
        fits = bool(names) and all(name.endswith(suffixes[0][1:]) for name in names)
    else:
        fits = [Path(name).suffix for name in names] == list(suffixes)
    if not fits:
        raise ValueError(f"prompts.source {source!r} reads {what}; its assets are {', '.join(names) or 'none'}")
    return [locate(asset, mirror) for asset in assets]


def _lines_of(file: Path) -> list[str]:
    """A file's lines as they are, without the blank ones, whose number is said. They end at a newline alone, not at
    every mark that Unicode calls a break."""
    lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    kept = [line for line in lines if line.strip()]
    if blank := len(lines) - len(kept):
        print(f"{file}: {blank} blank line(s) left out, {len(kept)} prompts", file=sys.stderr, flush=True)
    return kept


def _chosen(found: PromptSet, count: int | None, seed: int, what: str) -> PromptSet:
    index = choose(len(found), count, seed, what)
    return PromptSet(
        tuple(found.texts[i] for i in index),
        found.rows and tuple(found.rows[i] for i in index),
        found.categories and tuple(found.categories[i] for i in index),
    )


def _lines(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """One prompt a line; several files one after another (COCO's captions, HPDv2's photographs)."""
    files = _files("lines", assets, mirror, ["*.txt"], "one or several .txt files")
    texts = [line for file in files for line in _lines_of(file)]
    return _chosen(PromptSet(tuple(texts)), count, seed, f"prompts.source 'lines' ({files[0].name})")


def _geneval(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """evaluation_metadata.jsonl (djghosh13/geneval): a row a line; the category is its tag."""
    (file,) = _files("geneval", assets, mirror, [".jsonl"], "one .jsonl file of metadata")
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").removesuffix("\n").split("\n"), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}:{number}: not JSON: {error}") from None
        if absent := [key for key in ("tag", "include", "prompt") if key not in row]:
            raise ValueError(f"{file}:{number}: a row of GenEval's metadata has no {', '.join(absent)}")
        rows.append(row)
    found = PromptSet(tuple(row["prompt"] for row in rows), tuple(rows), tuple(row["tag"] for row in rows))
    return _chosen(found, count, seed, f"prompts.source 'geneval' ({file.name})")


def _json_lists(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """A list of prompts in each file, the category is the file's stem: HPDv2's anime, concept-art, paintings, photo."""
    files = _files("json-lists", assets, mirror, ["*.json"], "one or several .json files")
    texts, categories = [], []
    for file in files:
        entries = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
            raise ValueError(f"{file}: want a list of prompts, each a text that is not empty")
        texts += entries
        categories += [file.stem] * len(entries)
    return _chosen(PromptSet(tuple(texts), None, tuple(categories)), count, seed, "prompts.source 'json-lists'")


def _drawbench(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """The prompts in their order, then a csv of Prompts,Category whose lines must be the same."""
    prompts_file, table = _files(
        "drawbench", assets, mirror, [".txt", ".csv"], "a .txt of prompts, then a .csv of categories"
    )
    texts = _lines_of(prompts_file)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    told = [row.get("Prompts") for row in rows]
    if told != texts:
        place = next((i for i, pair in enumerate(zip(told, texts, strict=False)) if pair[0] != pair[1]), len(told))
        raise ValueError(f"{table}: its prompts are not those of {prompts_file.name}, from line {place + 2} on")
    found = PromptSet(tuple(texts), None, tuple(row["Category"] for row in rows))
    return _chosen(found, count, seed, "prompts.source 'drawbench'")


# --- stand-ins -------------------------------------------------------------------------------------------------------


def _stand_in(name: str, split: dict[str, tuple[Sequence[str], Sequence[str]]]) -> Source:
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
            stream = _different(_stream(name, category, seed), kinds, names)
            rows += [next(stream) for _ in range(share)]
            categories += [category] * share
        return PromptSet(tuple(row["prompt"] for row in rows), tuple(rows), tuple(categories))

    return source


def _stream(name: str, category: str, seed: int) -> int:
    """The seed of a stream of rows. That of training is the seed itself, as in `captioned("emoji-scenes")`."""
    return seed if name == "emoji-train" else int(generator("prompts", name, category, seed).integers(2**62, 2**63))


def _different(stream: int, kinds: Sequence[str], names: Sequence[str]) -> Iterator[Row]:
    """Rows of a stream without those whose text came before; when no new one has come for long, all over again."""
    seen: set[str] = set()
    misses = index = 0
    while True:
        row = draw_metadata(stream, index, kinds, names)
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
    "lines": _lines,
    "geneval": _geneval,
    "json-lists": _json_lists,
    "drawbench": _drawbench,
    "emoji-train": _stand_in("emoji-train", {"train": (TRAINING, VOCABULARY)}),
    "emoji-tasks": _stand_in("emoji-tasks", {task: ([task], VOCABULARY) for task in TASKS}),
    "emoji-captions": _stand_in("emoji-captions", {"captions": (TRAINING, VOCABULARY)}),
    "emoji-groups": _stand_in(
        "emoji-groups", {group: (["mixed", "position"], names) for group, names in GROUPS.items()}
    ),
    "emoji-mixed": _stand_in("emoji-mixed", {form: ([form], VOCABULARY) for form in FORMS}),
}
"""Name in a benchmark's `prompts` -> (assets, mirror, count, seed) -> set.

emoji-train: what a teacher and its students are trained on. Stand-ins: emoji-tasks of GenEval, emoji-captions of COCO's
captions, emoji-groups of HPDv2's four styles, emoji-mixed of DrawBench's categories.
"""
