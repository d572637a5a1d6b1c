"""Win rate: known wins and ties, symmetry, intervals, refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from amd.report.winrate import bootstrap, wilson, win_rate


def records(scores: list[float], per_prompt: int = 1) -> pd.DataFrame:
    index = np.arange(len(scores))
    return pd.DataFrame({"prompt": index // per_prompt, "seed": index % per_prompt, "hps": scores})


def drawn(seed: int, rows: int = 60) -> pd.DataFrame:
    """Few levels, so that there are ties."""
    return records(list(np.random.default_rng(seed).integers(0, 5, rows).astype(float)), per_prompt=4)


def test_ties_count_half():
    found = win_rate(records([1.0, 2.0, 3.0, 4.0]), records([0.0, 2.0, 5.0, 1.0]), "hps")
    assert (found.rate, found.wins, found.ties, found.n) == (0.625, 2, 1, 4)


def test_two_rates_of_the_same_pair_sum_to_one():
    one, two = win_rate(drawn(0), drawn(1), "hps"), win_rate(drawn(1), drawn(0), "hps")
    assert one.rate + two.rate == pytest.approx(1)
    assert one.wilson == pytest.approx((1 - two.wilson[1], 1 - two.wilson[0]))
    assert one.ties == two.ties > 0


def test_a_system_against_itself_is_half():
    found = win_rate(drawn(0), drawn(0), "hps")
    assert found.rate == 0.5
    assert found.bootstrap == (0.5, 0.5)


def test_records_are_paired_by_name_and_not_by_place():
    ours, theirs = drawn(0), drawn(1)
    assert win_rate(ours.sample(frac=1, random_state=3), theirs, "hps") == win_rate(ours, theirs, "hps")


@pytest.mark.parametrize(("wins", "n"), [(0, 7), (7, 7), (3, 10), (120, 200)])
def test_wilsons_interval_is_scipys(wins, n):
    known = binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson(wins, n) == pytest.approx((known.low, known.high), abs=1e-12)


def test_bootstrap_agrees_with_wilson_where_pairs_are_independent():
    wins = np.random.default_rng(0).integers(0, 2, 400).astype(float)
    low, high = wilson(wins.sum(), 400)
    assert bootstrap(wins, np.ones(400)) == pytest.approx((low, high), abs=0.01)  # a fifth of the interval's width


def test_bootstrap_is_wider_where_images_of_a_prompt_win_together():
    together = np.random.default_rng(0).integers(0, 2, 50).repeat(8).astype(float)
    ours, theirs = records(list(together), per_prompt=8), records([0.5] * 400, per_prompt=8)
    found = win_rate(ours, theirs, "hps")
    width = found.bootstrap[1] - found.bootstrap[0]
    assert width == pytest.approx((found.wilson[1] - found.wilson[0]) * 8**0.5, rel=0.1)  # clusters of eight


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.drop(columns="hps"), "no column 'hps'"),
        (lambda d: d.iloc[:-1], r"1 of 60 pairs are in one system's records only, as \{'prompt': 14, 'seed': 3\}"),
        (lambda d: pd.concat([d, d.iloc[:1]]), r"\{'prompt': 0, 'seed': 0\} twice"),
        (lambda d: d.assign(hps=float("nan")), "not finite"),
    ],
)
def test_records_that_do_not_pair_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        win_rate(drawn(0), change(drawn(1)), "hps")


def test_no_records_are_refused():
    with pytest.raises(ValueError, match="no records"):
        win_rate(drawn(0).iloc[:0], drawn(1).iloc[:0], "hps")
