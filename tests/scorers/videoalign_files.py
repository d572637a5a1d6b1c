"""VideoReward's and Qwen2-VL's files as published: names and layout are their authors', sizes small, values drawn."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from amd.rewards import resize

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "videoalign_scores.json").read_text())
WIDTH, INNER, HEADS, LAYERS, KEYS = 32, 48, 2, 2, 16  # of the language model; KEYS: one head's width
EYE, DEPTH = 32, 2  # of the image tower
RANK, ALPHA = 4, 12
SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
WORDS = 256 + len(GOLDEN["merges"])
TOKENS = WORDS + len(SPECIAL) + 3  # with the reward tokens

RECIPE = {
    "data_config": {
        "meta_data": "train.csv",
        "data_dir": "data",
        "max_frame_pixels": 200704,
        "num_frames": None,
        "fps": 2.0,
        "eval_dim": ["VQ", "MQ", "TA"],
        "prompt_template_type": "detailed_special",
        "sample_type": "uniform",
    },
    "model_config": {
        "model_name_or_path": "Qwen/Qwen2-VL-2B-Instruct",
        "output_dim": 1,
        "use_special_tokens": True,
        "torch_dtype": "bfloat16",
        "reward_token": "special",
        "loss_type": "btt",
    },
    "peft_lora_config": {
        "lora_enable": True,
        "vision_lora": False,
        "lora_r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.05,
        "lora_namespan_exclude": ["lm_head", "rm_head", "embed_tokens", "visual"],
        "lora_modules_to_save": None,
        "lora_task_type": "CAUSAL_LM",
        "use_rslora": False,
        "num_lora_modules": -1,
    },
    "inference_config": {"VQ_mean": 0.5, "VQ_std": 2.0, "MQ_mean": -0.3, "MQ_std": 1.5, "TA_mean": 1.2, "TA_std": 0.7},
}
CONFIG = {  # flat, as transformers 4 saves it
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "model_type": "qwen2_vl",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 1,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "max_window_layers": LAYERS,
    "use_sliding_window": False,
    "sliding_window": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "vocab_size": TOKENS + 20,  # rows that no token has, as in the published one
    "bos_token_id": WORDS,
    "eos_token_id": WORDS + 2,
    "vision_start_token_id": WORDS + 3,
    "vision_end_token_id": WORDS + 4,
    "vision_token_id": WORDS + 5,
    "image_token_id": WORDS + 6,
    "video_token_id": WORDS + 7,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vision_config": {
        "model_type": "qwen2_vl",
        "depth": DEPTH,
        "embed_dim": EYE,
        "hidden_size": WIDTH,
        "num_heads": 2,
        "mlp_ratio": 2,
        "in_chans": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
}
PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2VLProcessor",
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": list(resize.MEAN),
    "image_std": list(resize.STD),
}
TEMPLATE = (  # Qwen2-VL's, as far as one question about one video goes
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
    "{% if content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def weights(rows: int = 1) -> dict[str, Tensor]:
    """model.pth: keys of peft 0.10 around transformers 4.45's Qwen2VLForConditionalGeneration, bfloat16."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (TOKENS, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (TOKENS, WIDTH),
        "rm_head.weight": (rows, WIDTH),
        "visual.patch_embed.proj.weight": (EYE, 3, 2, 14, 14),
        "visual.merger.ln_q.weight": (EYE,),
        "visual.merger.ln_q.bias": (EYE,),
    }

    def linear(name: str, out: int, into: int, *, bias: bool = True, branch: bool = False) -> None:
        base = f"{name}.base_layer" if branch else name
        shapes[f"{base}.weight"] = (out, into)
        if bias:
            shapes[f"{base}.bias"] = (out,)
        if branch:
            shapes[f"{name}.lora_A.default.weight"] = (RANK, into)
            shapes[f"{name}.lora_B.default.weight"] = (out, RANK)

    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        for part, out in (("q", WIDTH), ("k", KEYS), ("v", KEYS)):
            linear(f"{layer}.self_attn.{part}_proj", out, WIDTH, branch=True)
        linear(f"{layer}.self_attn.o_proj", WIDTH, WIDTH, bias=False, branch=True)
        linear(f"{layer}.mlp.gate_proj", INNER, WIDTH, bias=False, branch=True)
        linear(f"{layer}.mlp.up_proj", INNER, WIDTH, bias=False, branch=True)
        linear(f"{layer}.mlp.down_proj", WIDTH, INNER, bias=False, branch=True)
        shapes |= {f"{layer}.{norm}_layernorm.weight": (WIDTH,) for norm in ("input", "post_attention")}
    for i in range(DEPTH):
        block = f"visual.blocks.{i}"
        linear(f"{block}.attn.qkv", 3 * EYE, EYE)
        linear(f"{block}.attn.proj", EYE, EYE)
        linear(f"{block}.mlp.fc1", 2 * EYE, EYE)
        linear(f"{block}.mlp.fc2", EYE, 2 * EYE)
        shapes |= {f"{block}.norm{n}.{part}": (EYE,) for n in (1, 2) for part in ("weight", "bias")}
    linear("visual.merger.mlp.0", 4 * EYE, 4 * EYE)
    linear("visual.merger.mlp.2", WIDTH, 4 * EYE)

    draw = torch.Generator().manual_seed(7)
    drawn = {name: 0.25 * torch.randn(shape, generator=draw) for name, shape in sorted(shapes.items())}
    drawn |= {name: 1 + drawn[name] for name in drawn if "norm" in name and name.endswith("weight")}
    drawn["visual.patch_embed.proj.weight"] /= 8  # of 1,176 numbers in a patch
    drawn["rm_head.weight"] *= 4
    return {f"base_model.model.{name}": tensor.bfloat16() for name, tensor in drawn.items()}


