"""What networks of image to video are told of a first frame, and the weights that their teacher begins from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from amd.config.load import Run, load
from amd.config.schema.assets import Asset, Autoencoder, Clip, ImageEncoder
from amd.train.conditions import NOBODY, Texts, asked_for
from amd.train.first_frame import Begun, begins, begun, pictures_of, with_grey
from amd.train.networks import blank
from amd.train.pretrain_tasks import widened
from amd.train.reward import build_codec

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teachers() -> tuple[Run, Run]:
    """Of text to video, of image to video."""
    library = load(ROOT / "config")
    return library.run("wan-teacher", "smoke", 0), library.run("wan-i2v-teacher", "smoke", 0)


def told(run: Run, rows: int, first: Tensor | None = None) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(3)
    cond = {"tokens": torch.randn(rows, 5, run.video.network.context, generator=draw)}
    return cond if first is None else cond | {"first": first}


def test_a_widened_teacher_says_what_the_text_to_video_teacher_says_whatever_the_first_frame(teachers):
    plain, wide = teachers
    start = blank(plain)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in start.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    grown = widened(wide, start.state_dict(), CPU)
    x = torch.randn(2, *plain.domain.latent_shape, generator=draw)
    t = torch.tensor([0.1, 0.7], dtype=torch.float64)
    said = start(x, t, told(plain, 2))
    first = torch.randn(2, *x[:, :, 0].shape[1:], generator=draw)
    torch.testing.assert_close(grown(x, t, told(wide, 2, first)), said)
    torch.testing.assert_close(grown(x, t, told(wide, 2, -first)), said)
    grown.native_loss(x, torch.randn(x.shape, generator=draw), t, told(wide, 2, first)).mean().backward()
    stem = grown.get_parameter("network.patch_embedding.weight")
    assert stem.grad is not None
    assert bool(stem.grad[:, x.shape[1] :].any())  # it can learn to look
    assert not bool(stem[:, x.shape[1] :].any())


def test_weights_of_another_size_are_no_start(teachers):
    plain, wide = teachers
    tensors = blank(plain).state_dict()
    tensors.pop("network.proj_out.weight")
    with pytest.raises(ValueError, match=r"wan-i2v-teacher.* 1 missing: network\.proj_out\.weight"):
        widened(wide, tensors, CPU)


def test_a_clips_first_frame_is_that_of_its_latents_under_the_shuffle(teachers):
    _, run = teachers
    pixels = torch.rand(2, *run.domain.pixel_shape) * 2 - 1
    codec = build_codec(run, CPU)
    assert codec is not None
    assert torch.equal(begins(run, CPU)(pixels[:, :, 0])["first"], codec.encode(pixels)[:, :, 0])


def test_prompts_are_told_their_own_pictures_each_made_once(teachers):
    _, run = teachers
    asked = begun(run, CPU, "train")
    taken = pictures_of(run, "train").take([2, 0, 2]).float() / 127.5 - 1
    assert torch.equal(asked(torch.tensor([2, 0, 2]))["first"], begins(run, CPU)(taken)["first"])
    assert set(asked.known) == {0, 2}
    calls = list[int]()
    fresh = Begun(asked.pictures, lambda pictures: calls.append(len(pictures)) or {"first": pictures}, kept=False)
    fresh(torch.tensor([1, 1]))
    fresh(torch.tensor([1, 0]))
    assert (calls, fresh.known) == ([1, 2], {})


def test_the_null_condition_takes_the_words_and_keeps_the_picture(teachers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where states of prompts are kept
    _, run = teachers
    asked = asked_for(run, CPU, "vbench-i2v")
    assert isinstance(asked, Texts)
    cond = asked.of(torch.tensor([3, 1]))
    null = asked.null(cond)
    assert cond.keys() == null.keys() >= {"prompt", "tokens", "first"}
    assert torch.equal(null["first"], cond["first"])
    assert not torch.equal(null["tokens"], cond["tokens"])
    assert null["prompt"].tolist() == [NOBODY] * 2
    assert cond["first"].shape == (2, run.domain.latents[0], *run.domain.latent_shape[2:])


def test_prompts_without_pictures_are_refused_by_name(teachers):
    _, run = teachers
    bare = run.domain.prompts["train"].model_copy(update={"source": "emoji-train"})
    domain = run.domain.model_copy(update={"prompts": run.domain.prompts | {"train": bare}})
    with pytest.raises(ValueError, match=r"domains/clips-i2v.yaml: prompts.train: prompt 'an? .*' comes without"):
        pictures_of(replace(run, domain=domain), "train")


def test_wans_autoencoder_sees_grey_behind_the_frame_and_clip_sees_the_frame(teachers, tmp_path, monkeypatch):
    monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[2.0] * 4
    )
    vae.save_pretrained(tmp_path / "vae")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(image_size=28, patch_size=14, **sizes)).save_pretrained(tmp_path / "clip")
    file = Asset(file="vae/diffusion_pytorch_model.safetensors")
    seen = [Asset(file=f"clip/{name}") for name in ("config.json", "model.safetensors")]
    changed = {
        "autoencoder": Autoencoder(kind="wan", asset=file),
        "image_encoder": ImageEncoder(assets=seen),
        "pixels": (3, 16),
        "clip": Clip(frames=5, width=24, latent_frames=2, latent_width=3, fps=8),
    }
    run = replace(teachers[1], domain=teachers[1].domain.model_copy(update=changed), mirror=str(tmp_path))
    pictures = torch.rand(2, 3, 16, 24) * 2 - 1
    found = begins(run, CPU)(pictures)
    codec = build_codec(run, CPU)
    assert codec is not None
    clip = torch.zeros(2, 3, 5, 16, 24)
    clip[:, :, 0] = pictures
    assert torch.equal(with_grey(pictures, 4), clip)
    torch.testing.assert_close(found["first"], codec.encode(clip))
    assert found["first"].shape == (2, 4, 2, 2, 3)
    assert found["image"].shape == (2, 5, 16)
