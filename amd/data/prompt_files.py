"""A set of prompts, and how the benchmarks of images are read from their own files.

The same (assets, count, seed) gives the same texts, always; a count smaller than all is a random choice by seed that
keeps the file's order.
"""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amd.config.schema.assets import Asset
from amd.data.assets import locate
from amd.data.captioned import choose, listed
from amd.data.rows import Row


@dataclass(frozen=True)
class PromptSet:
    """N prompts."""

    texts: tuple[str, ...]
    rows: tuple[Row, ...] | None = None  # what a prompt asks for, in its benchmark's own words
    categories: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)


Source = Callable[[Sequence[Asset], str | Path | None, int | None, int], PromptSet]


def located(
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


def lines_of(file: Path) -> list[str]:
    """A file's lines as they are, without the blank ones, whose number is said. They end at a newline alone, not at
    every mark that Unicode calls a break."""
    lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    kept = [line for line in lines if line.strip()]
    if blank := len(lines) - len(kept):
        print(f"{file}: {blank} blank line(s) left out, {len(kept)} prompts", file=sys.stderr, flush=True)
    return kept


def chosen(found: PromptSet, count: int | None, seed: int, what: str) -> PromptSet:
    """`count` of a set by `seed`, in their order; None: all. ValueError for more than `what` has."""
    index = choose(len(found), count, seed, what)
    return PromptSet(
        tuple(found.texts[i] for i in index),
        found.rows and tuple(found.rows[i] for i in index),
        found.categories and tuple(found.categories[i] for i in index),
    )


def lines(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """One prompt a line; several files one after another (COCO's captions, HPDv2's photographs)."""
    files = located("lines", assets, mirror, ["*.txt"], "one or several .txt files")
    texts = [line for file in files for line in lines_of(file)]
    return chosen(PromptSet(tuple(texts)), count, seed, f"prompts.source 'lines' ({files[0].name})")


def geneval(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """evaluation_metadata.jsonl (djghosh13/geneval): a row a line; the category is its tag."""
    (file,) = located("geneval", assets, mirror, [".jsonl"], "one .jsonl file of metadata")
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
    return chosen(found, count, seed, f"prompts.source 'geneval' ({file.name})")


def json_lists(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """A list of prompts in each file, the category is the file's stem: HPDv2's anime, concept-art, paintings, photo."""
    files = located("json-lists", assets, mirror, ["*.json"], "one or several .json files")
    texts, categories = [], []
    for file in files:
        entries = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(entries, list) or not all(isinstance(entry, str) and entry for entry in entries):
            raise ValueError(f"{file}: want a list of prompts, each a text that is not empty")
        texts += entries
        categories += [file.stem] * len(entries)
    return chosen(PromptSet(tuple(texts), None, tuple(categories)), count, seed, "prompts.source 'json-lists'")


def drawbench(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """The prompts in their order, then a csv of Prompts,Category whose lines must be the same."""
    prompts_file, table = located(
        "drawbench", assets, mirror, [".txt", ".csv"], "a .txt of prompts, then a .csv of categories"
    )
    texts = lines_of(prompts_file)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    told = [row.get("Prompts") for row in rows]
    if told != texts:
        place = next((i for i, pair in enumerate(zip(told, texts, strict=False)) if pair[0] != pair[1]), len(told))
        raise ValueError(f"{table}: its prompts are not those of {prompts_file.name}, from line {place + 2} on")
    found = PromptSet(tuple(texts), None, tuple(row["Category"] for row in rows))
    return chosen(found, count, seed, "prompts.source 'drawbench'")


def pictures(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """A captions.jsonl, one line of {file, caption} for each picture beside it: texts are the captions, a row's "image"
    is the path of its picture."""
    (listing,) = located("pictures", assets, mirror, [".jsonl"], "one .jsonl file of {file, caption}, a picture a line")
    files, captions = listed(listing)
    rows = tuple({"prompt": text, "image": str(file)} for file, text in zip(files, captions, strict=True))
    return chosen(PromptSet(tuple(captions), rows), count, seed, f"prompts.source 'pictures' ({listing.name})")
