"""Judges of clips: squares that move as told, seen by a detector that knows red from blue; and numbers from columns."""

import pytest
import torch
from torch import Tensor

from amd.config.schema.domain import Domain
from amd.config.served import ALIGNED, VBENCH, VBENCH_I2V, VIDEOALIGN, Part, clashes, served
from amd.data.prompts import PromptSet
from amd.measure import sprite_clips, vbench, vbench_i2v
from amd.measure.panel import Asked, Panel
from amd.measure.sprite_vbench import SpriteVBench
from amd.measure.video_panel import Aligned, Bench, in_batches
from amd.rewards import videoalign_frames
from amd.rewards.detection import Detection

torch.set_num_threads(1)
SIDE, FRAMES, EDGE = 32, 12, 10
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
HUES = {"red": (220, 30, 30), "blue": (30, 30, 220)}


class Kept:
    """Clips in memory."""

    def __init__(self, clips: Tensor, first: Tensor | None = None) -> None:
        self.clips, self.first, self.taken = clips, first, list[int]()

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, indices: range) -> Tensor:
        self.taken.append(len(indices))
        return self.clips[indices.start : indices.stop]

    def pictures(self, indices: range) -> Tensor | None:
        return None if self.first is None else self.first[indices.start : indices.stop]

    def encoded(self, fps: int) -> None:
        return None


def clip(colour: str, direction: str) -> Tensor:
    """(3, F, 32, 32): a square with a dark stripe goes a pixel a frame, on grey."""
    shown = torch.full((3, FRAMES, SIDE, SIDE), 200, dtype=torch.uint8)
    dx, dy = WAYS[direction]
    for t in range(FRAMES):
        x, y = (SIDE - EDGE) // 2 + dx * (t - FRAMES // 2), (SIDE - EDGE) // 2 + dy * (t - FRAMES // 2)
        shown[:, t, y : y + EDGE, x : x + EDGE] = torch.tensor(HUES[colour], dtype=torch.uint8)[:, None, None]
        shown[:, t, y + 3 : y + 5, x + 2 : x + 8] = 0
    return shown


def row(colour: str, direction: str) -> dict[str, object]:
    clause = {"class": "square", "count": 1, "color": colour}
    motion = {"direction": direction, "size": "steady"}
    return {"prompt": f"a {colour} square {direction}", "include": [clause], "motion": [motion]}


def detect(pixels: Tensor) -> list[list[Detection]]:
    """Where a picture (N, 3, H, W) in [-1, 1] is red or blue."""
    found: list[list[Detection]] = []
    for picture in pixels:
        found.append([])
        for name, channel in (("red", 0), ("blue", 2)):
            ys, xs = (picture[channel] - picture[1] > 0.5).nonzero(as_tuple=True)
            if len(ys):
                box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
                found[-1].append(Detection("square", 0.9, box, name))
    return found


def features(images: Tensor) -> Tensor:
    return images.float().unflatten(3, (8, 4)).mean(4).flatten(1)


def asked(rows: list[dict[str, object]]) -> Asked:
    prompts = PromptSet(tuple(str(each["prompt"]) for each in rows), tuple(rows))
    return Asked(prompts, torch.arange(len(rows)))


def look(told: list[tuple[str, str]], shown: list[tuple[str, str]], batch: int = 3) -> dict[str, list[float | None]]:
    clips = torch.stack([clip(*each) for each in shown])
    judge = SpriteVBench(features, detect, 8, batch, torch.device("cpu"))
    return judge(Kept(clips), asked([row(*each) for each in told]))


TOLD = [("red", "left"), ("blue", "right"), ("red", "up"), ("blue", "down"), ("red", "still")]


@pytest.fixture(scope="module")
def right() -> dict[str, list[float | None]]:
    return look(TOLD, TOLD)


def test_clips_that_show_what_they_are_asked_have_every_mark(right):
    assert right["object_class"] == right["color"] == right["human_action"] == [1.0] * 5
    assert right["dynamic_degree"] == [1.0] * 4 + [None]
    assert right["multiple_objects"] == [None] * 5  # nothing asks for two
    assert right["temporal_flickering"] == [None] * 4 + [1.0]
    assert all(0.95 < each <= 1 for each in right["motion_smoothness"][:4])
    assert set(right) <= set(vbench.DIMENSIONS)


def test_a_wrong_direction_and_a_wrong_colour_are_seen():
    found = look(
        [("red", "left"), ("red", "left"), ("red", "still")], [("red", "up"), ("blue", "left"), ("red", "left")]
    )
    assert found["human_action"] == [0.0] * 3  # the red one that is to go left is not there in the second
    assert found["color"] == [1.0, 0.0, 1.0]
    assert found["object_class"] == [1.0] * 3


def test_neither_a_batch_nor_its_neighbours_change_a_clips_values(right):
    assert look(TOLD, TOLD, batch=2) == right


def test_clips_are_read_a_batch_at_a_time():
    clips = Kept(torch.stack([clip(*each) for each in TOLD]))
    SpriteVBench(features, detect, 8, 2, torch.device("cpu"))(clips, asked([row(*each) for each in TOLD]))
    assert clips.taken == [2, 2, 1]


