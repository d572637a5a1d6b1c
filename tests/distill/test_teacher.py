"""phi: the share of the fake's low-rank branch that the real teacher borrows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
