"""EmojiAlign: what its embeddings are, that twins teach it, and the scorer made of it."""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from amd.data.emoji import COLOURED, VOCABULARY
from amd.data.rows import MOST, TRAINING, caption, draw_metadata
from amd.data.scenes import compose
from amd.distill.noise import Noise
from amd.distill.types import Condition
from amd.rewards.emoji_align import ARCHITECTURES, EmojiAlign, load
from amd.rewards.emoji_training import AlignTraining, centres
from amd.rewards.sprite_detector import digest
from amd.rewards.text import TextMaterial, TextScorer, text_scorer
from amd.rewards.twins import KINDS, twin
from amd.rewards.two_towers import PLACES

WIDTH, LENGTH = 48, 20


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


@cache
def pairs(count: int) -> dict[str, Any]:
    """Arguments of a training: `count` scenes, a twin of each."""
    kinds, captions, scenes, pixels = [], [], [], []
    for index in range(count):
        row = draw_metadata(0, index, TRAINING)
        kind, include = twin(row["include"], VOCABULARY, COLOURED, MOST, index)
        both = [row, {"include": include, "prompt": caption(include)}]
        drawn = [compose(each, 2 * index + k, 32) for k, each in enumerate(both)]
        kinds.append(kind)
        captions.append(tuple(each["prompt"] for each in both))
        scenes.append(tuple(scene for _, scene in drawn))
        pixels.append(torch.stack([torch.from_numpy(picture) for picture, _ in drawn]))
    return {"pixels": torch.stack(pixels), "scenes": scenes, "captions": captions, "kinds": kinds, "encode": words}


