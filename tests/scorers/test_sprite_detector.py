"""The sprite detector: scene -> maps -> scene is the identity, what agreement means, and that training learns."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from amd.data.captioned import captioned
from amd.data.emoji import COLOURED, COLOURS, VOCABULARY
from amd.data.rows import TASKS, draw_metadata
from amd.data.scenes import compose
from amd.distill.noise import Noise
from amd.rewards.detection import Detection
from amd.rewards.sprite_detector import (
    CELL,
    SIDE,
    SIZE,
    DetectorTraining,
    SpriteAgreement,
    SpriteDetector,
    agreement,
    digest,
    load,
    losses,
    resized,
    seen_right,
    targets,
)
from amd.rewards.text import TextMaterial, TextScorer, text_scorer

GRID = SIDE // CELL


def perfect(kind: Tensor, hue: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The maps of a network that makes no mistake."""
    heat = torch.full((len(kind), len(VOCABULARY), GRID, GRID), -9.0)
    box, colour = torch.zeros(len(kind), 4, GRID, GRID), torch.zeros(len(kind), len(COLOURS), GRID, GRID)
    for i, j in (kind >= 0).nonzero().tolist():
        x0, y0, x1, y1 = where[i, j].tolist()
        x, y = (x0 + x1) / 2 / CELL, (y0 + y1) / 2 / CELL
        row, column = int(y), int(x)
        heat[i, kind[i, j], row, column] = 9.0
        size = torch.tensor([(x1 - x0) / SIZE, (y1 - y0) / SIZE]).log().tolist()
        box[i, :, row, column] = torch.tensor([x - column, y - row, *size])
        if hue[i, j] >= 0:
            colour[i, hue[i, j], row, column] = 20.0
    return heat, box, colour


class Oracle(SpriteDetector):
    """Sees given maps, whatever it is shown."""

    def __init__(self, maps: tuple[Tensor, Tensor, Tensor]) -> None:
        super().__init__(VOCABULARY, COLOURS)
        self.maps = maps

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.maps


@pytest.mark.parametrize("side", [32, 64])
def test_scenes_survive_their_maps(side):
    """Boxes to the thousandth of a pixel, in the picture's own pixels; nothing lost, nothing found twice."""
    drawn = [compose(draw_metadata(1, index, TASKS), index, side) for index in range(120)]
    scenes = [scene for _, scene in drawn]
    oracle = Oracle(perfect(*targets(scenes, VOCABULARY, COLOURS, SIDE / side)))
    for found, scene in zip(oracle.detect(torch.zeros(120, 3, side, side)), scenes, strict=True):
        ours = sorted((it.class_name, it.box) for it in found)
        theirs = sorted((it.name, it.box) for it in scene.objects)
        assert [name for name, _ in ours] == [name for name, _ in theirs]
        for (_, one), (_, two) in zip(ours, theirs, strict=True):
            assert one == pytest.approx(two, abs=1e-3 * side / 32)
        hues = {(it.name, it.colour) for it in scene.objects if it.colour}
        assert {(it.class_name, it.colour) for it in found if it.class_name in COLOURED} == hues


def test_a_perfect_network_has_no_loss_and_every_share_is_one():
    drawn = [compose(draw_metadata(2, index, TASKS), index, SIDE) for index in range(50)]
    scenes = [scene for _, scene in drawn]
    known = targets(scenes, VOCABULARY, COLOURS, 1.0)
    maps = perfect(*known)
    parts = losses(*maps, *known)
    assert float(parts["heat"]) < 0.01  # sigmoid(-9) in every empty cell
    assert float(parts["box"]) < 1e-5
    assert float(parts["colour"]) < 1e-6
    shares = seen_right(Oracle(maps), torch.zeros(50, 3, SIDE, SIDE, dtype=torch.uint8), scenes)
    assert set(shares.values()) == {1.0}


def test_losses_are_per_object():
    """Two copies of a batch have the loss of one."""
    scenes = [compose(draw_metadata(2, index, TASKS), index, SIDE)[1] for index in range(8)]
    known = targets(scenes, VOCABULARY, COLOURS, 1.0)
    draw = torch.Generator().manual_seed(0)
    maps = [torch.randn(8, n, GRID, GRID, generator=draw) for n in (len(VOCABULARY), 4, len(COLOURS))]
    once, twice = losses(*maps, *known), losses(*(torch.cat((m, m)) for m in maps), *(torch.cat((k, k)) for k in known))
    for name, part in once.items():
        assert float(part) == pytest.approx(float(twice[name]), rel=1e-5)


def test_wrong_things_are_counted_as_wrong():
    scene = SimpleNamespace(
        objects=[SimpleNamespace(name="heart", colour="red", box=(2.0, 2.0, 12.0, 12.0))],
    )
    other = SimpleNamespace(objects=[SimpleNamespace(name="heart", colour="blue", box=(2.0, 2.0, 12.0, 12.0))])
    oracle = Oracle(perfect(*targets([scene], VOCABULARY, COLOURS, 1.0)))
    shares = seen_right(oracle, torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8), [other])
    assert (shares["objects"], shares["objects and colours"], shares["colour"]) == (1.0, 0.0, 0.0)


