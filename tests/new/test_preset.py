"""Flags and files -> a configuration: every method's loads, with the shipped configuration's numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from amd.config.flags import Flags
from amd.config.load import Library, Run, load
from amd.config.methods import DATA_READERS, GROUPED, SHRINKING, TAKES, TETHERED
from amd.config.preset import Material, documents, reward_of, write
from amd.config.schema.assets import Asset
from amd.config.schema.sizes import UNetSize

FILE = Asset(file="teacher/x", sha256="0" * 64)
SIZES = {
    "sd15": UNetSize(channels=[320, 640, 1280, 1280], layers=2, transformers=[1, 1, 1, 0], heads=[8] * 4, context=768),
    "sdxl": UNetSize(
        channels=[320, 640, 1280], layers=2, transformers=[0, 2, 10], heads=[5, 10, 20], context=2048, pooled=1280
    ),
}


@pytest.fixture(scope="module")
def shipped() -> Library:
    return load(Path(__file__).parents[2] / "config")


@pytest.fixture
def run(shipped, tmp_path):
    """run(kind, flags..., ) -> what a student of these flags resolves to, read back from the files."""

    def resolve(kind: str, flags: Flags, **changes: object) -> Run:
        material = Material(
            kind=kind,
            size=SIZES[kind],
            latents=(4, 64),
            pixels=512,
            scaling=0.18215,
            unet=[FILE],
            autoencoder=FILE,
            encoder=[FILE],
            prompts=Asset(file="prompts.txt"),
            count=100,
            preview=Asset(file="preview.txt"),
            previewed=4,
            reward=reward_of(shipped, flags.reward or "hpsv2", flags.reward_setting),
        )
        write(tmp_path, documents(shipped, flags, replace(material, **changes)))
        return load(tmp_path).run("student", "own", flags.seed)

    return resolve


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("method", sorted(set(TAKES) - TETHERED))
def test_every_method_becomes_a_configuration_that_loads(run, kind, method):
    images = Asset(file="images/captions.jsonl") if method in DATA_READERS else None
    for rank in (None, 16):
        found = run(kind, Flags(method=method, reward="hpsv2", lora=rank), images=images)
        assert found.system.method == method
        assert found.system.numbers.steps == 4
        assert found.text.network == SIZES[kind]
        assert found.sizes.group == (8 if method in GROUPED else 1)
        assert (found.system.student_lora is not None) == (rank is not None)
        assert (found.system.lora is not None) == (rank is not None or method in SHRINKING)


def test_numbers_that_no_flag_names_are_the_shipped_systems(run, shipped):
    for method in ("amd", "dmdr", "magic", "d-dmd", "amd-literal"):
        found, theirs = run("sdxl", Flags(method=method, reward="hpsv2")).system, shipped.systems[f"sdxl-{method}"]
        assert (found.numbers, found.lora, found.cfg_weight) == (theirs.numbers, theirs.lora, theirs.cfg_weight)
    low_rank = run("sdxl", Flags(reward="hpsv2", lora=64)).system
    theirs = shipped.systems["sdxl-amd-lora"]
    assert (low_rank.lora, low_rank.student_lora) == (theirs.lora, theirs.student_lora)
    one = run("sdxl", Flags(reward="hpsv2", steps=1)).system
    assert one.numbers == shipped.systems["sdxl-amd-one"].numbers
    assert run("sd15", Flags(reward="hpsv2", steps=1)).system.numbers.first is None


def test_flags_win(run):
    flags = Flags(
        method="dmd-pure", steps=2, iterations=9, batch=12, micro_batch=6, group=3, lr=3e-4, cfg=2.5, lora=4,
        precision="float32", seed=7,
    )  # fmt: skip
    found = run("sd15", flags)
    sizes = found.sizes
    assert (found.stage_iterations, found.seed, found.cfg_weight, found.system.numbers.steps) == (9, 7, 2.5, 2)
    assert (sizes.batch, sizes.micro_batch, sizes.group, sizes.lr, sizes.fake_lr) == (12, 6, 3, 3e-4, 3e-4)
    assert found.scale.precision == "float32"
    assert found.system.student_lora.rank == 4
    assert found.system.student_lora.scale == 2.0  # alpha 8 over rank 4


def test_several_processes_share_the_networks_and_make_the_same_student(run):
    flags = Flags(reward="hpsv2")
    one, eight = run("sdxl", flags, gpus=1), run("sdxl", flags, processes=8, gpus=8)
    assert (one.sizes.micro_batch, eight.sizes.micro_batch) == (8, 1)  # together they hold a group of 8
    assert eight.scale.footprints["distill"].sharding == "fsdp2"
    assert one.scale.footprints["distill"].sharding == "none"
    assert one.digest == eight.digest


def test_every_reward_names_its_files_and_what_it_must_be_told(shipped):
    for name in ("hpsv2", "pickscore", "imagereward", "clip-score"):
        scorer = reward_of(shipped, name)
        assert scorer.name == name
        assert scorer.assets
        assert all(asset.url for asset in scorer.assets)
    assert reward_of(shipped, "clip-score").settings["architecture"] == "ViT-L-14-quickgelu"
    assert reward_of(shipped, "hpsv2", [("precision", "bfloat16")]).settings == {
        "version": "v2.1",
        "precision": "bfloat16",
    }


def test_whatever_a_folder_is_called_is_read_back_as_it_is(run):
    for name in ("on", "8e3", "a: b # c", "été — v1.5", "{x}"):
        assert run("sd15", Flags(reward="hpsv2"), teacher=name).teacher.system.title == name
