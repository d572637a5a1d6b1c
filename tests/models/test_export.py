"""Tiny random Stable Diffusion folders, saved by diffusers: read as our parts, and students written back as folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, LCMScheduler
from pipelines import SIZES, save
from safetensors.torch import load_file, save_file
from torch import Tensor

from amd.backbones.adapters import add_lora, low_rank, view
from amd.backbones.pipeline import Pipeline, read_pipeline
from amd.backbones.unet import UNetBackbone
from amd.config.schema.sizes import UNetSize
from amd.distill.rollout import backward_simulation
from amd.distill.types import Cast, Conditioning
from amd.export import LORA, export, export_lora, scheduler, timesteps

PROMPTS = ["two red apples left of a green book", "a heart"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, Path]:
    """kind -> a folder that diffusers wrote."""
    return save(tmp_path_factory.mktemp("pipelines"))


@pytest.fixture(params=list(SIZES))
def teacher(request, saved) -> Path:
    return saved[request.param]


def trained(pipeline: Pipeline) -> UNetBackbone:
    """A student: the teacher, moved."""
    student = pipeline.backbone()
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1 + 0.05 * torch.randn(parameter.shape, generator=draw))
    return student


class InOrder:
    """Normal draws one after the other from one generator, as a pipeline draws its own."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(len(PROMPTS), *shape, generator=self.generator)


def ours(pipeline: Pipeline, student: UNetBackbone, steps: int, first: float = 0.0) -> Tensor:
    """Our rollout's pictures (B, 3, H, H) in [0, 1]."""
    cond = pipeline.encoder()(PROMPTS)
    cast = Cast(student, student, student, student.native_loss, student.path, 1.0)
    roll = backward_simulation(steps=steps, eta=1.0, first=first)
    with torch.no_grad():
        shape = (pipeline.channels, pipeline.side, pipeline.side)
        x = roll(cast, Conditioning(cond, cond, 1), shape, InOrder(11), False, True).x
        return (pipeline.autoencoder().decode(x) / 2 + 0.5).clamp(0, 1)


def theirs(pipe: DiffusionPipeline, **how: object) -> Tensor:
    """A stock pipeline's pictures (B, 3, H, H) in [0, 1], from its own noise."""
    pipe.set_progress_bar_config(disable=True)
    return pipe(PROMPTS, guidance_scale=1, generator=torch.Generator().manual_seed(11), output_type="pt", **how).images


def same(images: Tensor, expected: Tensor) -> None:
    """Equal pictures: x0 is float32 in the scheduler and float64 here, and at level 999 it is divided by 0.07."""
    assert images.shape == expected.shape
    assert expected.std() > 0.05  # pictures, not a flat colour
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-3)
    bytes_ = [(x * 255).round() for x in (images, expected)]
    assert (bytes_[0] == bytes_[1]).float().mean() > 0.99


# --- in --------------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_our_parts(teacher):
    pipeline = read_pipeline(teacher)
    assert pipeline.kind == teacher.name
    assert pipeline.size == SIZES[teacher.name]
    assert (pipeline.channels, pipeline.side, pipeline.pixels, pipeline.scaling) == (4, 8, 16, 0.3)
    stock = DiffusionPipeline.from_pretrained(teacher)
    ours, own = pipeline.backbone().network.state_dict(), stock.unet.state_dict()
    assert ours.keys() == own.keys()
    assert all(torch.equal(ours[name], own[name]) for name in own)


def test_shards_and_an_fp16_variant_are_the_same_network(teacher, tmp_path):
    stock = DiffusionPipeline.from_pretrained(teacher)
    for name, how in (("shards", {"max_shard_size": "100KB"}), ("half", {"variant": "fp16"})):
        shutil.copytree(teacher, tmp_path / name)
        shutil.rmtree(tmp_path / name / "unet")
        stock.unet.save_pretrained(tmp_path / name / "unet", **how)
        assert not (tmp_path / name / "unet" / "diffusion_pytorch_model.safetensors").exists()
        read = read_pipeline(tmp_path / name).backbone()
        assert all(
            torch.equal(tensor, stock.unet.state_dict()[key]) for key, tensor in read.network.state_dict().items()
        )