def save_tokenizer(file: Path) -> None:
    """tokenizer.json: byte-level BPE of few merges, and Qwen2-VL's special tokens as far as VideoAlign uses them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(pair.split()) for pair in GOLDEN["merges"]]
    listed = {word: place for place, word in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    made = Tokenizer(models.BPE(vocab=listed, merges=merges))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    made.save(str(file))


def save(folder: Path, rows: int = 1) -> None:
    """The five files that a VideoAlign is built from."""
    torch.save(weights(rows), folder / "model.pth")
    (folder / "model_config.json").write_text(json.dumps(RECIPE))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    save_tokenizer(folder / "tokenizer.json")


def save_base(folder: Path) -> None:
    """What the authors' code reads besides: Qwen2-VL's own weights in two parts, and its processor's files."""
    bare = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): tensor
        for name, tensor in weights().items()
        if not any(part in name for part in ("lora_", "rm_head", "lm_head"))
    }
    rows = bare["model.embed_tokens.weight"]
    beyond = torch.zeros(CONFIG["vocab_size"] - len(rows), WIDTH, dtype=rows.dtype)
    bare["model.embed_tokens.weight"] = torch.cat([rows, beyond])
    names, place = sorted(bare), {}
    for part in (0, 1):
        file = f"model-0000{part + 1}-of-00002.safetensors"
        own = names[part::2]
        save_file({name: bare[name].contiguous() for name in own}, folder / file, metadata={"format": "pt"})
        place |= dict.fromkeys(own, file)
    size = sum(tensor.nbytes for tensor in bare.values())
    index = {"metadata": {"total_size": size}, "weight_map": place}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "generation_config.json").write_text("{}")
    words = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(words["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, words["merges"])]))
    told = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": SPECIAL[1:],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))


def clips() -> Tensor:
    """Three clips of the size that the network sees, uint8 (3, 3, 8, 336, 336)."""
    draw = torch.Generator().manual_seed(3)
    coarse = torch.randint(256, (3, 3, 8, 24, 24), generator=draw).repeat_interleave(14, 3).repeat_interleave(14, 4)
    slope = 5 * torch.arange(336)[:, None] + 11 * torch.arange(336)
    return ((coarse + slope) % 256).byte()
