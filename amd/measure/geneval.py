"""GenEval (Ghosh et al. 2023): is what the prompt's row asks for among the detections? Pure Python, no network.

Source: djghosh13/geneval@af4902f, evaluation/evaluate_images.py (evaluate, relative_position) and summary_scores.py.
The detections were recorded before, whoever the detector was: Mask2Former with CLIP's colours (amd.measure.geneval_hf),
or the sprite detector. A row is a line of evaluation_metadata.jsonl: {"tag", "include": [{"class", "count", "color"?,
"position"?: ["left of", index of an earlier clause]}], "exclude"?: [{"class", "count"}], "prompt"}.
"""

import json
import math
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from amd.rewards.detection import Detection

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rules:
    """The numbers of the protocol; the defaults are GenEval's. Its non-maximum suppression is off (max_overlap 1)."""

    threshold: float = 0.3  # a detection counts above it
    counting_threshold: float = 0.9  # in rows tagged "counting"
    most: int = 16  # detections per class
    position: float = 0.1  # share of both objects' sizes that an offset must exceed


GENEVAL = Rules()


class Verdict(NamedTuple):
    """Whether an image is what was asked for, and if not, everything that is wrong with it, a line each."""

    correct: bool
    reason: str


def evaluate(row: Row, detections: Iterable[Detection], rules: Rules = GENEVAL) -> Verdict:
    """Every include clause must hold, and no exclude clause.

    Of a class the `count` most confident objects are looked at: all must have the colour, and each must stand in the
    relation to each object of the clause it refers to. ValueError where a colour is asked for that nobody looked at.
    """
    objects = kept(detections, row["tag"], rules)
    wrong: list[str] = []
    matched: list[list[Detection] | None] = []  # per clause, what others may refer to
    for clause in row["include"]:
        found = objects.get(clause["class"], [])[: clause["count"]]
        complaint = _complaint(clause, found, matched, rules)
        matched.append(None if complaint else found)
        if complaint:
            wrong.append(complaint)
    for clause in row.get("exclude", ()):
        number = len(objects.get(clause["class"], []))  # of all that were kept, not of those looked at above
        if number >= clause["count"]:
            wrong.append(f"expected {clause['class']}<{clause['count']}, found {number}")
    return Verdict(not wrong, "\n".join(wrong))


def kept(detections: Iterable[Detection], tag: str, rules: Rules = GENEVAL) -> dict[str, list[Detection]]:
    """Per class the detections above the tag's threshold, most confident first, at most `rules.most`."""
    threshold = rules.counting_threshold if tag == "counting" else rules.threshold
    ordered = sorted(detections, key=lambda each: each.score)[::-1]  # equal scores: the later first, as argsort()[::-1]
    objects: dict[str, list[Detection]] = {}
    for detection in ordered:
        if detection.score > threshold:
            objects.setdefault(detection.class_name, []).append(detection)
    return {name: found[: rules.most] for name, found in objects.items()}


def relations(a: Sequence[float], b: Sequence[float], rules: Rules = GENEVAL) -> tuple[str, ...]:
    """How box `a` stands to box `b`: none, one or two of left of, right of, above, below.

    The offset of the centres is shortened by a share of the sizes, then divided by its length before shortening.
    """
    offset = [(a[i] + a[i + 2]) / 2 - (b[i] + b[i + 2]) / 2 for i in (0, 1)]
    sizes = [abs(a[i + 2] - a[i]) + abs(b[i + 2] - b[i]) for i in (0, 1)]
    beyond = [math.copysign(max(abs(o) - rules.position * size, 0.0), o) for o, size in zip(offset, sizes, strict=True)]
    if all(abs(each) < 1e-3 for each in beyond):
        return ()
    dx, dy = (each / math.hypot(*offset) for each in beyond)
    held = {"left of": dx < -0.5, "right of": dx > 0.5, "above": dy < -0.5, "below": dy > 0.5}
    return tuple(name for name, holds in held.items() if holds)


