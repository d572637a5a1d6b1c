"""Every draw is a function of (seed, iteration, phase, purpose) and of the row, never of who computes it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from amd.distill.noise import Noise, generator

NOISE = Noise(3, 11, 24, dtype=torch.float64)


def draws(noise: Noise) -> list[Tensor]:
    return [
        noise.normal("z", (2, 3)),
        noise.uniform("t"),
        noise.uniform("t", shared=4),
        noise.integers("labels", 10, shared=4),
    ]


@settings(deadline=None, max_examples=30, derandomize=True)
@given(cut=st.sampled_from([(p, w) for p in (1, 2, 3, 4, 6, 8) for w in (1, 2, 3, 4) if 24 % (p * w) == 0]))
def test_parts_of_all_ranks_put_together_are_the_global_batch(cut: tuple[int, int]) -> None:
    parts, world = cut
    whole = draws(NOISE)
    pieces: list[list[Tensor]] = [[] for _ in whole]
    for part in range(parts):
        for rank in range(world):
            for piece, drawn in zip(
                pieces, draws(replace(NOISE, rank=rank, world=world, part=(part, parts))), strict=True
            ):
                piece.append(drawn)
    for piece, drawn in zip(pieces, whole, strict=True):
        assert torch.equal(torch.cat(piece), drawn)


def test_own_picks_a_ranks_rows_out_of_what_was_gathered() -> None:
    everyone = torch.arange(24)
    for part in range(3):
        gathered = everyone[part * 8 : part * 8 + 8]  # what all ranks hold of this part
        for rank in range(4):
            noise = replace(NOISE, rank=rank, world=4, part=(part, 3))
            assert torch.equal(noise.own(gathered), everyone[noise.rows])


def test_equal_keys_draw_alike_and_any_other_key_differs() -> None:
    first = draws(NOISE)
    for again, before in zip(draws(replace(NOISE)), first, strict=True):
        assert torch.equal(again, before)
    others = (replace(NOISE, seed=4), replace(NOISE, iteration=12), NOISE.at("fake0"), NOISE.at("fake1"))
    for other in others:
        for drawn, before in zip(draws(other), first, strict=True):
            assert not torch.equal(drawn, before)
    assert not torch.equal(NOISE.normal("z", (2, 3)), NOISE.normal("eps", (2, 3)))
    assert not torch.equal(draws(NOISE.at("fake0"))[0], draws(NOISE.at("fake1"))[0])


def test_the_shared_integer_is_shared_by_ranks_and_parts() -> None:
    numbers = {replace(NOISE, rank=r, world=4, part=(p, 2)).integer("exit", 1000) for r in range(4) for p in range(2)}
    assert len(numbers) == 1


def test_groups_share_one_value_and_differ() -> None:
    for drawn in (NOISE.uniform("t", shared=4), NOISE.integers("labels", 1000, shared=4)):
        table = drawn.reshape(-1, 4)
        assert torch.equal(table, table[:, :1].expand_as(table))
        assert table[:, 0].unique().numel() == 6


def test_laws() -> None:
    large = Noise(0, 0, 20000, dtype=torch.float64)
    z, u, i = large.normal("z", (5,)), large.uniform("t"), large.integers("labels", 7)
    assert abs(z.mean()) < 4 / 100000**0.5  # four standard errors
    assert abs(z.var() - 1) < 4 * (2 / 100000) ** 0.5
    assert abs(u.mean() - 0.5) < 4 / (12 * 20000) ** 0.5
    assert u.min() >= 0
    assert u.max() < 1
    counts = torch.bincount(i, minlength=7).double()
    assert len(counts) == 7
    assert ((counts - 20000 / 7).abs() < 4 * (20000 / 7) ** 0.5).all()


def test_precisions() -> None:
    assert Noise(0, 0, 4).normal("z", (2,)).dtype == torch.float32
    assert NOISE.normal("z", (2,)).dtype == torch.float64
    assert Noise(0, 0, 4).uniform("t").dtype == torch.float64  # times are float64 whatever the samples are


def test_keys_have_their_golden_draws() -> None:
    """A changed hash or key layout would silently change every run."""
    assert generator("a", 1).initial_seed() == 3638800042351269568
    assert torch.randint(10**6, (3,), generator=generator(0, 0, "student", "labels")).tolist() == [
        55704,
        706696,
        617833,
    ]


def test_a_batch_that_does_not_split_is_refused() -> None:
    with pytest.raises(ValueError, match="24 rows does not split into 5 micro-batches on 1 ranks"):
        NOISE.at("student", (0, 5))
    with pytest.raises(ValueError, match="24 rows does not split into 4 micro-batches on 5 ranks"):
        replace(NOISE, world=5, part=(0, 4))
    with pytest.raises(ValueError, match="24 rows does not split into groups of 7"):
        NOISE.uniform("t", shared=7)
