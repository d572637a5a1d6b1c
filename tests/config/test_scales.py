"""One path, three scales: nothing but sizes and domain assets differ."""

from typing import Any

import pytest

from amd.config.load import Library, Run
from amd.config.methods import GROUPED, TAKES


def trainable(library: Library) -> list[str]:
    return [s.name for s in library.systems.values() if s.kind != "plane"]


def skeleton(run: Run) -> dict[str, Any]:
    """What a run is, less sizes and domain assets."""
    others = {role: getattr(run, role) for role in ("start", "teacher")}
    return {
        "system": run.system.model_dump(),
        "seed": run.seed,
        **{role: None if other is None else skeleton(other) for role, other in others.items()},
    }


def test_a_system_is_the_same_at_every_scale(library: Library):
    for name in trainable(library):
        first, *others = (skeleton(library.run(name, scale, 0)) for scale in library.scales)
        assert others == [first, first]


def test_a_scale_chooses_no_method(library: Library):
    """Scales share their keys, and hold no key of a system."""
    systems = set(next(iter(library.systems.values())).model_dump()) - {"name"}
    dumps = {name: scale.model_dump(by_alias=True) for name, scale in library.scales.items()}
    for name, scale in dumps.items():
        assert scale.keys() == dumps["tiny"].keys()
        assert not (set(scale) | set(scale["plane"])) & systems - {"teacher"}
        assert set(scale["class"]) & systems == {"teacher"}, name  # its sizes, not its choice


def test_domains_of_a_track_differ_in_assets_alone(library: Library):
    tracks = [{d.track for d in (library.domain(scale, "class"),)} for scale in library.scales]
    assert tracks == [{"class"}] * 3
    assert library.domain("tiny", "class").stand_in
    assert library.domain("paper", "class").stand_in is None


def test_smoke_is_tiny_in_seconds(library: Library):
    smoke, tiny = library.scales["smoke"].klass, library.scales["tiny"].klass
    assert max(smoke.iterations.values()) <= 5
    assert smoke.samples <= 100
    assert smoke.network.width < tiny.network.width
    assert library.scales["smoke"].domains == library.scales["tiny"].domains


def test_the_paper_s_own_numbers(library: Library):
    """Appendix A.4: SiT-XL/2, 3,000 + 1,000 iterations (Figure 5: 2,000), batch 512, learning rate 2e-5."""
    sizes = library.scales["paper"].klass
    assert (sizes.network.patch, sizes.network.width, sizes.network.depth, sizes.network.heads) == (2, 1152, 28, 16)
    assert sizes.iterations["short"] == 3000
    assert (sizes.iterations["finetune"], sizes.iterations["ablation"]) == (1000, 2000)
    assert (sizes.batch, sizes.lr, sizes.samples) == (512, 2e-5, 50_000)
    assert library.run("sit-amd", "paper", 0).start is not None
    assert library.run("sit-amd", "paper", 0).stage_iterations == 1000


def test_every_number_of_a_system_has_a_source(library: Library):
    for system in library.systems.values():
        if system.kind == "student":
            numbers = set(system.numbers.model_dump(exclude_none=True)) | ({"lora"} if system.lora else set())
            assert numbers | {"cfg_weight", "ema", "stage"} <= set(system.sources), system.name


@pytest.mark.parametrize("scale", ["smoke", "tiny", "paper"])
def test_both_starts_differ_in_length_alone(library: Library, scale: str):
    short, long = (library.run(f"sit-warm-{length}", scale, 0) for length in ("short", "long"))
    words = {"name", "title", "about", "sources"}
    assert short.system.model_dump(exclude=words | {"stage"}) == long.system.model_dump(exclude=words | {"stage"})
    assert short.stage_iterations < long.stage_iterations


def test_the_second_stages_differ_in_method_and_start_alone(library: Library):
    for name in trainable(library):
        system = library.systems[name]
        if system.stage != "finetune":
            continue
        base = library.systems["sit-dmd"]
        for key in ("backbone", "teacher", "cfg_weight", "ema", "warmup", "teacher_seed"):
            assert getattr(system, key) == getattr(base, key), (name, key)
        assert system.start == ("sit-warm-long" if name.endswith("-long") else "sit-warm-short")


def test_every_method_of_the_class_track_has_both_starts(library: Library):
    methods = {s.method for s in library.systems.values() if s.kind == "student" and s.start == "sit-warm-short"}
    assert (
        methods
        == set(TAKES) - {"dmd"}
        == {s.method for s in library.systems.values() if s.kind == "student" and s.start == "sit-warm-long"}
    )
    assert methods >= GROUPED


def test_an_ablation_is_trained_only_where_it_is_longer(library: Library):
    assert library.run("sit-amd", "tiny", 0, "ablation") == library.run("sit-amd", "tiny", 0)
    longer = library.run("sit-amd", "paper", 0, "ablation")
    assert longer.name == "sit-amd--ablation"
    assert longer.stage_iterations == 2000
    assert longer.digest != library.run("sit-amd", "paper", 0).digest
    assert library.run("sit-amd--ablation", "paper", 0) == longer
