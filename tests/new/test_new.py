"""`amd new` on tiny pipelines: what it makes is sampled by stock diffusers, stopped and gone on with, or refused."""

import json
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from sizes import PROMPTS, STOPPED

from amd.__main__ import main
from amd.config.load import load

UNET = "unet/diffusion_pytorch_model.safetensors"
SIDE = 16  # of the tiny pipelines' pictures


def images(folder: Path, steps: int) -> torch.Tensor:
    """What a stock pipeline draws from an exported folder, (2, 3, H, H) in [0, 1]."""
    pipe = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    source = torch.Generator().manual_seed(5)
    asked = {"num_inference_steps": steps, "guidance_scale": 1, "output_type": "pt"}
    return pipe(PROMPTS[:2], generator=source, **asked).images


def moved(folder: Path, teacher: Path) -> float:
    """The largest change of a weight of the UNet."""
    mine, theirs = load_file(folder / UNET), load_file(teacher / UNET)
    assert mine.keys() == theirs.keys()
    return max(float((mine[name] - theirs[name]).abs().max()) for name in mine)


def test_a_student_of_an_sd15_folder_is_sampled_by_a_stock_pipeline(student, teachers):
    drawn = images(student / "pipeline", 2)
    assert drawn.shape == (2, 3, SIDE, SIDE)
    assert bool(drawn.isfinite().all())
    assert float(drawn.std()) > 0.01  # a picture, not a plain
    assert 1e-4 < moved(student / "pipeline", teachers["sd15"]) < 0.1  # two updates of 1e-3
    said = (student / "README.md").read_text()
    assert "pipeline/" in said
    assert "python -m amd distill --system student --seed 0" in said
    with Image.open(student / "samples.png") as picture:
        # two prompts, two images each of student and teacher, enlarged by a whole factor
        assert picture.width > 4 * SIDE
        assert picture.height > 2 * SIDE
        assert PROMPTS[0] in picture.text["Description"]


def test_a_low_rank_student_of_an_sdxl_folder_comes_whole_and_as_a_lora(new, teachers, hpsv2, tmp_path):
    file, architecture = hpsv2
    reward = ["--reward", "hpsv2", "--reward-weights", file, "--reward-setting", f"architecture={architecture}"]
    out = tmp_path / "student"
    assert new(teachers["sdxl"], out, *reward, "--lora", 3, "--lr", "1e-2", "--steps", 1) == 0
    assert images(out / "pipeline", 2).shape == (2, 3, SIDE, SIDE)
    assert moved(out / "pipeline", teachers["sdxl"]) > 1e-5
    pipe = DiffusionPipeline.from_pretrained(teachers["sdxl"], local_files_only=True)
    pipe.load_lora_weights(out / "lora")
    pipe.fuse_lora()
    merged, name = load_file(out / "pipeline" / UNET), "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    fused = pipe.unet.get_submodule(name)
    fused = getattr(fused, "base_layer", fused).weight
    torch.testing.assert_close(fused.detach(), merged[f"{name}.weight"])
    asked = load(out / "config").run("student", "own", 0).system
    assert (asked.numbers.steps, asked.numbers.first) == (1, 0.6)  # as DMD2 asks SDXL for one step


def test_a_stopped_run_goes_on_by_the_same_command_and_ends_in_the_same_student(
    new, teachers, amd_flags, student, tmp_path, capsys
):
    out = tmp_path / "stopped"
    assert new(teachers["sd15"], out, *amd_flags, "--budget", 0) == STOPPED
    assert "run the same command again" in capsys.readouterr().err
    assert not (out / "pipeline").exists()
    assert new(teachers["sd15"], out, *amd_flags) == 0
    assert "from iteration 1 to 2" in capsys.readouterr().err
    assert (out / "pipeline" / UNET).read_bytes() == (student / "pipeline" / UNET).read_bytes()
    # fewer rows at a time are the same student, which is there
    assert new(teachers["sd15"], out, *amd_flags, "--micro-batch", 2) == 0
    assert "finished already" in capsys.readouterr().out