def test_published_configurations_are_read(tmp_path, saved):
    published = {  # unet/config.json of stable-diffusion-xl-base-1.0 and stable-diffusion-v1-5, as they lie there
        "sdxl": {
            "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.19.0.dev0", "act_fn": "silu",
            "addition_embed_type": "text_time", "addition_embed_type_num_heads": 64, "addition_time_embed_dim": 256,
            "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "center_input_sample": False,
            "class_embed_type": None, "class_embeddings_concat": False, "conv_in_kernel": 3, "conv_out_kernel": 3,
            "cross_attention_dim": 2048, "cross_attention_norm": None, "downsample_padding": 1,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "dual_cross_attention": False, "encoder_hid_dim": None, "encoder_hid_dim_type": None,
            "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
            "mid_block_only_cross_attention": None, "mid_block_scale_factor": 1,
            "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05, "norm_num_groups": 32,
            "num_attention_heads": None, "num_class_embeds": None, "only_cross_attention": False, "out_channels": 4,
            "projection_class_embeddings_input_dim": 2816, "resnet_out_scale_factor": 1.0,
            "resnet_skip_time_act": False, "resnet_time_scale_shift": "default", "sample_size": 128,
            "time_cond_proj_dim": None, "time_embedding_act_fn": None, "time_embedding_dim": None,
            "time_embedding_type": "positional", "timestep_post_act": None, "transformer_layers_per_block": [1, 2, 10],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "upcast_attention": None,
            "use_linear_projection": True,
        },
        "sd15": {
            "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu",
            "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": False,
            "cross_attention_dim": 768, "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0,
            "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], "in_channels": 4,
            "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32,
            "out_channels": 4, "sample_size": 64, "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        },
    }  # fmt: skip
    found = {}
    for kind, config in published.items():
        folder = tmp_path / kind
        shutil.copytree(saved[kind], folder)
        (folder / "unet" / "config.json").write_text(json.dumps(config))
        found[kind] = read_pipeline(folder)
    assert found["sdxl"].size == UNetSize(
        channels=[320, 640, 1280], layers=2, transformers=[0, 2, 10], heads=[5, 10, 20], context=2048, pooled=1280,
        linear_projection=True,
    )  # fmt: skip
    assert found["sd15"].size == UNetSize(
        channels=[320, 640, 1280, 1280], layers=2, transformers=[1, 1, 1, 0], heads=[8] * 4, context=768
    )
    assert (found["sdxl"].side, found["sd15"].side) == (128, 64)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "_class_name is 'FluxPipeline'"),
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "prediction_type is 'v_prediction'"),
        ("scheduler/scheduler_config.json", {"beta_end": 0.02}, r"beta_end is 0\.02"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is True"),
        ("unet/config.json", {"in_channels": 9}, "in_channels is 9 and out_channels 4: a UNet for inpainting"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "time_cond_proj_dim is 256"),
        ("unet/config.json", {"upcast_attention": True}, "upcast_attention is True"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
        ("unet/config.json", {"flip_sin_to_cos": False}, "flip_sin_to_cos is False"),
        ("unet/config.json", {"block_out_channels": [16, 20]}, "multiple of"),
        ("unet/config.json", {"layers_per_block": [1, 2]}, r"layers_per_block is \[1, 2\]"),
        ("unet/config.json", {"addition_time_embed_dim": 8}, "addition_time_embed_dim is 8"),
        ("unet/config.json", {"sample_size": [8, 12]}, r"sample_size is \[8, 12\]"),
        ("unet/config.json", {"a_key_of_tomorrow": 3}, "a_key_of_tomorrow is 3"),
        ("vae/config.json", {"latent_channels": 16}, "latent_channels is 16"),
        ("vae/config.json", {"shift_factor": 0.1}, r"shift_factor is 0\.1"),
    ],
)
def test_what_we_cannot_train_is_refused_by_file_key_and_value(saved, tmp_path, file, change, said):
    folder = tmp_path / "other"
    shutil.copytree(saved["sdxl"], folder)
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=rf"{file}.*{said}"):
        read_pipeline(folder)


