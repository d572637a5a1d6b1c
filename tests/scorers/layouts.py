"""What published scorers' files look like inside, small and random: names and shapes are their authors'."""

import gzip
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PROMPTS = [
    "a red apple left of a green book",
    "Two hearts, floating; above the sea!",
    "a red apple left of a green book",
]

MED = {  # med_config.json, smaller
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 80,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 40,
    "encoder_width": 48,
    "add_cross_attention": True,
}
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "red",
    "apple",
    "left",
    "of",
    "green",
    "book",
    "two",
    "heart",
]
WORDS += ["##s", ",", "float", "##ing", ";", "above", "the", "sea", "!", "x"]
WORDS += [f"[unused{i}]" for i in range(38 - len(WORDS))]  # and [DEC], [ENC] after them, as in bert-base-uncased


def to_uint8(pixels: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> uint8 (B, H, W, 3): the stored image."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def word_list(folder: Path) -> None:
    """CLIP's vocab.json and merges.txt, from the file that open_clip carries."""
    from open_clip.tokenizer import SimpleTokenizer, default_bpe

    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): index for word, index in SimpleTokenizer().encoder.items()}
    with gzip.open(default_bpe(), "rt") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


def reward_weights(
    width: int = 128, depth: int = 2, side: int = 48, med: dict = MED, scale: float = 0.2
) -> dict[str, Tensor]:
    """ImageReward.pt's keys, small and random; the widths of the MLP between the first and the last are published."""
    text, inner = med["hidden_size"], med["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "blip.visual_encoder.cls_token": (1, 1, width),
        "blip.visual_encoder.pos_embed": (1, 1 + (side // 16) ** 2, width),
        "blip.visual_encoder.patch_embed.proj.weight": (width, 3, 16, 16),
        "blip.visual_encoder.patch_embed.proj.bias": (width,),
        "blip.visual_encoder.norm.weight": (width,),
        "blip.visual_encoder.norm.bias": (width,),
        "blip.text_encoder.embeddings.word_embeddings.weight": (med["vocab_size"], text),
        "blip.text_encoder.embeddings.position_embeddings.weight": (med["max_position_embeddings"], text),
        "blip.text_encoder.embeddings.LayerNorm.weight": (text,),
        "blip.text_encoder.embeddings.LayerNorm.bias": (text,),
        "blip.vision_proj.weight": (256, width),
        "blip.vision_proj.bias": (256,),
        "blip.text_proj.weight": (256, text),
        "blip.text_proj.bias": (256,),
    }

    def linear(name: str, out: int, into: int) -> None:
        shapes.update({f"{name}.weight": (out, into), f"{name}.bias": (out,)})

    for i in range(depth):
        block = f"blip.visual_encoder.blocks.{i}"
        shapes |= {f"{block}.norm{n}.{part}": (width,) for n in (1, 2) for part in ("weight", "bias")}
        linear(f"{block}.attn.qkv", 3 * width, width)
        linear(f"{block}.attn.proj", width, width)
        linear(f"{block}.mlp.fc1", 4 * width, width)
        linear(f"{block}.mlp.fc2", width, 4 * width)
    for i in range(med["num_hidden_layers"]):
        layer = f"blip.text_encoder.encoder.layer.{i}"
        for kind, seen in (("attention", text), ("crossattention", width)):
            linear(f"{layer}.{kind}.self.query", text, text)
            linear(f"{layer}.{kind}.self.key", text, seen)
            linear(f"{layer}.{kind}.self.value", text, seen)
            linear(f"{layer}.{kind}.output.dense", text, text)
            shapes |= {f"{layer}.{kind}.output.LayerNorm.{part}": (text,) for part in ("weight", "bias")}
        linear(f"{layer}.intermediate.dense", inner, text)
        linear(f"{layer}.output.dense", text, inner)
        shapes |= {f"{layer}.output.LayerNorm.{part}": (text,) for part in ("weight", "bias")}
    widths = (text, 1024, 128, 64, 16, 1)
    for place, (into, out) in zip((0, 2, 4, 6, 7), pairwise(widths), strict=True):
        linear(f"mlp.layers.{place}", out, into)
    draw = torch.Generator().manual_seed(11)
    weights = {name: scale * torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    weights |= {name: 1 + tensor for name, tensor in weights.items() if re.search(r"[nN]orm\d?\.weight$", name)}
    # faint at first, so that it is felt by which epsilon the first norms divide
    weights |= {
        name: tensor / 100 for name, tensor in weights.items() if re.search(r"cls_token|pos_embed|patch_embed", name)
    }
    places = torch.arange(med["max_position_embeddings"]).expand(1, -1).clone()
    return weights | {"blip.text_encoder.embeddings.position_ids": places}
