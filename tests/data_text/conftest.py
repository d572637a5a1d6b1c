"""Real prompt files, and tiny Stable Diffusion folders with the real CLIP tokenizer."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def mirror() -> Path:
    """A folder with the benchmarks' own prompt files, as `mirror:` in config/config.yaml would name it."""
    folder = Path(os.environ.get("AMD_MIRROR", "/nowhere"))
    if not (folder / "geneval" / "evaluation_metadata.jsonl").is_file():
        pytest.skip("AMD_MIRROR names no folder with geneval/, coco/, hpdv2/ and drawbench/")
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The cache folder that `amd.data.assets` uses in this test."""
    monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def clip_vocabulary(tmp_path_factory) -> Path:
    """vocab.json and merges.txt as OpenAI's CLIP repositories have them, out of the list that open_clip carries."""
    from open_clip.tokenizer import SimpleTokenizer

    assert find_spec("open_clip")
    tokenizer, folder = SimpleTokenizer(), tmp_path_factory.mktemp("clip")
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    ids = {names.get(piece, piece): number for piece, number in tokenizer.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(ids))
    merges = "\n".join(" ".join(pair) for pair in tokenizer.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return folder


def tiny_clip(seed: int, width: int, projection: int, act: str):
    """A config of CLIP's text tower with the real vocabulary; seed, width, size of the projection, activation."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3, num_attention_heads=4, vocab_size=49408,
        projection_dim=projection, hidden_act=act, bos_token_id=49406, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = (CLIPTextModelWithProjection if projection != width else CLIPTextModel)(config).eval()
    for parameter in network.parameters():  # far from transformers' start, where all prompts look alike
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


def tokenizer(vocabulary: Path, pad: str):
    """CLIP's, padding with `pad`."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(vocabulary, pad_token=pad, model_max_length=77)


@pytest.fixture(scope="session")
def sd15_pipeline(clip_vocabulary):
    """A tiny random StableDiffusionPipeline."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
    )  # fmt: skip
    return StableDiffusionPipeline(
        AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        tiny_clip(0, 32, 32, "quick_gelu"),
        tokenizer(clip_vocabulary, "<|endoftext|>"),
        unet,
        DDIMScheduler(clip_sample=False, steps_offset=1),
        None,
        None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="session")
def sdxl_pipeline(clip_vocabulary):
    """A tiny random StableDiffusionXLPipeline; its second tokenizer pads with "!", as the published one does."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=80,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 24, use_linear_projection=True,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        tiny_clip(1, 32, 32, "quick_gelu"),
        tiny_clip(2, 48, 24, "gelu"),
        tokenizer(clip_vocabulary, "<|endoftext|>"),
        tokenizer(clip_vocabulary, "!"),
        unet,
        EulerDiscreteScheduler(),
    )