def training(count: int, architecture: str = "align-plain", **more: Any) -> AlignTraining:
    place = torch.arange(count)
    return AlignTraining(
        **pairs(count), own=place[: count // 2], other=place[count // 2 :], architecture=architecture, **more
    )


def noisy(n: int, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("side", [32, 48])
def test_embeddings_are_unit_vectors_of_one_space(architecture, side):
    network, told = EmojiAlign(architecture, 5, text_width=WIDTH), words(["a cat", "two red apples left of a book"])
    image, text = network.images(network.look(noisy(3, side))), network.texts(told["tokens"], told["mask"])
    assert image.shape[1] == text.shape[1]
    for vectors in (image, text):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
    score = network(noisy(2), told["tokens"], told["mask"])
    assert torch.allclose(score, network.scale * (image[:2] * text).sum(1), atol=1e-5) or side != 32
    assert bool((score.abs() <= network.scale).all())


def test_what_comes_after_a_text_is_not_read():
    network, told = EmojiAlign("align-plain", 5, text_width=WIDTH), words(["a cat", "two red apples left of a book"])
    alone = words(["a cat"])
    garbage = torch.where(told["mask"][..., None], told["tokens"], 7.0)
    expected = network.texts(told["tokens"], told["mask"])
    assert torch.allclose(network.texts(garbage, told["mask"]), expected, atol=1e-6)
    assert torch.allclose(network.texts(alone["tokens"], alone["mask"])[0], expected[0], atol=1e-6)


def test_the_order_of_words_is_read():
    network, told = (
        EmojiAlign("align-plain", 5, text_width=WIDTH),
        words(["a cat left of a dog", "a dog left of a cat"]),
    )
    one, two = network.texts(told["tokens"], told["mask"])
    assert float((one @ two).detach()) < 0.999


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_the_weights(architecture):
    one, two, other = (EmojiAlign(architecture, 5, seed=seed).state_dict() for seed in (0, 0, 1))
    assert digest(one) == digest(two) != digest(other)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="known: align-plain, align-residual"):
        EmojiAlign("align-huge", 5)


def test_every_object_has_a_place_of_its_own():
    drawn = [compose(draw_metadata(5, index, TRAINING), index, 32)[1] for index in range(300)]
    where, sprites = centres(drawn, 32)
    assert where.shape == (300, PLACES, PLACES)
    held = (where < len(sprites)).sum((1, 2))
    shared = sum(len(scene.objects) for scene in drawn) - int(held.sum())
    assert shared <= 3  # two centres in one place of 4 x 4 pixels: objects are 9 pixels wide, and may overlap a little
    scene = drawn[0]
    it = scene.objects[0]
    column, row = (int((it.box[k] + it.box[k + 2]) / 8) for k in (0, 1))
    assert sprites[int(where[0, row, column])] == (it.name, it.colour)


def test_rows_that_part_twins_are_refused():
    with pytest.raises(ValueError, match="3 rows per process part a pair"):
        training(8).loss(Noise(0, 0, 6, world=2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_twins_teach_it(architecture):
    """Sixty steps on twelve pairs: it tells nearly all apart, by text and by picture; shares are of both halves."""
    task = training(24, architecture, precision="bfloat16")
    optimiser = torch.optim.AdamW(task.module.parameters(), 3e-3)
    before = task.told_apart(task.own)
    for step in range(60):
        loss = task.loss(Noise(0, step, 24, phase="align"))
        assert bool(torch.isfinite(loss))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert all(p.dtype == torch.float32 for p in task.module.parameters())
    after = task.report()["accuracy"]
    assert isinstance(after, dict)
    assert after["own half"]["retrieval"] > max(0.8, before["retrieval"])
    assert after["own half"]["pictures"] > 0.8
    assert set(after["other half"]) <= {*KINDS, "pictures", "retrieval"}


def scorer_of(weights: dict[str, Tensor], encode: Any = words, architecture: str | None = "align-plain") -> TextScorer:
    settings = {"architecture": architecture, "encode": encode}
    return text_scorer("emoji-align", TextMaterial(weights=weights, settings=settings))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_scorer_is_the_network(architecture):
    network = EmojiAlign(architecture, 5, text_width=WIDTH, seed=2)
    scorer, texts = scorer_of(network.state_dict(), architecture=architecture), ["a cat", "two cats", "a cat"]
    assert isinstance(scorer, TextScorer)
    assert isinstance(scorer, nn.Module)
    assert scorer.revision == digest(network.state_dict())
    told, pixels = words(texts), noisy(3)
    expected = network(pixels, told["tokens"], told["mask"]) / network.scale
    assert torch.allclose(scorer(pixels, texts), expected, atol=1e-6)
    assert not any(p.requires_grad for p in scorer.parameters())


def test_the_gradient_reaches_the_pixels():
    scorer = scorer_of(EmojiAlign("align-plain", 5, text_width=WIDTH).state_dict())
    pixels = noisy(2).requires_grad_()
    scorer(pixels, ["a cat", "a book"]).sum().backward()
    assert scorer.differentiable
    assert pixels.grad is not None
    assert bool((pixels.grad.abs().sum((1, 2, 3)) > 0).all())


def test_a_prompt_is_encoded_once():
    asked: list[list[str]] = []

    def encode(texts: Sequence[str]) -> Condition:
        asked.append(list(texts))
        return words(texts)

    scorer = scorer_of(EmojiAlign("align-plain", 5, text_width=WIDTH).state_dict(), encode)
    first = scorer(noisy(2), ["a cat", "a cat"])
    again = scorer(noisy(3), ["a cat", "a cat", "a book"])
    assert asked == [["a cat"], ["a book"]]
    assert torch.allclose(first, again[:2], atol=1e-6)


def test_what_a_scorer_lacks_is_said():
    weights = EmojiAlign("align-plain", 5, text_width=WIDTH).state_dict()
    with pytest.raises(ValueError, match="needs weights trained here, their architecture and the text encoder"):
        scorer_of(weights, architecture=None)
    with pytest.raises(ValueError, match="needs weights"):
        text_scorer("emoji-align", TextMaterial(settings={"architecture": "align-plain", "encode": words}))
    assert load("align-plain", weights).training is False
