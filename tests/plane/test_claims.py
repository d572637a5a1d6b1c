"""What the paper claims of its 2-D problems and what the law predicts, held to real runs at the tiny scale's settings.

A run is made once per file; the thresholds are wider than the spread of three seeds by about as much again (LOG.md has
the measured numbers). Where the paper's claim did not reproduce, there is no test of it.
"""

import json
from statistics import median

import pytest

from amd.train.plane import plane

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(library, with_problem, tmp_path_factory):
    """(problem, titles, seeds) -> title -> the measurements of every seed at the end of training."""

    def train(problem, methods, seeds=(0, 1, 2)):
        changed = with_problem(library, problem, "tiny", methods=methods, seeds=list(seeds), sizes={"evaluations": 1})
        folder = tmp_path_factory.mktemp(problem)
        plane(changed, problem, "tiny", folder / "out", folder / "state")
        content = json.loads((folder / "out/measurements.json").read_text())
        return {
            title: [{**entry["curve"][-1], "law": entry["law"]} for entry in content["runs"] if entry["title"] == title]
            for title in methods
        }

    return train


@pytest.fixture(scope="module")
def selective(run):
    """Half of the modes are suppressed."""
    return run("selective", {"DMD": "plane-dmd", "AMD": "plane-amd"})


@pytest.fixture(scope="module")
def lower_left(run):
    """The reward points to the lower left of a grid; one seed, for the two differ by far more than seeds do."""
    found = run("lower-left", {"AMD": "plane-amd", "Naive": "plane-naive"}, seeds=[0])
    return {title: runs[0] for title, runs in found.items()}


def middle(runs, key):
    return median(entry[key] for entry in runs)


def test_amd_obeys_the_law_where_half_of_the_modes_are_good(selective):
    law = selective["AMD"][0]["law"]
    assert (law["p0"], law["k"]) == (0.5, 1.0)
    assert law["p"] == pytest.approx(0.8142, abs=1e-4)
    assert middle(selective["AMD"], "good") == pytest.approx(law["p"], abs=0.05)


def test_dmd_keeps_the_teacher_s_share(selective):
    assert middle(selective["DMD"], "good") == pytest.approx(0.5, abs=0.05)
    assert all(entry["covered"] == 8 for entry in selective["DMD"])


def test_amd_comes_closer_to_the_good_modes_than_dmd(selective):
    assert middle(selective["AMD"], "ed_good") < 0.4 * middle(selective["DMD"], "ed_good")


def test_suppressed_modes_do_not_vanish_at_k_1(selective):
    """The paper's Figure 7 says that they do; the law says 18.6 %."""
    assert min(1 - entry["good"] for entry in selective["AMD"]) > 0.1


@pytest.mark.parametrize("problem", ["law-p25", "law-p75"])
def test_amd_obeys_the_law_at_other_shares(run, problem):
    found = run(problem, {"AMD": "plane-amd"}, seeds=[0])["AMD"][0]
    assert found["good"] == pytest.approx(
        found["law"]["p"], abs=0.1
    )  # one seed; three of them came out 0.02 to 0.05 below


def test_amd_moves_down_left_and_keeps_the_grid(lower_left):
    """Figure 8, bottom; the law for nine modes says where it comes to rest."""
    amd = lower_left["AMD"]
    assert amd["law"]["p"] > 1.9 * amd["law"]["p0"]
    assert amd["good"] == pytest.approx(amd["law"]["p"], abs=0.1)
    assert amd["covered"] >= 7


def test_naive_reweighting_loses_the_grid(lower_left):
    """Figure 8, top."""
    amd, naive = lower_left["AMD"], lower_left["Naive"]
    assert naive["covered"] <= 5
    assert naive["off"] > amd["off"] + 0.1
    assert naive["good"] < 1 / 3  # below the teacher's own share: the wrong way
    assert naive["std_ratio"] > 1.4 * amd["std_ratio"]