def test_what_would_make_another_student_is_refused_in_a_folder_that_was_begun(
    new, teachers, amd_flags, student, tmp_path, capsys
):
    assert new(teachers["sd15"], student, *amd_flags, "--lr", "2e-3", "--cfg", 3, "--dry-run") == 2
    said = capsys.readouterr().err
    assert "--lr: 0.001 then, 0.002 now" in said
    assert "--cfg: None then, 3.0 now" in said
    assert "--batch" not in said
    other = tmp_path / "other prompts.txt"
    other.write_text("a cat\n")
    assert new(teachers["sd15"], student, *amd_flags, "--prompts", other) == 2
    assert "--prompts: " in capsys.readouterr().err
    assert new(teachers["sd15"], student, *amd_flags, "--seed", 1, "--dry-run") == 2
    assert "--seed: 0 then, 1 now" in capsys.readouterr().err


def test_an_edit_is_not_overwritten_and_the_other_verbs_train_it(new, teachers, amd_flags, student, tmp_path, capsys):
    out = tmp_path / "edited"
    shutil.copytree(student, out, symlinks=True)
    system = out / "config/systems/student.yaml"
    system.write_text(system.read_text().replace("s: 0.5", "s: 0.1"))
    assert new(teachers["sd15"], out, *amd_flags) == 2
    assert f"{system} was edited" in capsys.readouterr().err
    folder = "checkpoints/own/student/seed0"
    with chdir(out):
        run = ["--system", "student", "--seed", "0"]
        assert main(["distill", *run, "--out", folder, "--state", "state/edited"]) == 0
        assert main(["export", *run, "--teacher", "assets/teacher", "--out", "pipeline"]) == 0
    assert load_file(out / "pipeline" / UNET).keys() == load_file(student / "pipeline" / UNET).keys()
    assert (out / "pipeline" / UNET).read_bytes() != (student / "pipeline" / UNET).read_bytes()