def test_what_is_missing_or_does_not_fit_is_named(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        read_pipeline(tmp_path)
    folder = tmp_path / "other"
    shutil.copytree(saved["sdxl"], folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if name != "conv_in.bias"}, file)
    with pytest.raises(ValueError, match=r"unet: .*1 missing: conv_in\.bias"):
        read_pipeline(folder).backbone()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"unet: no diffusion_pytorch_model\.safetensors"):
        read_pipeline(folder).backbone()


# --- out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_scheduler_asks_where_the_rollout_asks(steps):
    stock = scheduler()
    stock.set_timesteps(steps)
    assert stock.timesteps.tolist() == timesteps(steps)


def test_levels_are_dmd2s():
    assert timesteps(4) == [999, 749, 499, 249]
    assert timesteps(1) == [999]
    assert timesteps(1, 0.6) == [399]


@pytest.mark.parametrize("steps", [1, 4])
def test_stock_diffusers_makes_the_pictures_of_our_rollout(teacher, tmp_path, steps):
    pipeline = read_pipeline(teacher)
    student = trained(pipeline)
    export(student.state_dict(), teacher, tmp_path / "student", steps=steps, about="AMD, tiny")
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "student")
    assert isinstance(pipe.scheduler, LCMScheduler)
    expected = ours(pipeline, student, steps)
    same(theirs(pipe, num_inference_steps=steps), expected)
    assert not torch.allclose(expected, ours(pipeline, pipeline.backbone(), steps), atol=1e-2)  # not the teacher's


def test_a_step_from_another_level_is_in_the_readme(teacher, tmp_path):
    pipeline = read_pipeline(teacher)
    student = trained(pipeline)
    export(student.state_dict(), teacher, tmp_path / "student", steps=1, first=0.6)
    assert 'pipe("a red apple", timesteps=[399], guidance_scale=1)' in (tmp_path / "student" / "README.md").read_text()
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "student")
    same(theirs(pipe, timesteps=[399]), ours(pipeline, student, 1, 0.6))


def test_the_readmes_lines_run(teacher, tmp_path):
    student = trained(read_pipeline(teacher))
    export(student.state_dict(), teacher, tmp_path / "student", steps=4, about="AMD, tiny")
    text = (tmp_path / "student" / "README.md").read_text()
    assert "AMD, tiny" in text
    code = text.split("```python\n")[1].split("```")[0].replace("path/of/this/folder", str(tmp_path / "student"))
    found: dict[str, object] = {}
    exec(code, found)
    assert found["image"].size == (16, 16)
    assert found["pipe"].scheduler.timesteps.tolist() == [999, 749, 499, 249]


def lora(pipeline: Pipeline, scale: float) -> tuple[dict[str, Tensor], UNetBackbone]:
    """A student's state dict with branches that moved, and its view."""
    student = pipeline.backbone()
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for branch in add_lora(student, 3):
            branch.copy_(0.2 * torch.randn(branch.shape, generator=draw))
    return student.state_dict(), view(student, scale)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_lora_file_on_the_teacher_is_the_student(teacher, tmp_path, steps):
    pipeline = read_pipeline(teacher)
    state, student = lora(pipeline, 0.5)
    export_lora(state, tmp_path / "lora", kind=pipeline.kind, steps=steps, scale=0.5)
    pipe = DiffusionPipeline.from_pretrained(teacher)
    pipe.load_lora_weights(tmp_path / "lora")
    pipe.scheduler = LCMScheduler.from_pretrained(tmp_path / "lora", subfolder="scheduler")
    expected = ours(pipeline, student, steps)
    same(theirs(pipe, num_inference_steps=steps), expected)
    assert not torch.allclose(expected, ours(pipeline, pipeline.backbone(), steps), atol=1e-2)  # the branch is felt


