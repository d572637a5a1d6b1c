"""The scorer of clips: what each fault does, what its embeddings are, that it learns, and the scorer made of it."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from amd.config.load import load as load_library
from amd.data.clips import film
from amd.data.emoji import COLOURED, VOCABULARY
from amd.data.motion import DIRECTIONS, SIZES, draw_motion, moving
from amd.distill.noise import Noise
from amd.distill.types import Condition
from amd.rewards.clip_align import ACTS, ARCHITECTURES, PARTS, ClipAlign, ClipScorer, load
from amd.rewards.clip_faults import FAULTS, LOOKS, MOTIONS, STILL, spoil
from amd.rewards.clip_training import ClipTraining
from amd.rewards.motion_twins import KINDS, swapped, twin
from amd.rewards.sprite_detector import digest
from amd.rewards.text import PromptReward, TextMaterial, TextScorer, text_scorer

WIDTH, LENGTH, FRAMES = 48, 16, 5


def words(texts: Sequence[str]) -> Condition:
    """A text encoder in three lines: a random vector per word and one per place."""
    tokens, mask = torch.zeros(len(texts), LENGTH, WIDTH), torch.zeros(len(texts), LENGTH, dtype=torch.bool)
    for i, text in enumerate(texts):
        for j, word in enumerate(text.replace(",", " ,").split()):
            tokens[i, j], mask[i, j] = vector(word) + 0.3 * vector(str(j)), True
    return {"tokens": tokens, "mask": mask}


def vector(word: str) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))


def twin_of(row: Any, *key: object) -> tuple[str, Any]:
    kind, changed = twin(row["include"], row["motion"], VOCABULARY, COLOURED, tuple(DIRECTIONS), SIZES, *key)
    return kind, moving(*changed, row["tag"])


@cache
def pairs(count: int) -> dict[str, Any]:
    """Arguments of a training: `count` clips, a twin of each."""
    kinds, captions, filmed, pixels = [], [], [], []
    for index in range(count):
        row = draw_motion(0, index)
        kind, other = twin_of(row, index)
        made = [film(each, index, FRAMES, 32, 32) for each in (row, other)]
        kinds.append(kind)
        captions.append((row["prompt"], other["prompt"]))
        filmed.append((made[0][1], made[1][1]))
        pixels.append(torch.stack([torch.from_numpy(clip) for clip, _ in made]))
    return {"pixels": torch.stack(pixels), "filmed": filmed, "captions": captions, "kinds": kinds, "encode": words}


def training(count: int, architecture: str = "clip-plain", **more: Any) -> ClipTraining:
    place = torch.arange(count)
    return ClipTraining(**pairs(count), own=place[::2], other=place[1::2], architecture=architecture, **more)


def noisy(n: int, side: int = 32) -> Tensor:
    return torch.rand(n, 3, FRAMES, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def network(architecture: str = "clip-plain", **more: Any) -> ClipAlign:
    return ClipAlign(architecture, 5, text_width=WIDTH, **more)


def embedded(module: ClipAlign, texts: Sequence[str]) -> Tensor:
    states = words(texts)
    return module.texts(states["tokens"], states["mask"])


# --- twins -----------------------------------------------------------------------------------------------------------


def test_twins_of_rows_differ_in_one_respect_and_can_be_filmed():
    kinds = Counter()
    for index in range(80):
        row = draw_motion(3, index)
        kind, other = twin_of(row, index)
        kinds[kind] += 1
        assert other["prompt"] != row["prompt"]
        same = {
            "include": other["include"] == row["include"],
            "motion": other["motion"] == row["motion"],
        }
        assert same == {"include": kind not in ("object", "colour"), "motion": kind in ("object", "colour")}
        if kind == "roles":
            assert other["motion"] == row["motion"][::-1]
        assert twin_of(row, index) == (kind, other)
        film(other, index, 4, 32, 32)
    assert kinds.keys() == KINDS.keys()


def test_swapping_back_is_among_the_swaps():
    for index in range(20):
        row = draw_motion(4, index)
        kind, other = twin_of(row, index)
        back = swapped(other["include"], other["motion"], VOCABULARY, COLOURED, tuple(DIRECTIONS), SIZES)
        assert (kind, (row["include"], row["motion"])) in list(back)


def test_a_row_that_cannot_be_changed_is_refused():
    with pytest.raises(ValueError, match=r"nothing of .* can be changed"):
        twin(
            [{"class": "star", "count": 1}], [{"direction": "still", "size": "steady"}], ["star"], {}, ["still"], [], 1
        )


# --- faults ----------------------------------------------------------------------------------------------------------


def test_every_fault_changes_a_clip_and_stays_in_range():
    task = training(40)
    seen = Counter()
    for number in range(6):
        pair = torch.arange(16).repeat_interleave(2)
        side = torch.arange(32) % 2
        clean, moves = task._clips(pair, side), task.moves[pair, side]
        spoiled, fault = spoil(clean, task.boxes[pair, side, 0], moves, Noise(0, number, 32))
        assert spoiled.shape == clean.shape
        assert spoiled.abs().max() <= 1
        for row, kind in enumerate(fault.tolist()):
            name = list(FAULTS)[kind]
            seen[name] += 1
            assert (spoiled[row] - clean[row]).abs().mean() > 1e-3, name
            assert moves[row] or name in LOOKS or name in STILL
            if name in ("shuffled", "stuck", "bounced"):  # frames are the clip's own
                for frame in spoiled[row].unbind(1):
                    assert min(float((frame - other).abs().max()) for other in clean[row].unbind(1)) == 0
    assert seen.keys() == LOOKS.keys() | MOTIONS.keys()


def test_faults_are_functions_of_the_noise():
    task, row = training(40), torch.arange(8)
    given = task._clips(row // 2, row % 2), task.boxes[row // 2, row % 2, 0], task.moves[row // 2, row % 2]
    one, again, other = (spoil(*given, Noise(seed, 0, 8)) for seed in (0, 0, 1))
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


# --- network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("side", [32, 48])
def test_embeddings_are_unit_vectors_of_one_space(architecture, side):
    module = network(architecture)
    clip = module.clips(*module.located(module.look(noisy(3, side))))
    text = embedded(module, ["a cat moving left", "a red apple standing still, growing"])
    assert clip.shape[1] == text.shape[1]
    for vectors in (clip, text):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)


def test_directions_are_read_from_whose_centre_is_where():
    """A sprite whose centre wanders to the right, in maps without a mistake, acts as what moves right."""
    module = network()
    places = torch.full((1, FRAMES, 6, 8, 8), -20.0)
    places[:, :, 5] = 20.0
    acted: list[Tensor] = []
    module.clip_acted.register_forward_pre_hook(lambda _, inputs: acted.append(inputs[0]))
    for act, way in {"right": (0, 1), "left": (0, -1), "down": (1, 0), "up": (-1, 0), "still": (0, 0)}.items():
        whose, extent = places.clone(), torch.zeros(1, FRAMES, 8, 8)
        for time in range(FRAMES):
            line, column = (4 + step * (time - FRAMES // 2) for step in way)
            whose[0, time, :, line, column] = -20.0
            whose[0, time, 2, line, column] = 20.0
        module.clips(whose, extent)
        found = acted[-1][0, :, 2]  # (8,) of sprite 2
        assert ACTS[int(found[:5].argmax())] == act
        assert ACTS[5 + int(found[5:].argmax())] == "steady"


def test_a_gradient_reaches_every_frame():
    module = network()
    pixels = noisy(2).requires_grad_()
    module(pixels, embedded(module, ["a cat moving left", "a book standing still"])).sum().backward()
    assert pixels.grad is not None
    assert bool((pixels.grad.abs().sum((1, 3, 4)) > 0).all())


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="known: clip-plain, clip-residual"):
        network("clip-huge")


# --- training --------------------------------------------------------------------------------------------------------


def test_rows_that_part_twins_are_refused():
    with pytest.raises(ValueError, match=r"6 rows per process part a pair .* a multiple of four"):
        training(40).loss(Noise(0, 0, 6))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_real_clips_are_told_from_spoiled_ones_and_captions_from_twins_captions(architecture):
    """Ninety steps on eighty pairs, and eighty that it never saw, of which some 78 of each part are judged: 0.65 is
    three deviations above guessing. Afterwards the parts of real clips have mean 0 and standard deviation 1."""
    task = training(160, architecture, precision="bfloat16")
    optimiser = torch.optim.AdamW(task.module.parameters(), 3e-3)
    losses = []
    for step in range(90):
        loss = task.loss(Noise(0, step, 12, phase="scorer"))
        losses.append(float(loss.detach()))
        loss.backward()
        nn.utils.clip_grad_norm_(task.module.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    task.finish()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    report = task.report()
    own, other = report["accuracy"]["own half"], report["accuracy"]["other half"]
    assert min(own[part] for part in PARTS) > 0.75
    assert min(other[part] for part in PARTS) > 0.65
    assert {name for name in own if " " not in name} == set(PARTS)
    assert set(other) <= {
        *PARTS,
        *(f"vq {k}" for k in LOOKS),
        *(f"mq {k}" for k in MOTIONS),
        *(f"ta {k}" for k in KINDS),
    }
    with torch.no_grad():
        z = torch.cat([task.module(task._clips(task.own, s), task.embedded(task.asked[task.own, side]))
                       for side in (0, 1) for s in [torch.full_like(task.own, side)]])  # fmt: skip
    assert torch.allclose(z.mean(0), torch.zeros(3), atol=1e-3)
    assert torch.allclose(z.std(0), torch.ones(3), atol=1e-3)


def test_what_rewards_clips_and_what_reports_share_neither_weights_nor_half_nor_architecture():
    """Of every domain of clips whose scorers are trained here; else a student is graded by what it was trained on."""
    library = load_library(Path(__file__).parents[2] / "config")
    seen = 0
    for domain in library.domains.values():
        if domain.reward is None or domain.reward.name != "clip-align":
            continue
        members = [member for member in domain.panel.values() if member is not None and member.name == "clip-align"]
        assert members, domain.name
        rewards = library.system(domain.reward.system)
        for member in members:
            reports = library.system(member.system)
            for differs in ("name", "half", "architecture"):
                assert getattr(rewards, differs) != getattr(reports, differs), (domain.name, differs)
            assert {rewards.half, reports.half} == {0, 1}
            assert {rewards.architecture, reports.architecture} <= set(ARCHITECTURES)
            seen += 1
    assert seen >= 2  # clips, clips-i2v


# --- the scorer ------------------------------------------------------------------------------------------------------


def scorer_of(weights: dict[str, Tensor], architecture: str | None = "clip-plain") -> Any:
    settings = {"architecture": architecture, "encode": words}
    return text_scorer("clip-align", TextMaterial(weights=weights, settings=settings))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_scorer_is_the_sum_of_its_parts(architecture):
    module = network(architecture, seed=2)
    module.mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    module.std.copy_(torch.tensor([2.0, 3.0, 0.5]))
    scorer, texts = scorer_of(module.state_dict(), architecture), ["a cat moving up", "a book standing still"]
    assert isinstance(scorer, TextScorer)
    assert isinstance(scorer, ClipScorer)
    assert scorer.revision == digest(module.state_dict())
    parts = scorer.parts(noisy(2), texts)
    assert tuple(parts) == PARTS
    assert torch.allclose(scorer(noisy(2), texts), sum(parts.values()), atol=1e-5)
    raw = module.raw(noisy(2), embedded(module, texts))
    assert torch.allclose(torch.stack(tuple(parts.values()), 1) * module.std + module.mean, raw, atol=1e-5)
    assert not any(p.requires_grad for p in scorer.parameters())


def test_a_prompt_reward_scores_clips():
    scorer, texts = scorer_of(network().state_dict()), ["a cat moving up", "a book standing still"]
    reward = PromptReward(scorer, texts)
    pixels = noisy(2).requires_grad_()
    found = reward(pixels, {"prompt": torch.tensor([1, 0])})
    assert torch.allclose(found, scorer(pixels, texts[::-1]), atol=1e-5)
    found.sum().backward()
    assert reward.differentiable
    assert bool((pixels.grad.abs().sum((1, 2, 3, 4)) > 0).all())


def test_pictures_are_no_clips():
    with pytest.raises(ValueError, match=r"a text scorer of clips reads float pixels \(B, 3, F, H, W\)"):
        scorer_of(network().state_dict())(torch.zeros(1, 3, 32, 32), ["a cat"])


def test_what_a_scorer_lacks_is_said():
    weights = network().state_dict()
    with pytest.raises(ValueError, match="needs weights trained here, their architecture and the text encoder"):
        scorer_of(weights, architecture=None)
    assert load("clip-plain", weights).training is False
