"""A.4's numbers, read from config/, and systems whose rows exist."""

from pathlib import Path

import pytest

from amd.config.load import Library, load
from amd.distill.methods import METHODS, row
from amd.distill.rollout import grid

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


def test_a4_text_to_image(library: Library) -> None:
    """'Strictly follow DMD2' on 8 H800: four steps, batch 128, 5e-7 for both, CFG 8, HPSv2 rewards."""
    sizes, domain = library.scale("paper").text, library.domain("paper", "text")
    assert sizes is not None
    assert (sizes.batch, sizes.small_batch, sizes.lr, sizes.fake_lr) == (128, 16, 5e-7, 5e-7)
    assert sizes.iterations["long"] == 19000  # DMD2's README
    assert (domain.latents, domain.pixels) == ((4, 128), (3, 1024))
    assert (domain.reward.name, domain.reward.settings) == ("hpsv2", {"version": "v2.1"})
    assert {name: sizes.prompts[name] for name in ("geneval", "coco10k", "coco30k", "hpdv2", "drawbench")} == {
        "geneval": 553, "coco10k": 10000, "coco30k": 30000, "hpdv2": 3200, "drawbench": 200,
    }  # fmt: skip
    assert library.benchmarks["geneval"].per_prompt == 4
    assert sizes.teacher_steps == 50  # Table 2: 50 x 2
    network = sizes.network  # unet/config.json of stable-diffusion-xl-base-1.0
    assert (network.channels, network.layers, network.transformers) == ([320, 640, 1280], 2, [0, 2, 10])
    assert (network.heads, network.context, network.pooled, network.linear_projection) == (
        [5, 10, 20],
        2048,
        1280,
        True,
    )
    asked = library.scale("paper").footprints.get("distill.text", library.scale("paper").footprints["distill"])
    assert asked.nodes * asked.gpus == 8


STREAMS = {"wan-longlive": 700, "wan-dmd2": 700, "wan-amd": 700, "wan-amd-140": 140}  # Tables 5 and 6


def test_a4_text_to_video(library: Library) -> None:
    """'700 iterations', batch 8, 2e-6, local attention 12, frame sink 3; the rest is LongLive's first stage."""
    sizes, domain = library.scale("paper").video, library.domain("paper", "video")
    assert sizes is not None
    assert sizes.streaming is not None
    assert domain.clip is not None
    assert (sizes.batch, sizes.lr, sizes.fake_lr) == (8, 2e-6, 4e-7)
    assert (sizes.streaming.chunk, sizes.streaming.window, sizes.streaming.sink) == (3, 12, 3)
    assert (domain.clip.frames, domain.pixels[1], domain.clip.width, domain.clip.fps) == (81, 480, 832, 16)
    assert domain.latent_shape == (16, 21, 60, 104)
    assert domain.latent_shape[1] // sizes.streaming.chunk == 7  # chunks of a training's clip
    assert domain.reward.name == "videoalign"
    network = sizes.network  # Wan2.1-T2V-1.3B, transformer/config.json
    assert (network.patch, network.width, network.depth, network.heads, network.ffn) == (2, 1536, 30, 12, 8960)
    for name, iterations in STREAMS.items():
        run = library.run(name, "paper", 0)
        method = row(run.system.method or "", run.numbers)
        assert run.stage_iterations == iterations, name
        assert run.batch == 8, name
        assert [method.numbers[key] for key in ("steps", "ratio", "shift")] == [4, 5, 5.0], name
        assert run.cfg_weight == 1 + 3.0, name  # guidance_scale 3.0 of cond + w' (cond - uncond)
        times = [1000 * (1 - t) for t in grid(int(method.numbers["steps"]), float(method.numbers["shift"]))]
        assert times == pytest.approx([1000, 937.5, 833.3, 625], abs=0.04), name
        assert (run.system.backbone, run.system.ema) == ("wan-streaming", 0.99), name


def test_every_printed_streaming_student_is_held_to_a4(library: Library) -> None:
    for name in ("table5", "table6"):
        ours = [line.system for line in library.tables[name].rows if line.system is not None]
        assert {s for s in ours if library.system(s).kind == "student"} <= STREAMS.keys()