def test_a_lora_file_has_every_branch_and_nothing_else(teacher, tmp_path):
    pipeline = read_pipeline(teacher)
    state, _ = lora(pipeline, 1.0)
    export_lora(low_rank(state), tmp_path / "lora", kind=pipeline.kind, steps=1)
    names = load_file(tmp_path / "lora" / LORA).keys()
    linear = {f"unet.{name[8:-7]}" for name in state if name.endswith(".lora_a")}
    assert names == {f"{name}.lora_{half}.weight" for name in linear for half in "AB"}


def test_branches_merge_into_a_folder(teacher, tmp_path):
    pipeline = read_pipeline(teacher)
    state, student = lora(pipeline, 0.5)
    export(state, teacher, tmp_path / "student", steps=1, scale=0.5)
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "student")
    same(theirs(pipe, num_inference_steps=1), ours(pipeline, student, 1))


def test_an_exported_folder_is_a_teacher_again(teacher, tmp_path):
    pipeline = read_pipeline(teacher)
    student = trained(pipeline)
    export(student.state_dict(), teacher, tmp_path / "student", steps=4)
    again = read_pipeline(tmp_path / "student")
    assert again.size == pipeline.size
    assert all(torch.equal(a, b) for a, b in zip(again.backbone().parameters(), student.parameters(), strict=True))


def test_half_precision_halves_the_file_and_an_older_folder_is_replaced(saved, tmp_path):
    student = trained(read_pipeline(saved["sd15"])).state_dict()
    out = tmp_path / "student"
    sizes = []
    for dtype in (torch.float32, torch.float16):
        export(student, saved["sd15"], out, steps=1, dtype=dtype)
        sizes.append((out / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size)
    assert 0.4 < sizes[1] / sizes[0] < 0.7  # names take room, too
    assert [folder.name for folder in tmp_path.iterdir()] == ["student"]


def _changed(folder: Path, change: Callable[[dict], dict]) -> None:
    file = folder / "model_index.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def test_mistakes_are_named_and_leave_nothing_in_place(saved, tmp_path):
    student, out = trained(read_pipeline(saved["sd15"])).state_dict(), tmp_path / "student"
    with pytest.raises(ValueError, match=r"eta 0\.5: LCMScheduler draws fresh noise"):
        export(student, saved["sd15"], out, steps=4, eta=0.5)
    with pytest.raises(ValueError, match="the student: its weights are not those"):
        export(student, saved["sdxl"], out, steps=4)
    with pytest.raises(ValueError, match="no low-rank branch"):
        export_lora(student, out, kind="sd15", steps=4)
    folder = tmp_path / "teacher"
    shutil.copytree(saved["sd15"], folder)
    _changed(folder, lambda index: index | {"../somewhere": ["diffusers", "AutoencoderKL"]})
    with pytest.raises(ValueError, match=r"model_index\.json: \.\./somewhere is no part"):
        export(student, folder, out, steps=4)
    _changed(folder, lambda index: {key: value for key, value in index.items() if "/" not in key})
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(FileNotFoundError, match="tokenizer: no such folder"):
        export(student, folder, out, steps=4)
    assert not out.exists()


def test_a_teacher_with_pickles_alone_is_refused_and_its_variants_are_named_plainly(saved, tmp_path):
    student, folder = trained(read_pipeline(saved["sd15"])).state_dict(), tmp_path / "teacher"
    shutil.copytree(saved["sd15"], folder)
    weights = folder / "text_encoder" / "model.safetensors"
    weights.rename(weights.with_name("model.fp16.safetensors"))
    export(student, folder, tmp_path / "out", steps=1)
    assert (tmp_path / "out" / "text_encoder" / "model.safetensors").is_file()
    weights.with_name("model.fp16.safetensors").unlink()
    weights.with_name("pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="text_encoder: no safetensors file"):
        export(student, folder, tmp_path / "out", steps=1)
