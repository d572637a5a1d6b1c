"""Means, intervals and paired tests against scipy and against their own definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from amd.report.statistics import compare, summary

VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda value: round(value, 3)), min_size=2, max_size=8)


@settings(deadline=None)
@given(VALUES)
def test_interval_is_students_t(values: list[float]) -> None:
    found, error = summary(values), stats.sem(values)
    assert found.mean == pytest.approx(np.mean(values))
    if error > 1e-9:  # scipy gives nan for a spread of zero, we an interval of no width
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert (found.low, found.high) == pytest.approx((low, high))


def test_interval_covers_the_mean_in_95_of_100_experiments_of_three_seeds() -> None:
    draw = np.random.default_rng(0).normal(5, 2, size=(4000, 3))
    held = [(found := summary(row)).low <= 5 <= found.high for row in draw]  # type: ignore[operator, arg-type]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors of a share of 4000


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = summary([3.0])
    assert (found.n, found.mean, found.low, found.high, found.half_width) == (1, 3.0, None, None, None)


@settings(deadline=None)
@given(VALUES, st.data())
def test_paired_test_is_scipys(values: list[float], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.floats(-10, 10), min_size=len(values), max_size=len(values)))
    row, base = dict(enumerate(values)), dict(enumerate(other))
    differences = np.array(values) - np.array(other)
    if differences.std() < 1e-6:
        return
    found = compare(row, base)
    assert found is not None
    assert found.p == pytest.approx(stats.ttest_rel(values, other).pvalue, abs=1e-9)


@settings(deadline=None)
@given(VALUES)
def test_verdict_says_inside_the_noise_exactly_where_p_is_above_one_in_twenty(values: list[float]) -> None:
    found = compare(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))
    assert found is not None
    assert found.p is not None
    if abs(found.p - 0.05) > 1e-9:
        assert (found.verdict == "inside the noise") == (found.p > 0.05 or found.difference.mean == 0)


def test_comparison_pairs_by_seed_and_not_by_place() -> None:
    found = compare({2: 12.0, 0: 10.0, 7: 1.0}, {0: 9.0, 2: 11.0, 5: 3.0})
    assert found is not None
    assert (found.difference.n, found.difference.mean, found.verdict) == (2, 1.0, "above")


def test_pairing_sees_a_difference_that_the_spread_of_seeds_hides() -> None:
    base = {0: 17.2, 1: 19.3, 2: 17.9}
    found = compare({seed: value - 0.5 - 0.01 * seed for seed, value in base.items()}, base)
    assert found is not None
    assert found.verdict == "below"
    spread = summary(list(base.values())).half_width
    assert spread is not None
    assert spread > abs(found.difference.mean)


def test_rows_without_a_common_seed_are_not_compared() -> None:
    assert compare({0: 1.0}, {1: 1.0}) is None
    found = compare({0: 1.0, 1: 2.0}, {0: 0.5})
    assert found is not None
    assert (found.verdict, found.p) == ("one seed", None)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_numbers_that_are_none_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no values|not finite"):
        summary(values)