def test_i2v_compares_with_the_pictures_and_asks_for_them():
    clips = torch.stack([clip("red", "left"), clip("blue", "still")])
    rows = asked([row("red", "left"), row("blue", "still")])
    judge = SpriteVBench(features, None, 8, 4, torch.device("cpu"))
    own = judge(Kept(clips, clips[:, :, 0]), rows)
    other = judge(Kept(clips, clips[:, :, 0].flip(0)), rows)
    assert own["i2v_subject"][1] == pytest.approx(1)
    assert all(a > b for a, b in zip(own["i2v_subject"], other["i2v_subject"], strict=True))
    assert set(own) <= set(vbench_i2v.DIMENSIONS)
    with pytest.raises(ValueError, match="these have none"):
        judge(Kept(clips), rows)


def test_the_way_of_an_object_that_is_hardly_seen_is_unknown():
    clause = {"class": "square"}
    seen = [[Detection("square", 0.9, (t, 0, t + 2, 2))] for t in range(12)]
    assert sprite_clips.way(clause, seen) == pytest.approx((11, 0))
    gaps = [each if t % 2 else [] for t, each in enumerate(seen)]
    assert sprite_clips.way(clause, gaps) == pytest.approx((11, 0))
    assert sprite_clips.way(clause, [[]] * 7 + seen[7:]) is None
    assert sprite_clips.heading(None, 4) is None
    assert sprite_clips.heading((3, -5), 4) == "up"


def bench(columns: dict[str, list[float | None]], absent: vbench.Absent = "left out") -> Panel:
    member = Bench("vbench", lambda clips, asked: columns, absent, 100.0, "", "as they are")
    keys = ("dynamic_degree", "quality", "semantic", "total")
    return Panel(tuple(Part(key, "vbench", None) for key in keys), {"vbench": member})


def test_a_dimension_is_the_mean_over_the_clips_that_are_asked_it_and_totals_are_over_dimensions(right):
    panel, rows = bench(right), asked([row(*each) for each in TOLD])
    numbers = panel.numbers(panel.look(Kept(torch.zeros(5, 3, 2, 4, 4)), rows), rows)
    values = {
        name: sum(known) / len(known)
        for name, column in right.items()
        if (known := [each for each in column if each is not None])
    }
    found = vbench.totals(values, absent="left out")
    assert numbers == pytest.approx(
        {"dynamic_degree": 100, **{name: 100 * each for name, each in found.groups.items()}, "total": 100 * found.total}
    )
    assert "is left out in totals" in panel.preprocessing["vbench"]
    assert bench(right, "zero").numbers(right, rows)["total"] < numbers["total"]


def test_a_dimension_without_a_clip_is_refused():
    columns = {"dynamic_degree": [None], "color": [1.0], "subject_consistency": [0.9]}
    with pytest.raises(ValueError, match="metric dynamic_degree: no clip has a value; measured are subject_con"):
        bench(columns).numbers(columns, asked([row("red", "still")]))


class Lengths:
    """A scorer that sees how bright a clip is and how long its prompt."""

    revision, preprocessing = "", ""

    def parts(self, pixels: Tensor, prompts: list[str]) -> dict[str, Tensor]:
        bright = pixels.mean((1, 2, 3, 4))
        return {"vq": bright, "mq": -bright, "ta": torch.tensor([float(len(text)) for text in prompts])}


def test_parts_are_multiplied_for_tables_and_their_sum_is_overall():
    looks = in_batches(Lengths(), 2, torch.device("cpu"))
    keys = [("vq", None), ("ta", None), ("overall", None), ("short_ta", "short"), ("short_overall", "short")]
    panel = Panel(
        tuple(Part(key, "clip-align", category) for key, category in keys),
        {"clip-align": Aligned(looks, 100.0, "", "")},
    )
    clips = torch.stack([torch.full((3, 2, 4, 4), level, dtype=torch.uint8) for level in (0, 255, 255)])
    prompts = PromptSet(("a", "abc", "ab"), None, ("short", "long", "short"))
    rows = Asked(prompts, torch.arange(3))
    columns = panel.look(Kept(clips), rows)
    assert columns["vq"] == pytest.approx([-1, 1, 1])
    numbers = panel.numbers(columns, rows)
    assert numbers == pytest.approx({"vq": 100 / 3, "ta": 200, "overall": 200, "short_ta": 150, "short_overall": 150})


def domain(*stems: str) -> Domain:
    """As far as a panel goes."""
    panel = {stem: {"name": stem} for stem in stems}
    scorer = {"name": "none"}
    return Domain.model_validate(
        {"title": "", "track": "video", "pixels": [3, 32], "latents": [3, 32], "panel": panel}
        | {"reward": scorer, "judge": scorer, "metrics": {}}
        | {"prompts": {"some": {"source": "x", "categories": {"animal": "animals"}}}}
    )


def test_who_serves_what_is_known_without_torch():
    known = served(domain("vbench", "videoalign"), "some")
    assert {key for key, part in known.items() if part.stem == "vbench"} == {*VBENCH, "quality", "semantic", "total"}
    assert known["animal_ta"] == Part("animal_ta", "videoalign", "animals")
    assert known["overall"] == Part("overall", "videoalign", None)
    assert set(served(domain("vbench-i2v"), "some")) == {*VBENCH_I2V, "quality", "i2v", "total"}
    assert set(VBENCH) == set(vbench.DIMENSIONS)
    assert set(VBENCH_I2V) == set(vbench_i2v.DIMENSIONS)
    assert (*videoalign_frames.PARTS, "overall") == VIDEOALIGN


def test_two_members_that_serve_one_metric_clash():
    assert list(clashes(domain("vbench", "videoalign"))) == []
    assert next(clashes(domain(*ALIGNED))) == ("vq", "videoalign", "clip-align")
    assert ("total", "vbench", "vbench-i2v") in list(clashes(domain("vbench", "vbench-i2v")))
