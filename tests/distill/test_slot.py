"""Slots and rows: functions closed over their numbers, which can be compared, printed and changed."""

import pytest

from amd.distill.advantage import sharpened
from amd.distill.methods import METHODS, row
from amd.distill.operator import adaptive
from amd.distill.slot import slot


def test_a_slot_prints_compares_and_gives_its_numbers() -> None:
    assert str(adaptive(s=0.25)) == "adaptive(s=0.25)"
    assert adaptive(s=0.25) == adaptive(s=0.25) != adaptive()
    assert adaptive()["s"] == 0.5
    assert len({adaptive(s=0.25), adaptive(s=0.25), adaptive()}) == 2


def test_a_slot_calls_its_function_with_its_numbers() -> None:
    @slot("reward")
    def power(base: float, *, exponent: int = 2) -> float:
        """base to the exponent."""
        return base**exponent

    assert power()(3.0) == 9
    assert power(exponent=3)(3.0) == 27
    assert power().with_numbers({"exponent": 4, "other": 1})(3.0) == 81  # it takes those that it has
    assert power().reads == {"reward"}


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"adaptive has no number \['t'\]; it has \['s'\]"):
        adaptive(t=1)
    with pytest.raises(ValueError, match=r"this method has no number kk; it has .*normalise"):
        row("amd", {"kk": 1})


def test_an_unknown_choice_is_refused_however_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"sharpened: normalise = 'bach'; known: 'batch', 'group', 'none'"):
        sharpened(normalise="bach")
    for number, name in (("normalise", "amd"), ("normaliser", "dmd-pure"), ("share", "amd"), ("samples", "amd")):
        with pytest.raises(ValueError, match=f"{number} = 'no such thing'; known"):
            row(name, {number: "no such thing"})


@pytest.mark.parametrize("name", METHODS)
def test_every_number_of_every_row_can_be_replaced(name: str) -> None:
    words = {"batch": "group", "cfg": "none", "cond": "none", "sample": "group", "fresh": "reused"}
    words |= {"none": "batch", "group": "sample", "same": "fresh"}
    for number, value in METHODS[name].numbers.items():
        new = words[value] if isinstance(value, str) else (value / 2 or 0.5) if isinstance(value, float) else value + 1
        changed = row(name, {number: new})
        assert changed.numbers == METHODS[name].numbers | {number: new}
        assert changed.reads("advantage") == METHODS[name].reads("advantage")
        assert row(name, {}) == METHODS[name] != changed


def test_a_number_that_two_slots_share_is_one_number() -> None:
    """DMDR anneals its teacher and its times together."""
    changed = row("dmdr", {"anneal": 0.25})
    assert changed.real["anneal"] == changed.renoise["anneal"] == 0.25


@pytest.mark.parametrize("name", METHODS)
def test_a_name_means_one_value_in_every_slot_that_has_it(name: str) -> None:
    values: dict[str, set[object]] = {}
    for one in METHODS[name].slots:
        for number, value in one.numbers:
            values.setdefault(number, set()).add(value)
    assert all(len(found) == 1 for found in values.values()), values
