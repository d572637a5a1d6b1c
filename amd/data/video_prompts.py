"""How the benchmarks of video are read from their own files: VBench, VBench-I2V, VideoAlign's sets of prompts.

What is generated from is often a longer text than what is judged: `texts` are what a model is told, `rows` keep the
benchmark's own. Which it is, a domain says (`variant`), and `amd.config.checks.domains` holds it to source and files.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amd.config.schema.assets import Asset
from amd.config.served import FLICKERING
from amd.data.assets import sha256
from amd.data.prompt_files import PromptSet, Source, chosen, lines_of, located

MORE = 4


def vbench(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """VBench_full_info.json (Vchitect/VBench): rows are its entries, {"prompt_en", "dimension", "auxiliary_info"?}.

    With a second file, extended prompts line by line (prompts/augmented_prompts, or Self-Forcing's
    prompts/vbench/all_dimension_extended.txt), the texts are those. ValueError where their numbers differ.
    """
    reads = "VBench_full_info.json, and perhaps a .txt of extended prompts, line by line"
    listing, *extended = located("vbench", assets, mirror, [".json", ".txt"][: max(len(assets), 1)], reads)
    rows = _entries(listing, {"prompt_en": str, "dimension": list})
    texts = lines_of(extended[0]) if extended else [row["prompt_en"] for row in rows]
    if len(texts) != len(rows):
        raise ValueError(f"{extended[0]}: {len(texts)} prompts for the {len(rows)} entries of {listing.name}")
    return chosen(PromptSet(tuple(texts), tuple(rows)), count, seed, f"prompts.source 'vbench' ({listing.name})")


def vbench_still(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """`vbench`, and behind it each prompt of temporal_flickering four times more: at five clips a prompt the 25 that
    VBench draws of a scene that should stand still, for its filter to choose from (vbench/cli/static_filter.py)."""
    found = vbench(assets, mirror, None, seed)
    assert found.rows is not None
    again = [place for place, row in enumerate(found.rows) if FLICKERING in row["dimension"]] * MORE
    texts, rows = ((*own, *(own[place] for place in again)) for own in (found.texts, found.rows))
    return chosen(PromptSet(texts, rows), count, seed, "prompts.source 'vbench-still'")


def vbench_i2v(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
    """vbench2_i2v_full_info.json (Vchitect/VBench): rows are its entries, {"prompt_en", "dimension", "image_type",
    "image_name"}.

    With a second file, SHA256SUMS as `sha256sum *.jpg` writes it in the folder of the first frames (one crop of the
    Image Suite), a row has "image" besides: the path of its picture. ValueError names pictures that are not listed, not
    there or others.
    """
    reads = "vbench2_i2v_full_info.json, and perhaps the SHA256SUMS of its images, which lie beside it"
    listing, *sums = located("vbench-i2v", assets, mirror, [".json", ""][: max(len(assets), 1)], reads)
    rows = _entries(listing, {"prompt_en": str, "dimension": list, "image_name": str})
    if sums:
        pictures = _pictures(sums[0], {row["image_name"] for row in rows})
        rows = [row | {"image": str(pictures[row["image_name"]])} for row in rows]
    found = PromptSet(tuple(row["prompt_en"] for row in rows), tuple(rows))
    return chosen(found, count, seed, f"prompts.source 'vbench-i2v' ({listing.name})")


def videoalign(column: str) -> Source:
    """One of VideoAlign's tables (KwaiVGI/VideoAlign datasets/video_eval_prompts): vbench.csv, videogen_eval.csv and
    TA_hard.csv have the columns prompt, prompt_zh, the first two prompt_shorter. Texts are `column`, rows all of it.

    `prompt` is a language model's, at length: in the first two rewritten from prompt_shorter, the benchmark's own.
    """

    def source(assets: Sequence[Asset], mirror: str | Path | None, count: int | None, seed: int) -> PromptSet:
        (table,) = located("videoalign-csv", assets, mirror, [".csv"], "one .csv file with the columns of VideoAlign's")
        with table.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = list(reader)
        if column not in (reader.fieldnames or ()):
            raise ValueError(f"{table}: no column {column!r}; it has {', '.join(reader.fieldnames or ())}")
        if empty := [number for number, row in enumerate(rows, 1) if not (row[column] or "").strip()]:
            raise ValueError(f"{table}: row {empty[0]} has nothing in column {column!r}")
        found = PromptSet(tuple(row[column] for row in rows), tuple(rows))
        return chosen(found, count, seed, f"prompts.source 'videoalign-csv' ({table.name})")

    return source


def _entries(listing: Path, wanted: dict[str, type]) -> list[dict[str, Any]]:
    """A list of objects with at least these keys."""
    try:
        entries = json.loads(listing.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{listing}: not JSON: {error}") from None
    if not isinstance(entries, list):
        raise ValueError(f"{listing}: want a list of entries, not {type(entries).__name__}")
    for number, entry in enumerate(entries, 1):
        for key, kind in wanted.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                raise ValueError(f"{listing}: entry {number} has no {key} that is a {kind.__name__}")
    return entries


def _pictures(sums: Path, names: set[str]) -> dict[str, Path]:
    """File name -> where it lies, beside `sums`, of these names; each is what its line says."""
    known = dict[str, str]()
    for number, line in enumerate(lines_of(sums), 1):
        digest, mark, name = line[:64], line[64:66], line[66:]
        if mark not in ("  ", " *") or not name or "/" in name or set(digest) - set("0123456789abcdef"):
            raise ValueError(f"{sums}:{number}: want a sha256, two blanks and the name of a file beside it")
        known[name] = digest
    for name in sorted(names):
        if name not in known:
            raise ValueError(f"{sums}: no line for {name!r}; run `sha256sum *.jpg > {sums.name}` beside the images")
        if not (sums.parent / name).is_file():
            raise ValueError(f"{sums.parent / name}: no such file, and {sums.name} lists it")
        if (found := sha256(sums.parent / name)) != known[name]:
            raise ValueError(f"{sums.parent / name}: sha256 is {found}, {sums.name} says {known[name]}")
    return {name: sums.parent / name for name in names}
