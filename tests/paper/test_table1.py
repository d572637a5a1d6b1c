"""METHODS against Table 1 of the paper, cell by cell, and against what a configuration may say about them."""

import pytest

from amd.config.methods import GROUPED, REWARDED, SHRINKING, TAKES
from amd.config.schema.system import Numbers
from amd.distill.methods import METHODS, TABLE_1, row, taxonomy

COLUMNS = ("operator", "external", "renoise", "real", "fake")

PRINTED = {  # Table 1 as printed, transposed: H, F_ext, F_t, phi, psi
    "DMD": ("d_real - d_fake", "x - x_gt", "U[0,1]", "phi_fix", "L_diff"),
    "DMD2": ("d_real - d_fake", "grad_x log D(x)", "U[0,1]", "phi_fix", "L_diff"),
    "D-DMD": ("d_ca + d_dm", "0", "t_phi > t_G", "phi_fix", "L_diff"),
    "Magic Dist.": ("d_real - d_fake", "0", "U[0,1]", "phi_theta -> phi_fix", "L_diff"),
    "DMDR": ("d_real - d_fake", "grad_theta E[R(x)]", "U[0,1]", "phi_theta -> phi_fix", "L_diff"),
    "AMD (Ours)": ("alpha d_ca + beta d_dm", "0", "U[0,1]", "phi_fix", "W(a) L_diff"),
}

MEANS = {  # a printed cell -> the slot's name
    "d_real - d_fake": "standard",
    "d_ca + d_dm": "decoupled",
    "alpha d_ca + beta d_dm": "adaptive",
    "0": "",
    "x - x_gt": "tether",
    "grad_x log D(x)": "adversarial",
    "grad_theta E[R(x)]": "reward",
    "U[0,1]": "uniform",
    "t_phi > t_G": "noisier than the student's step",  # which no slot does: see DEVIATIONS
    "phi_fix": "frozen",
    "phi_theta -> phi_fix": "shrinking",
    "L_diff": "ones",
    "W(a) L_diff": "sharpened",
}

DEVIATIONS = {  # cells that METHODS fills otherwise, with the reason
    ("D-DMD", "renoise"): ("cleaner_ca", "its own paper: the CA term at levels cleaner than the generator's step"),
    ("DMDR", "renoise"): (
        "annealed_beta",
        "its own code: Beta(4, 1.5) annealed to uniform, in the t = 1 is noise arrow",
    ),
}

OTHERWISE_SAID = {  # cells whose slot has the printed name and another meaning; the slot's docstring must say so
    ("DMD", "external"): "teacher's own sample",  # x_gt is no ground truth
    ("DMD2", "external"): "-log D",  # printed as an ascent direction
    ("DMDR", "external"): "sign mended",
}


def found(title: str, column: str) -> str:
    method = METHODS[next(name for name, t in TABLE_1.items() if t == title)]
    if column == "external":
        return " + ".join(force.value.name for force in method.external)
    return str(getattr(method, column).name)


@pytest.mark.parametrize("title", PRINTED)
@pytest.mark.parametrize("column", COLUMNS)
def test_every_cell_is_as_printed_or_a_named_deviation(title: str, column: str) -> None:
    printed = MEANS[PRINTED[title][COLUMNS.index(column)]]
    if (title, column) in DEVIATIONS:
        assert found(title, column) == DEVIATIONS[title, column][0] != printed
    else:
        assert found(title, column) == printed


@pytest.mark.parametrize(("title", "column"), OTHERWISE_SAID)
def test_a_cell_with_another_meaning_says_so(title: str, column: str) -> None:
    (force,) = METHODS[next(name for name, t in TABLE_1.items() if t == title)].external
    assert OTHERWISE_SAID[title, column] in (force.value.function.__doc__ or "")


def test_the_columns_stand_in_the_papers_order() -> None:
    assert list(TABLE_1.values()) == list(PRINTED)