def test_it_is_small():
    assert sum(p.numel() for p in SpriteDetector(VOCABULARY, COLOURS).parameters()) < 70_000


def test_the_seed_decides_the_weights():
    one, two, other = (SpriteDetector(VOCABULARY, COLOURS, seed=seed).state_dict() for seed in (0, 0, 1))
    assert digest(one) == digest(two) != digest(other)


def test_pictures_of_the_networks_own_side_are_not_resized():
    pixels = torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    assert torch.equal(resized(pixels), pixels)
    assert resized(torch.rand(2, 3, 50, 50)).shape == (2, 3, SIDE, SIDE)


RED, BLUE = (Detection("heart", 0.9, (0, 0, 9, 9), hue) for hue in ("red", "blue"))
CAT = Detection("cat", 0.9, (20, 0, 29, 9), "black")


@pytest.mark.parametrize(
    ("include", "exclude", "found", "share"),
    [
        ([("heart", 1, None)], None, [BLUE], 1.0),
        ([("heart", 1, "red")], None, [BLUE], 0.0),
        ([("heart", 2, "red")], None, [RED, BLUE], 0.5),
        ([("heart", 1, "red"), ("cat", 1, "black")], None, [RED], 0.5),
        ([("heart", 1, "red"), ("cat", 1, None)], None, [RED, CAT], 1.0),
        ([("heart", 2, None)], 3, [RED, RED], 1.0),
        ([("heart", 2, None)], 3, [RED, RED, BLUE], 2 / 3),  # one too many
        ([("heart", 2, None)], 3, [], 0.0),
    ],
)
def test_agreement_is_the_share_of_what_is_asked(include, exclude, found, share):
    row = {
        "include": [{"class": name, "count": n, **({"color": hue} if hue else {})} for name, n, hue in include],
        "exclude": [{"class": "heart", "count": exclude}] if exclude else [],
    }
    assert agreement(row, found) == pytest.approx(share)


def test_agreement_of_real_scenes_is_one_for_whoever_sees_them_right():
    rows = [draw_metadata(4, index, TASKS) for index in range(60)]
    scenes = [compose(row, index, SIDE)[1] for index, row in enumerate(rows)]
    oracle = Oracle(perfect(*targets(scenes, VOCABULARY, COLOURS, 1.0)))
    scorer = SpriteAgreement(oracle, rows, "0")
    scores = scorer(torch.zeros(60, 3, SIDE, SIDE), [row["prompt"] for row in rows])
    assert scores.tolist() == [1.0] * 60


def test_the_scorer_made_of_weights():
    rows = [draw_metadata(4, index, TASKS) for index in range(4)]
    weights = SpriteDetector(VOCABULARY, COLOURS, seed=3).state_dict()
    settings = {"names": VOCABULARY, "colours": COLOURS, "rows": rows}
    scorer = text_scorer("sprite-agreement", TextMaterial(weights=weights, settings=settings))
    assert isinstance(scorer, TextScorer)
    assert isinstance(scorer, nn.Module)
    assert scorer.revision == digest(weights)
    assert not scorer.differentiable
    pixels = torch.rand(4, 3, SIDE, SIDE) * 2 - 1
    assert scorer(pixels, [row["prompt"] for row in rows]).shape == (4,)
    with pytest.raises(ValueError, match="no row of prompt 'a unicorn'"):
        scorer(pixels[:1], ["a unicorn"])
    with pytest.raises(ValueError, match="needs the weights"):
        text_scorer("sprite-agreement", TextMaterial(settings=settings))


def test_detections_do_not_depend_on_the_batch():
    detector = load(SpriteDetector(VOCABULARY, COLOURS, seed=3).state_dict(), VOCABULARY, COLOURS)
    nn.init.normal_(detector.head.weight, std=0.5, generator=torch.Generator().manual_seed(0))
    pixels = torch.rand(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole, parts = detector.detect(pixels), detector.detect(pixels, batch=4)
    assert sum(map(len, whole)) > 0
    assert [[it.class_name for it in found] for found in whole] == [[it.class_name for it in found] for found in parts]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_learns(precision):
    """Forty steps on thirty-two scenes: the loss falls to a third, and what is said of the result are shares."""
    found, place = captioned("emoji-scenes", count=40, seed=0), torch.arange(40)
    assert found.scenes is not None
    task = DetectorTraining(
        found.pixels, found.scenes, place[:32], place[32:], VOCABULARY, COLOURS, seed=0, precision=precision
    )
    optimiser = torch.optim.AdamW(task.module.parameters(), 3e-3)
    values = []
    for step in range(40):
        loss = task.loss(Noise(0, step, 16, phase="detector"))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        values.append(float(loss.detach()))
    assert all(p.dtype == torch.float32 for p in task.module.parameters())
    assert sum(values[-5:]) < sum(values[:5]) / 3
    shares = task.report()["accuracy"]
    assert isinstance(shares, dict)
    assert shares.keys() == {"own half", "other half"}
    assert all(0 <= share <= 1 for half in shares.values() for share in half.values())
