"""phi: the share of the fake's low-rank branch that the real teacher borrows."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from players import Company, play
from torch import Tensor

from amd.distill.methods import METHODS, row
from amd.distill.teacher import frozen, shrinking


@given(st.floats(0, 1))
def test_a_frozen_teacher_borrows_nothing(progress: float) -> None:
    assert frozen()(progress) == 0


@pytest.mark.parametrize(
    ("progress", "share"),
    [(0.0, 0.375), (1 / 8, 0.375 * (2 + math.sqrt(2)) / 4), (0.25, 0.1875), (0.5, 0.0), (0.75, 0.0), (1.0, 0.0)],
)
def test_a_shrinking_teacher_gives_back_along_half_a_cosine(progress: float, share: float) -> None:
    assert shrinking()(progress) == pytest.approx(share, abs=1e-15)


def test_the_numbers_are_dmdrs() -> None:
    """0.75 of the fake's 2.0, over the first 10,000 of 20,000 iterations."""
    assert shrinking()(0.0) == 0.75 / 2.0
    for iteration in (0, 2500, 7000, 9999, 10000, 15000):
        k = 0.5 * (1 + math.cos(math.pi * iteration / 10000)) if iteration < 10000 else 0.0
        assert 2.0 * shrinking()(iteration / 20000) == pytest.approx(0.75 * k, abs=1e-15)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_it_never_takes_more_again(first: float, second: float, anneal: float) -> None:
    early, late = sorted((first, second))
    pull = shrinking(anneal=anneal)
    assert 0 <= pull(late) <= pull(early) <= 0.375


@given(st.floats(0, 1))
def test_without_a_pull_or_without_time_it_is_frozen(progress: float) -> None:
    assert shrinking(pull=0.0)(progress) == 0
    assert shrinking(anneal=0.0)(progress) == 0


@pytest.mark.parametrize("name", ["magic", "dmdr"])
def test_a_shrinking_teacher_is_told_its_pull_before_it_is_asked(name: str) -> None:
    company, asked = Company(), []
    cast = company.cast()

    def real(x_t: Tensor, t: Tensor, cond: object) -> Tensor:
        asked.append(company.pull)
        return cast.real(x_t, t, cond)  # type: ignore[arg-type]

    for progress, pull in ((0.0, 0.375), (0.25, 0.1875), (0.5, 0.0), (0.9, 0.0)):
        asked.clear()
        play(METHODS[name], company, cast=replace(cast, real=real), progress=progress)
        assert asked == [pytest.approx(pull)]


def test_a_frozen_teacher_gives_back_what_another_method_borrowed() -> None:
    company = Company(pull=0.3)
    play(METHODS["dmd-pure"], company)
    assert company.pull == 0


def test_a_shrinking_teacher_without_a_branch_to_borrow_is_refused() -> None:
    company = Company()
    cast = company.cast(set_pull=None)
    with pytest.raises(ValueError, match=r"shrinking.*has none"):
        play(METHODS["magic"], company, cast=cast)
    play(METHODS["magic"], company, cast=cast, progress=0.6)  # nothing is borrowed any more
    play(row("dmdr", {"pull": 0.0, "anneal": 0.0}), company, cast=cast, progress=0.0)