def test_uniform_keeps_off_the_ends_and_no_further() -> None:
    """U[0, 1] as printed holds alpha = 0 and sigma = 0."""
    for name, method in METHODS.items():
        if method.renoise.name == "uniform":
            low, high = method.renoise["low"], method.renoise["high"]
            assert 0 < low <= 0.02, name
            assert high == pytest.approx(1 - low), name


def test_the_printed_taxonomy_is_the_rows_themselves() -> None:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in taxonomy().splitlines()]
    assert lines[0][:6] == ["method", "H", "F_ext", "F_t", "real teacher", "fake teacher"]
    assert [line[0] for line in lines[2:]] == list(PRINTED)
    for line in lines[2:]:
        method = METHODS[next(name for name, t in TABLE_1.items() if t == line[0])]
        assert line[1] == str(method.operator)
        assert line[2] == (" + ".join(map(str, method.external)) or "0")
        assert line[3:] == [str(getattr(method, f)) for f in ("renoise", "real", "fake", "rollout", "cadence")]
        assert len(line) == len(lines[0])


def test_the_printed_taxonomy_word_for_word() -> None:
    rows = {line.split(" | ")[0].strip("| "): line for line in taxonomy().splitlines()}
    assert rows["AMD (Ours)"] == (
        "| AMD (Ours) | adaptive(s=0.5) | 0 | uniform(low=0.02, high=0.98, share=sample, shift=1.0) | frozen() | "
        "sharpened(k=1.0, normalise=batch) | backward_simulation(steps=1, eta=1.0, first=0.0, shift=1.0) | "
        "two_time_scales(ratio=5, samples=fresh) |"
    )
    assert "| adversarial(lam=0.003, dims=12288) against discriminator(critic_lam=0.01) |" in rows["DMD2"]


def test_the_ablations_take_one_thing_away_each() -> None:
    amd = METHODS["amd"]
    without_adaptation, without_sharpening = METHODS["amd-without-adaptation"], METHODS["amd-without-sharpening"]
    assert [f for f in COLUMNS if getattr(without_adaptation, f) != getattr(amd, f)] == ["operator"]
    assert [f for f in COLUMNS if getattr(without_sharpening, f) != getattr(amd, f)] == ["fake"]
    for other in (without_adaptation, without_sharpening):
        assert (other.rollout, other.cadence, other.advantage, other.normaliser) == (
            amd.rollout, amd.cadence, amd.advantage, amd.normaliser,
        )  # fmt: skip
    assert METHODS["dmd-pure"] == row("dmd-pure")
    assert [f for f in COLUMNS if getattr(METHODS["dmd"], f) != getattr(METHODS["dmd-pure"], f)] == ["external"]


# --- what a configuration may say -------------------------------------------------------------------------------------

INTERNAL = {"share", "floor", "a", "b"}  # choices of a row, or constants of a source: not a user's


def test_a_configuration_knows_every_method() -> None:
    assert set(TAKES) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_configuration_may_set_every_number_of_a_row_but_the_internal_ones(name: str) -> None:
    numbers = set(METHODS[name].numbers)
    unread = INTERNAL | (set() if METHODS[name].reads("advantage") else {"clip"})
    assert TAKES[name] == numbers - unread
    assert TAKES[name] <= numbers


def test_the_schema_has_a_field_for_every_number_and_no_more() -> None:
    assert set(Numbers.model_fields) == set().union(*TAKES.values())


@pytest.mark.parametrize("name", METHODS)
def test_the_lists_of_a_dry_run_say_what_the_rows_read(name: str) -> None:
    method = METHODS[name]
    assert (name in GROUPED) == method.reads("advantage")
    assert (name in REWARDED) == method.reads("reward")
    assert (name in SHRINKING) == method.reads("pull")
    assert method.reads("logit") == method.reads("real_data") == (name == "dmd2")
    assert method.reads("pairs") == (name == "dmd")
