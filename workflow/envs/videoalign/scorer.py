"""VideoAlign by its authors' code, which is no package: the files of KwaiVGI/VideoAlign@219ab9d, believed by hash.

Attention is torch's own (sdpa): the released inference.py asks for flash-attn without asking whether it is there. Its
normalisation is asserted: without the constants in model_config.json it would return raw outputs. bfloat16 as released.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CODE = (
    "data.py",
    "inference.py",
    "prompt_template.py",
    "train_reward.py",
    "trainer.py",
    "utils.py",
    "vision_process.py",
)
REWARD = ("model_config.json", "model.pth")  # of KwaiVGI/VideoReward, checkpoint-11352
QWEN = (  # Qwen/Qwen2-VL-2B-Instruct
    *("config.json", "generation_config.json", "preprocessor_config.json", "chat_template.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
)
SCALES = {
    "VQ_mean": 3.6757,
    "VQ_std": 2.2476,
    "MQ_mean": 1.1646,
    "MQ_std": 1.3811,
    "TA_mean": 2.8105,
    "TA_std": 2.5121,
}
"""What the checkpoint's inference_config has to say."""


def needs(dimension: str | None) -> list[str]:
    """Names of the files that are read."""
    return [*CODE, *REWARD, *QWEN]


def score(asked: Mapping[str, Any]) -> tuple[list[dict[str, float]], str]:
    """Per sample {"vq", "mq", "ta"}, and how they were measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for group, names in (("code", CODE), ("qwen", QWEN)):
            (folder / group).mkdir()
            for each in names:
                (folder / group / each).symlink_to(asked["files"][each])
        config = configured(json.loads(Path(asked["files"]["model_config.json"]).read_text()), folder / "qwen")
        scorer = build(folder / "code", config, asked["files"]["model.pth"], asked["device"])
        values = []
        for sample in asked["samples"]:
            (found,) = scorer.reward([sample["video"]], [sample["prompt"]], use_norm=True)
            values.append({part: float(found[part.upper()]) for part in ("vq", "mq", "ta")})
    return values, "videoalign-219ab9d sdpa bfloat16"


def configured(config: dict[str, Any], qwen: Path) -> dict[str, Any]:
    """The checkpoint's configuration, its base model found in a folder. SystemExit for other scales than SCALES."""
    said = config.get("inference_config") or {}
    if wrong := [key for key, value in SCALES.items() if said.get(key) != value]:
        raise SystemExit(
            f"model_config.json: inference_config.{wrong[0]} is {said.get(wrong[0])}, published is {SCALES[wrong[0]]}; "
            "without these numbers the outputs would not be normalised"
        )
    return config | {"model_config": config["model_config"] | {"model_name_or_path": str(qwen)}}


def build(code: Path, config: dict[str, Any], weights: str, device: str) -> Any:
    """Its VideoVLMRewardInference, put together without its constructor, which fixes flash-attn and unpickles."""
    import torch

    sys.path.insert(0, str(code))
    from data import DataConfig
    from inference import VideoVLMRewardInference
    from train_reward import create_model_and_processor
    from utils import ModelConfig, PEFTLoraConfig, TrainingConfig

    data = {key: value for key, value in config["data_config"].items() if key not in ("meta_data", "data_dir")}
    with tempfile.TemporaryDirectory() as scratch:
        model, processor, _ = create_model_and_processor(
            model_config=ModelConfig(**config["model_config"]),
            peft_lora_config=PEFTLoraConfig(**config["peft_lora_config"]),
            training_args=TrainingConfig(output_dir=scratch, disable_flash_attn2=True, gradient_checkpointing=False),
        )
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    scorer = VideoVLMRewardInference.__new__(VideoVLMRewardInference)
    scorer.device, scorer.processor, scorer.data_config = device, processor, DataConfig(**data)
    scorer.inference_config = config["inference_config"]
    scorer.model = model.to(torch.bfloat16).eval().to(device).requires_grad_(False)
    return scorer