def test_the_other_verbs_repeat_what_it_did(student, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(student, out, symlinks=True)
    with chdir(out):
        run = ["--system", "student", "--seed", "0"]
        folder = "checkpoints/own/student/seed0"
        assert main(["distill", *run, "--out", folder, "--state", "state/again"]) == 0
        assert "finished already" in capsys.readouterr().out
        assert main(["sample", *run, "--benchmark", "preview", "--out", "results/preview"]) == 0
        assert main(["export", *run, "--teacher", "assets/teacher", "--out", "again"]) == 0
    assert json.loads((out / "results/preview/manifest.json").read_text())["n"] == 4
    assert (out / "again" / UNET).read_bytes() == (student / "pipeline" / UNET).read_bytes()


def test_a_method_without_a_reward_wants_none_and_a_dry_run_trains_nothing(new, teachers, tmp_path, capsys):
    out = tmp_path / "dry"
    assert new(teachers["sdxl"], out, "--method", "magic", "--dry-run", sizes=["--iterations", "7"]) == 0
    said = capsys.readouterr().out
    assert "method: magic" in said
    assert "iterations: {long: 7}" in said
    assert "Estimate: " in said
    assert not (out / "checkpoints").exists()
    run = load(out / "config").run("student", "own", 0)
    assert (run.system.lora.rank, run.system.lora.scale) == (32, 2.0)  # DMDR's, whose branch its teacher borrows
    assert (run.sizes.group, run.sizes.lr, run.cfg_weight) == (1, 5e-7, 8.0)
    # nothing has begun, so that other flags are no refusal
    assert new(teachers["sdxl"], out, "--method", "d-dmd", "--dry-run", sizes=[]) == 0
    assert load(out / "config").run("student", "own", 0).system.method == "d-dmd"


def test_a_discriminator_sees_the_pictures_that_images_names(new, teachers, tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for shade in range(3):
        Image.new("RGB", (20, 24), (80 * shade, 0, 0)).save(folder / f"{shade}.png")
    lines = [json.dumps({"file": f"{shade}.png", "caption": f"red {shade}"}) for shade in range(3)]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    flags = ["--method", "dmd2", "--images", folder / "captions.jsonl", "--iterations", 1, "--steps", 1, "--samples", 1]
    assert new(teachers["sd15"], out, *flags) == 0
    assert moved(out / "pipeline", teachers["sd15"]) > 0
    journal = next((out / "state/own/student").glob("*/journal.jsonl")).read_text()
    assert "critic" in journal


def test_a_teacher_in_shards_is_the_same_teacher(new, teachers, amd_flags, student, tmp_path):
    folder, out = tmp_path / "sharded", tmp_path / "out"
    shutil.copytree(teachers["sd15"], folder)
    shutil.rmtree(folder / "unet")
    pipe = DiffusionPipeline.from_pretrained(teachers["sd15"], local_files_only=True)
    pipe.unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    assert new(folder, out, *amd_flags, "--dry-run") == 0
    made = "checkpoints/own/teacher/seed0"
    with chdir(out):
        assert main(["pretrain", "--system", "teacher", "--seed", "0", "--out", made, "--state", "state/teacher"]) == 0
    mine, theirs = (load_file(where / made / "teacher.safetensors") for where in (out, student))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["--reward: missing", "hpsv2, pickscore, imagereward, clip-score", "d-dmd"]),
        (["--reward", "hpsv1"], ["'hpsv1' is no reward; did you mean 'hpsv2'?"]),
        (["--method", "amdd"], ["'amdd' is no method; did you mean 'amd'?"]),
        (["--method", "dmd"], ["--method: 'dmd' regresses on pairs", "dmd-pure"]),
        (["--method", "dmd2"], ["--images: missing", "captions.jsonl"]),
        (["--reward", "hpsv2", "--group", "1"], ["--group: 1 will not do"]),
        (["--reward", "hpsv2", "--batch", "7"], ["--batch: 7 is no multiple of --group 2"]),
        (["--reward", "hpsv2", "--micro-batch", "3"], ["--micro-batch: 3 does not divide --batch 4"]),
        (["--reward", "hpsv2", "--micro-batch", "1"], ["--micro-batch: 1 rows on 1 process hold no", "group of 2"]),
        (["--method", "d-dmd", "--prompts", "nowhere.txt"], ["--prompts: nowhere.txt: no such file"]),
        (["--method", "d-dmd", "--teacher", "nowhere"], ["nowhere/model_index.json: no such file"]),
        (
            ["--reward", "imagereward", "--reward-weights", "nowhere"],
            ["--reward-weights: nowhere has no ImageReward.pt", "med_config.json"],
        ),
    ],
)
def test_what_will_not_do_is_refused_before_anything_is_trained(new, teachers, tmp_path, capsys, flags, words):
    assert new(teachers["sd15"], tmp_path / "out", *flags) == 2
    said = capsys.readouterr().err
    assert [word for word in words if word not in said] == []
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_reward_that_is_nowhere_is_named_with_where_to_put_it(new, teachers, tmp_path, capsys):
    """clip-score's weights have an address, which is left out here: nothing is fetched by a test."""
    config = tmp_path / "config"
    shutil.copytree(Path(__file__).parents[2] / "config", config)
    choice = config / "config.yaml"
    choice.write_text(choice.read_text().replace("mirror: null", f"mirror: {tmp_path / 'mirror'}"))
    sdxl = config / "domains/sdxl.yaml"
    lines = [line for line in sdxl.read_text().split("\n") if "resolve/main/HPS_v2.1" not in line]
    sdxl.write_text("\n".join(lines))
    assert new(teachers["sd15"], tmp_path / "out", "--reward", "hpsv2", "--config", config) == 2
    said = capsys.readouterr().err
    assert "hpsv2/HPS_v2.1_compressed.pt is nowhere" in said
    assert f"Put it at {tmp_path / 'mirror'}/hpsv2/HPS_v2.1_compressed.pt" in said
    assert "--reward-weights" in said
    assert new(teachers["sd15"], tmp_path / "out", "--reward", "hpsv2", "--config", config, "--dry-run") == 0
    assert "hpsv2/HPS_v2.1_compressed.pt is not on this machine" in capsys.readouterr().out


def test_a_folder_of_something_else_is_left_alone(new, teachers, amd_flags, tmp_path, capsys):
    (tmp_path / "config").mkdir()
    assert new(teachers["sd15"], tmp_path, *amd_flags) == 2
    assert "is there and not of this verb" in capsys.readouterr().err


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # no name is broken at its hyphen
    with pytest.raises(SystemExit) as left:
        main(["new", "--help"])
    assert left.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    flags = (
        "teacher prompts reward method steps iterations batch micro-batch group lr cfg lora precision seed out dry-run"
    )
    for flag in (f"--{name}" for name in flags.split()):
        assert f"{flag} " in said
    for default in ("default: amd", "default: 4)", "default: 4000", "default: 32", "default: bfloat16", "default: 8)"):
        assert default in said
    assert "amd-without-sharpening" in said