def aggregate(tags: Sequence[str], correct: Sequence[bool], prompts: Sequence[Hashable]) -> dict[str, float]:
    """Shares of correct images (n of each argument), by tag, and over all as GenEval prints them.

    "overall": unweighted mean over the six tags; "images": over images; "prompts": prompts with a correct image at all.
    ValueError unless every tag of the six is there: the mean over fewer is another number.
    """
    by_tag: dict[str, list[bool]] = {tag: [] for tag in TAGS}
    by_prompt: dict[Hashable, bool] = {}
    for tag, right, prompt in zip(tags, correct, prompts, strict=True):
        if tag not in by_tag:
            raise ValueError(f"unknown tag {tag!r}; GenEval's are {', '.join(TAGS)}")
        by_tag[tag].append(bool(right))
        by_prompt[prompt] = by_prompt.get(prompt, False) or bool(right)
    if missing := [tag for tag, images in by_tag.items() if not images]:
        raise ValueError(f"no image of {', '.join(missing)}: the overall score is the mean of all six tasks")
    shares = {tag: sum(images) / len(images) for tag, images in by_tag.items()}
    return {
        **shares,
        "overall": sum(shares.values()) / len(TAGS),
        "images": sum(map(sum, by_tag.values())) / len(correct),
        "prompts": sum(by_prompt.values()) / len(by_prompt),
    }


def errors(tags: Sequence[str], correct: Sequence[bool], prompts: Sequence[Hashable]) -> dict[str, float]:
    """Standard errors of `aggregate`'s tags and overall. A prompt's images are one cluster, not so many samples."""
    shares = aggregate(tags, correct, prompts)
    deviations: dict[str, dict[Hashable, float]] = {tag: {} for tag in TAGS}
    for tag, right, prompt in zip(tags, correct, prompts, strict=True):
        deviations[tag][prompt] = deviations[tag].get(prompt, 0.0) + right - shares[tag]
    found = {
        tag: math.sqrt(sum(each * each for each in clusters.values())) / sum(each == tag for each in tags)
        for tag, clusters in deviations.items()
    }
    return {**found, "overall": math.sqrt(sum(each * each for each in found.values())) / len(TAGS)}


def write_detections(file: Path, images: Sequence[tuple[Row, Sequence[Detection]]]) -> None:
    """One JSON line per image: its row and what was detected. Written beside, then renamed."""
    part = file.with_name(file.name + ".part")
    lines = [json.dumps({"row": dict(row), "detections": [list(each) for each in found]}) for row, found in images]
    part.write_text("".join(f"{line}\n" for line in lines))
    os.replace(part, file)


def read_detections(file: Path) -> list[tuple[Row, list[Detection]]]:
    """What `write_detections` wrote. ValueError names the line that is none."""
    images = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            content = json.loads(line)
            found = [
                Detection(str(name), float(score), _box(box), colour)
                for name, score, box, colour in content["detections"]
            ]
            images.append((content["row"], found))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}:{number}: no record of detections: {error}") from error
    return images


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(each) for each in values)
    return x0, y0, x1, y1


def _complaint(
    clause: Row, found: Sequence[Detection], matched: Sequence[Sequence[Detection] | None], rules: Rules
) -> str | None:
    """What is wrong with the objects found for an include clause, or None."""
    name, count = clause["class"], clause["count"]
    if len(found) < count:
        return f"expected {name}>={count}, found {len(found)}"
    if "color" in clause:
        asked, colours = clause["color"], [each.colour for each in found]
        if None in colours:
            raise ValueError(f"a {asked} {name} is asked for, but nobody looked at the colour of the {name} found")
        if (right := colours.count(asked)) < count:
            others = dict.fromkeys((*COLOURS, *filter(None, colours)))  # GenEval's order, then other vocabularies'
            listed = ", ".join(f"{colours.count(each)} {each}" for each in others if each in colours)
            return f"expected {asked} {name}>={count}, found {right} {asked}; and {listed}"
    if "position" in clause:
        relation, target = clause["position"]
        targets = matched[target]
        if targets is None:
            return f"no target for {name} to be {relation}"
        for one in found:
            for other in targets:
                if relation not in (seen := relations(one.box, other.box, rules)):
                    return f"expected {name} {relation} target, found {' and '.join(seen)} target"
    return None