def test_a4_image_to_video(library: Library) -> None:
    """'800 iterations', batch 8, 5e-7, of a 14B network with its own shift."""
    sizes, domain = library.scale("paper").i2v, library.domain("paper", "i2v")
    assert sizes is not None
    assert domain.clip is not None
    assert sizes.streaming is None
    assert (sizes.batch, sizes.lr, sizes.fake_lr) == (8, 5e-7, 5e-7)
    assert (domain.clip.frames, domain.pixels[1], domain.clip.width, domain.shift) == (81, 480, 832, 3.0)
    assert domain.latent_shape == (16, 21, 60, 104)
    network = sizes.network  # Wan2.1-I2V-14B-480P, transformer/config.json
    assert (network.width, network.depth, network.heads, network.ffn) == (5120, 40, 40, 13824)
    assert network.image_context == 1280
    students = [s for s in library.systems.values() if (s.kind, s.track) == ("student", "i2v")]
    assert {s.name for s in students} >= {"wan-i2v-dmd2", "wan-i2v-amd"}
    for system in students:
        run = library.run(system.name, "paper", 0)
        method = row(run.system.method or "", run.numbers)
        assert (run.stage_iterations, run.batch, run.cfg_weight) == (800, 8, 5.0), system.name
        assert [method.numbers[key] for key in ("steps", "ratio", "shift")] == [4, 5, 3.0], system.name


def test_the_text_students_are_dmd2s_script_with_another_slot(library: Library) -> None:
    """experiments/sdxl/*denoising4step*.sh: guidance 8, generator loss 5e-3, five fake updates, 4 steps."""
    dmd2 = library.system("sdxl-dmd2")
    assert (dmd2.cfg_weight, dmd2.ema, dmd2.start, dmd2.teacher) == (8.0, 0.0, "sdxl-teacher", "sdxl-teacher")
    numbers = row("dmd2", dmd2.numbers.model_dump(exclude_none=True)).numbers
    assert (numbers["lam"], numbers["critic_lam"], numbers["ratio"], numbers["steps"]) == (5e-3, 1e-2, 5, 4)
    assert numbers["dims"] == 4 * 128 * 128  # the size at which DMD2 chose lam
    students = [s for s in library.systems.values() if (s.kind, s.track) == ("student", "text")]
    for system in students:
        assert system.method is not None
        method = row(system.method, system.numbers.model_dump(exclude_none=True))
        assert method.numbers["steps"] == (1 if system.name.endswith("-one") else 4), system.name
        assert method.numbers.get("first", 0) == (0.6 if system.name.endswith("-one") else 0), system.name  # index 399
    assert (
        row("amd", library.system("sdxl-amd").numbers.model_dump(exclude_none=True)).with_numbers({"steps": 1})
        == (METHODS["amd"])
    )
    lora = library.system("sdxl-amd-lora").student_lora
    assert lora is not None
    assert (lora.rank, lora.scale) == (64, 8 / 64)  # rank 64, alpha 8


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


def test_a_cheaper_fake_update_is_one_line(library: Library) -> None:
    """`numbers: {samples: reused}`: the student update's samples and rewards at new times, no rollouts of their own."""
    system = library.system("sdxl-amd")
    numbers = system.numbers.model_copy(update={"samples": "reused"}).model_dump(exclude_none=True)
    assert row("amd", numbers).cadence().samples == "reused"
    assert row("amd", numbers).cadence().fake_updates == 5
    assert row("amd").cadence().samples == "fresh"
    assert row("amd-literal").cadence().samples == "same"


def test_amd_runs_with_the_numbers_of_its_row(library: Library) -> None:
    """A system may state a number to show it; stating another one would be another method."""
    for name in ("sit-amd", "sit-amd-literal", "sit-naive", "sit-amd-without-adaptation", "sit-amd-without-sharpening"):
        system = library.system(name)
        assert system.method is not None
        assert row(system.method, system.numbers.model_dump(exclude_none=True)) == METHODS[system.method]
