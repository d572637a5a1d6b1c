"""A.4's numbers, read from config/, and systems whose rows exist."""

from pathlib import Path

import pytest

from amd.config.load import Library, load
from amd.distill.methods import METHODS, row

ROOT = Path(__file__).parent.parent.parent / "config"
SECOND_STAGE = ("sit-dmd", "sit-dmdr", "sit-amd", "sit-amd-without-adaptation", "sit-amd-without-sharpening")


@pytest.fixture(scope="module")
def library() -> Library:
    return load(ROOT)


def test_a4_class_to_image(library: Library) -> None:
    """'Pre-trained for 3,000 iterations', 'an additional 1,000', 'extended to 2,000', 512, 2.0e-5, DINOv2."""
    sizes = library.scale("paper").klass
    assert (sizes.iterations["short"], sizes.iterations["finetune"], sizes.iterations["ablation"]) == (3000, 1000, 2000)
    assert sizes.batch == 512
    assert sizes.lr == 2.0e-5
    assert library.domain("paper", "class").reward.name == "dinov2"
    assert sizes.samples == 50000  # Table 4: 50K-ImageNet
    network = sizes.network
    assert (network.patch, network.width, network.depth, network.heads) == (2, 1152, 28, 16)  # SiT-XL/2


def test_table_4s_rows_are_a_second_stage_from_one_pure_dmd_start(library: Library) -> None:
    start = library.system("sit-warm-short")
    assert (start.method, start.stage) == ("dmd-pure", "short")
    for name in SECOND_STAGE:
        system = library.system(name)
        assert (system.start, system.stage, system.teacher) == ("sit-warm-short", "finetune", "sit-teacher")
        assert library.run(name, "paper", 0).stage_iterations == 1000
        assert library.run(name, "paper", 0, "ablation").stage_iterations == 2000
        assert system.cfg_weight == start.cfg_weight > 1  # w = 1 would leave Eq. 10's alpha nothing to weigh
    assert [library.system(n).method for n in SECOND_STAGE[:3]] == ["dmd-pure", "dmdr", "amd"]


def test_dmdrs_second_stage_is_its_own_reinforcement_stage(library: Library) -> None:
    """No borrowing, uniform times, the reward in the loss; borrowing and annealing belong to its cold start."""
    system = library.system("sit-dmdr")
    method = row("dmdr", system.numbers.model_dump(exclude_none=True))
    assert [method.real(progress) for progress in (0.0, 0.3, 0.9)] == [0, 0, 0]
    assert method.numbers["anneal"] == 0  # uniform from the first iteration: tests/distill/test_renoise.py
    assert method.numbers["lam"] == 0.05
    assert system.lora is None  # a full fake teacher, as every other second stage has


def test_the_two_starts_differ_by_their_length_alone(library: Library) -> None:
    short, long = library.system("sit-warm-short"), library.system("sit-warm-long")
    names = {"name", "title", "about", "sources", "stage"}
    assert short.model_dump(exclude=names) == long.model_dump(exclude=names)
    assert library.scale("paper").klass.iterations["long"] == 20000  # DMDR's cold start


def test_every_system_is_a_row_with_numbers_it_has(library: Library) -> None:
    students = [s for s in library.systems.values() if s.method is not None]
    assert len(students) > 20
    for system in students:
        assert system.method is not None
        numbers = system.numbers.model_dump(exclude_none=True)
        method = row(system.method, numbers)
        assert {key: method.numbers[key] for key in numbers} == numbers


def test_amd_runs_with_the_numbers_of_its_row(library: Library) -> None:
    """A system may state a number to show it; stating another one would be another method."""
    for name in ("sit-amd", "sit-amd-literal", "sit-naive", "sit-amd-without-adaptation", "sit-amd-without-sharpening"):
        system = library.system(name)
        assert system.method is not None
        assert row(system.method, system.numbers.model_dump(exclude_none=True)) == METHODS[system.method]
