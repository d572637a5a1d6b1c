"""One path, three scales: nothing but sizes and domain assets differ."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from amd.config.load import Library, Run
from amd.config.methods import GROUPED, TAKES
from amd.config.schema.assets import Asset
from amd.config.schema.closed import Track


def trainable(library: Library) -> list[str]:
    return [s.name for s in library.systems.values() if s.kind != "plane"]


def skeleton(run: Run) -> dict[str, Any]:
    """What a run is, less sizes and domain assets: a published teacher begins from nothing here."""
    roles = ("start", "teacher") if run.system.kind == "student" else ("teacher",)
    others = {role: getattr(run, role) for role in roles}
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
        assert not set(scale) & systems, name
        assert set(scale["plane"]) & systems == {"batch"}, name  # how many rows; a system says which of two
        for track in ("class", "text"):
            assert set(scale[track]) & systems == {"teacher", "batch"}, (name, track)  # its sizes, not its choice


@pytest.mark.parametrize("track", ["class", "text"])
def test_domains_of_a_track_differ_in_assets_alone(library: Library, track: Track):
    domains = {scale: library.domain(scale, track) for scale in library.scales}
    assert {domain.track for domain in domains.values()} == {track}
    assert domains["smoke"] == domains["tiny"]
    assert domains["tiny"].stand_in
    assert domains["paper"].stand_in is None


def test_both_text_domains_serve_the_same_benchmarks_and_metrics(library: Library):
    """A column of a table is filled at both scales, by whoever judges it there."""
    tiny, paper = library.domain("tiny", "text"), library.domain("paper", "text")
    benchmarks = {name for name, benchmark in library.benchmarks.items() if benchmark.track == "text"}
    assert set(tiny.prompts) == set(paper.prompts) == benchmarks | {"train"}
    assert tiny.panel.keys() == paper.panel.keys()
    assert tiny.metrics.keys() == paper.metrics.keys() == {m for b in benchmarks for m in library.benchmarks[b].metrics}
    for domain in (tiny, paper):
        for name, prompts in domain.prompts.items():
            asked = library.benchmarks[name].metrics if name != "train" else []
            styles = {metric.rsplit("_", 1)[0] for metric in asked if metric.rsplit("_", 1)[-1] in domain.panel} - {
                *asked
            }
            assert set(prompts.categories) == styles - {"average"}, (domain.name, name)


def test_the_reward_of_the_text_track_is_one_of_its_panel_and_so_marked(library: Library):
    """The paper prints the training reward as a metric; at tiny the same member stands in for it."""
    for scale in library.scales:
        domain = library.domain(scale, "text")
        member = domain.panel["hpsv2"]
        assert (member.name, member.system, member.assets, member.settings) == (
            domain.reward.name,
            domain.reward.system,
            domain.reward.assets,
            domain.reward.settings,
        )
        others = [each for key, each in domain.panel.items() if key != "hpsv2"]
        assert domain.reward.system not in {each.system for each in others} - {None}


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
            numbers = set(system.numbers.model_dump(exclude_none=True))
            choices = {key for key in ("lora", "student_lora", "ema") if getattr(system, key)}
            choices |= {"batch"} if system.batch != "full" else set()
            assert numbers | choices | {"cfg_weight", "stage"} <= set(system.sources), system.name


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


def test_a_small_batch_is_another_run_of_the_same_method(library: Library):
    """A.4 leaves DMD2's batch open: 128 as DMD2 ran, or 16, which its code does on eight GPUs."""
    for scale in library.scales:
        full, small = (library.run(name, scale, 0) for name in ("sdxl-amd", "sdxl-amd-batch16"))
        assert (full.batch, small.batch) == (full.text.batch, small.text.small_batch)
        assert small.batch < full.batch
        assert full.digest != small.digest
        words = {"name", "title", "about", "sources", "batch"}
        assert full.system.model_dump(exclude=words) == small.system.model_dump(exclude=words)


def test_guidance_is_the_domains_where_its_teacher_needs_an_own_one(library: Library):
    assert library.domain("tiny", "text").cfg_weight == library.run("sdxl-amd", "tiny", 0).cfg_weight != 8
    assert library.domain("paper", "text").cfg_weight is None
    assert library.run("sdxl-amd", "paper", 0).cfg_weight == library.systems["sdxl-amd"].cfg_weight == 8
    assert library.run("sit-amd", "tiny", 0).cfg_weight == library.systems["sit-amd"].cfg_weight


def test_text_students_differ_in_method_batch_branches_and_steps_alone(library: Library):
    base = library.systems["sdxl-dmd2"]
    for name in trainable(library):
        system = library.systems[name]
        if (system.kind, system.track) == ("student", "text"):
            for key in ("backbone", "start", "teacher", "stage", "cfg_weight", "ema", "warmup", "teacher_seed"):
                assert getattr(system, key) == getattr(base, key), (name, key)
    methods = {s.method for s in library.systems.values() if (s.kind, s.track) == ("student", "text")}
    assert {"dmd2", "d-dmd", "magic", "dmdr", "amd", "amd-literal"} <= methods


def test_every_asset_of_the_papers_text_domain_says_its_licence_and_where_it_is(library: Library):
    domain = library.domain("paper", "text")
    own = {"laion-aesthetics-6.25/captions.jsonl", "coco/val2014/captions.jsonl", "dmd2/captions_laion_score6.25.txt"}
    own |= {"drawbench/drawbench_categories.csv"}  # made from something published, as the file says
    files: dict[str, Asset] = {}
    for asset in assets_of(domain):
        assert asset.license, asset.file
        assert asset.url is not None or asset.file in own, asset.file
        assert asset.url is None or asset.url.startswith("https://"), asset.file
        assert asset.url is None or asset.url.endswith(asset.file.rsplit("/", 1)[-1]), asset.file
        assert files.setdefault(asset.file, asset) == asset, "a file means one thing"
    assert own <= set(files)


def assets_of(part: Any) -> Iterator[Asset]:
    """Every asset within."""
    if isinstance(part, Asset):
        yield part
    elif isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from assets_of(getattr(part, name))
    elif isinstance(part, dict):
        for value in part.values():
            yield from assets_of(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from assets_of(value)
