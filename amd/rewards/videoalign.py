"""VideoAlign's VideoReward: a Qwen2-VL-2B that looks at a clip, is told the prompt, and is read at three tokens.

KwaiVGI/VideoAlign@219ab9d (MIT): train_reward.py, trainer.py (Qwen2VLRewardModelBT), inference.py, under transformers
4.45.2. Here the same network is transformers 5's Qwen2VLModel, read under the published key names of
huggingface.co/KwaiVGI/VideoReward, whose low-rank branches are added to the weights. Four things are easy to miss:

- Tokens stand at 0, 1, 2, ... as in a text: the original never asks Qwen2-VL for its three-dimensional positions.
- The rotary frequencies are rounded to bfloat16, and on the image side angles and cosines too: `model.to(bfloat16)`
  took the buffers along, in training as in scoring. At token 1,000 that is another angle altogether.
- The head is read where the reward tokens themselves stand, not one before, on states after the last norm.
- Scores in bfloat16 are a hundredth apart; the head's product is float32 here, so that clips of a group differ.

Memory: the weights are 4.4 GB in bfloat16, twice that in float32; loading holds the file's 5 GB besides. Without a
graph a clip of 10 frames of 336 x 588 (81 frames of 480 x 832) adds about 0.2 GB, with one about 11 GB; a row of a
batch is 14 TFLOPs.
Shapes: pixels (B, 3, F, H, W) in [-1, 1].
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from amd.config.served import FPS
from amd.rewards import resize, videoalign_frames
from amd.rewards.published import install, sha256, state_dict
from amd.rewards.text import TextMaterial, check, precision
from amd.rewards.videoalign_frames import EVEN, LEAST_PIXELS, MERGE, PARTS, PATCH, Scale
from amd.rewards.videoalign_prompt import REWARD_TOKENS, VIDEO_TOKEN, words

NAME = "videoalign"
WRAPPED = "base_model.model."  # peft's prefix of every key
TIED = {"lm_head.weight": "model.embed_tokens.weight"}
"""One parameter under two names: the original loads the left one last, so its values stay."""
BRANCH = re.compile(r"(.+)\.lora_([AB])\.default\.weight")


class Recipe(NamedTuple):
    """What the checkpoint's model_config.json says, as far as scores depend on it."""

    rate: float  # frames per second that are looked at
    most: int  # pixels of a frame
    rank: int  # of the low-rank branches
    weight: float  # of B A in a merged matrix
    scales: Mapping[str, Scale]


class VideoAlign(nn.Module):
    """Total = VQ + MQ + TA, each in standard deviations; differentiable in the pixels. Tables print it x 100."""

    differentiable = True
    network: Any
    head: Tensor

    def __init__(
        self,
        network: nn.Module,
        head: Tensor,
        tokenizer: Any,
        recipe: Recipe,
        revision: str,
        fps: int = FPS[NAME],
        precision: str = "bfloat16",
    ) -> None:
        """transformers' Qwen2VLModel, the head's (1 or 3, D) rows, a tokenizer of the tokenizers package.

        `fps` is the clips'. The network is believed to be in the dtype that `precision` names.
        """
        super().__init__()
        self.network, self.tokenizer, self.recipe = network, tokenizer, recipe
        self.revision, self.fps = revision, fps
        self.register_buffer("head", head.float(), persistent=False)
        side = f"{LEAST_PIXELS}-{recipe.most}px"
        self.preprocessing = f"{fps}fps/{recipe.rate:g}-per-second/{side}/bicubic/antialias/tensor/{precision}"
        as_trained(network)
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B,) Total."""
        return videoalign_frames.total(self.parts(pixels, prompts))

    def parts(self, pixels: Tensor, prompts: Sequence[str]) -> dict[str, Tensor]:
        """{"vq", "mq", "ta"}: (B,) float32 each, normalised by the checkpoint's constants.

        The prompt stands after the places of the first two, so it moves "ta" alone.
        ValueError for clips of fewer than two frames, and for a prompt that names one of the model's own tokens.
        """
        check(pixels, prompts, clips=True)
        frames = videoalign_frames.chosen(pixels, self.fps, self.recipe.rate, self.recipe.most)
        with torch.autocast(pixels.device.type, enabled=False):  # the precision is the network's own
            states = self.read(self.look(frames), prompts)
        # one row serves all three tokens; of three rows each has its own
        raw = (states.float() * self.head).sum(-1)
        return videoalign_frames.normalised(dict(zip(PARTS, raw.unbind(1), strict=True)), self.recipe.scales)

    def look(self, frames: Tensor) -> Tensor:
        """(B, F, 3, H, W) in [0, 1], sides multiples of 28 -> the clips' tokens (B, N, D)."""
        clips, count, _, height, width = frames.shape
        eye = self.network.visual
        # on the CPU, where its numbers are read without waiting for the device
        grid = torch.tensor([[count // EVEN, height // PATCH, width // PATCH]] * clips)
        seen = eye(videoalign_frames.patches(frames).to(eye.dtype), grid_thw=grid).pooler_output
        return seen.unflatten(0, (clips, -1))

    def read(self, seen: Tensor, prompts: Sequence[str]) -> Tensor:
        """Clips' tokens (B, N, D) and B prompts -> states (B, 3, D) at the three reward tokens."""
        language = self.network.language_model
        texts = [words(prompt) for prompt in prompts]
        before = torch.tensor([self._tokens(text.before) for text in texts], device=seen.device)
        after = [self._tokens(text.after) for text in texts]
        places = [self._places(ids, prompt) for ids, prompt in zip(after, prompts, strict=True)]
        length = max(map(len, after))
        # shorter texts end with token 0, which nothing before it looks at
        padded = torch.tensor([ids + [0] * (length - len(ids)) for ids in after], device=seen.device)
        said = [language.embed_tokens(ids) for ids in (before, padded)]
        # without positions the language model counts from 0, as the original does
        states = language(inputs_embeds=torch.cat((said[0], seen, said[1]), 1), use_cache=False).last_hidden_state
        read = before.shape[1] + seen.shape[1] + torch.tensor(places, device=seen.device)
        return states.gather(1, read.unsqueeze(-1).expand(-1, -1, states.shape[-1]))

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def _places(self, ids: Sequence[int], prompt: str) -> list[int]:
        """Where the reward tokens stand among the tokens of the text after the clip."""
        numbers = [self.tokenizer.token_to_id(token) for token in REWARD_TOKENS]
        if [each for each in ids if each in (*numbers, self.tokenizer.token_to_id(VIDEO_TOKEN))] != numbers:
            raise ValueError(
                f"the prompt {prompt!r} holds a token of VideoAlign's own: {', '.join(REWARD_TOKENS)}, ..."
            )
        return [ids.index(number) for number in numbers]


class RoundedAngles(nn.Module):
    """Qwen2-VL's rotary angles of image patches in bfloat16, the dtype of the buffer in transformers 4.45.2."""

    frequencies: Tensor

    def __init__(self, width: int, base: float) -> None:
        """`width` of an attention head."""
        super().__init__()
        exponents = torch.arange(0, width // 2, 2, dtype=torch.float) / (width // 2)
        self.register_buffer("frequencies", (1 / base**exponents).bfloat16(), persistent=False)

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns (N, 2) -> cosines and sines, each (N, width), on the device of x."""
        angles = position_ids.to(x.device)[..., None].bfloat16() * self.frequencies
        both = torch.cat([angles.flatten(1)] * 2, 1)
        return both.cos(), both.sin()


def as_trained(network: Any) -> None:
    """Give a Qwen2VLModel the rounded frequencies that VideoAlign was trained with, whatever its weights' dtype."""
    language, eye = network.language_model, network.visual
    # of a network made on the meta device these buffers have no values yet: no file holds them
    device = network.language_model.embed_tokens.weight.device
    with torch.device(device):
        language.rotary_emb = type(language.rotary_emb)(language.config).bfloat16()
        base = eye.config.rope_parameters["rope_theta"]
        eye.rotary_pos_emb = RoundedAngles(eye.config.embed_dim // eye.config.num_heads, base)


def published(material: TextMaterial) -> VideoAlign:
    """From VideoReward's model_config.json and model.pth, and Qwen2-VL-2B-Instruct's config.json, tokenizer.json and
    preprocessor_config.json. settings: fps (of the clips, 16), precision (bfloat16, as released).

    ValueError names a file that is missing, does not fit, or asks for another scorer than this one.
    """
    settings = material.setting(NAME, fps=FPS[NAME], precision="bfloat16")
    names = ("model_config.json", "model.pth", "config.json", "tokenizer.json", "preprocessor_config.json")
    said, file, config, vocabulary, processor = (material.file(NAME, name) for name in names)
    chosen, dtype = recipe(said), precision(NAME, settings["precision"])
    as_ours(processor, chosen.most)
    weights = merged(state_dict(file), chosen, file)
    head = weights.pop("rm_head.weight", None)
    if head is None or head.ndim != 2 or len(head) not in (1, len(PARTS)):
        found = "none" if head is None else str(tuple(head.shape))
        raise ValueError(f"{file}: rm_head.weight is {found}; a VideoReward has 1 or {len(PARTS)} rows")
    return VideoAlign(
        qwen(weights, config, file, dtype),
        head,
        tokenizer(vocabulary, len(weights["model.embed_tokens.weight"])),
        chosen,
        sha256(file),
        settings["fps"],
        settings["precision"],
    )


def recipe(file: Path) -> Recipe:
    """From model_config.json. ValueError names a key by which the checkpoint is not scored as it is here."""
    said = json.loads(file.read_text())
    wanted: dict[str, dict[str, Any]] = {
        "data_config": {
            "prompt_template_type": "detailed_special",
            "eval_dim": [part.upper() for part in PARTS],
            "sample_type": "uniform",
            "num_frames": None,
        },
        "model_config": {"use_special_tokens": True, "reward_token": "special"},
        "peft_lora_config": {"lora_enable": True, "use_rslora": False, "lora_modules_to_save": None},
    }
    for group, keys in wanted.items():
        for key, value in keys.items():
            if said.get(group, {}).get(key) != value:
                found = said.get(group, {}).get(key)
                raise ValueError(f"{file}: {group}.{key} is {found!r}; this scorer is built for {value!r}")
    data, branch = said["data_config"], said["peft_lora_config"]
    rank = int(branch["lora_r"])
    try:
        scales = videoalign_frames.scales(said)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return Recipe(float(data["fps"]), int(data["max_frame_pixels"]), rank, branch["lora_alpha"] / rank, scales)


def as_ours(file: Path, most: int) -> None:
    """ValueError unless Qwen2-VL's processor cuts and normalises as here, and resizes no frame a second time."""
    said = json.loads(file.read_text())
    exact: dict[str, Any] = {
        "patch_size": PATCH,
        "temporal_patch_size": EVEN,
        "merge_size": MERGE,
        "image_mean": list(resize.MEAN),
        "image_std": list(resize.STD),
    }
    for key, ours in exact.items():
        if said.get(key) != ours:
            raise ValueError(f"{file}: {key} is {said.get(key)}; this scorer prepares frames with {ours}")
    if not said.get("min_pixels", 0) <= LEAST_PIXELS <= most <= said.get("max_pixels", 0):
        bounds = said.get("min_pixels"), said.get("max_pixels")
        raise ValueError(f"{file}: min_pixels, max_pixels are {bounds}; frames of {LEAST_PIXELS} to {most} do not fit")


def merged(weights: Mapping[str, Tensor], recipe: Recipe, file: Path) -> dict[str, Tensor]:
    """Weights in Qwen2VLForConditionalGeneration's names: W + alpha / r B A where a layer has a branch, in float32."""
    plain: dict[str, Tensor] = {}
    branches: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        short = name.removeprefix(WRAPPED).replace(".base_layer.", ".")
        if found := BRANCH.fullmatch(short):
            branches.setdefault(f"{found[1]}.weight", {})[found[2]] = tensor
        else:
            plain[short] = tensor
    if not branches:
        raise ValueError(f"{file}: no lora_A, lora_B among its weights; VideoReward's come with low-rank branches")
    for last, first in TIED.items():
        if last in plain:
            plain[first] = plain.pop(last)
    for name, pair in branches.items():
        rank = pair["A"].shape[0] if set(pair) == {"A", "B"} else None
        if name not in plain or rank != recipe.rank:
            raise ValueError(f"{file}: the branch of {name} is not a lora_A and lora_B of rank {recipe.rank}")
        plain[name] = plain[name].float() + recipe.weight * (pair["B"].float() @ pair["A"].float())
    return plain


def qwen(weights: Mapping[str, Tensor], config: Path, file: Path, dtype: torch.dtype) -> Any:
    """transformers' Qwen2VLModel of the sizes in config.json, with as many tokens as the weights have."""
    from transformers import Qwen2VLConfig, Qwen2VLModel  # seconds to import

    said = json.loads(config.read_text())
    if said.get("model_type") != "qwen2_vl":
        raise ValueError(f"{config}: model_type is {said.get('model_type')!r}, VideoReward's is 'qwen2_vl'")
    try:
        said["vocab_size"] = len(weights["model.embed_tokens.weight"])
    except KeyError as error:
        raise ValueError(f"{file}: no weight {error}; this is not a Qwen2-VL as transformers 4 saves it") from error
    sizes = Qwen2VLConfig(**said, attn_implementation="sdpa")
    with torch.device("meta"):  # nothing is initialised only to be overwritten
        network: Any = Qwen2VLModel(sizes)
    install(network, {re.sub(r"^model\.", "language_model.", n): t for n, t in weights.items()}, file, dtype)
    return network


def tokenizer(file: Path, count: int) -> Any:
    """Qwen2-VL's, with the three reward tokens after its own. ValueError unless that makes `count` tokens."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(file))
    found.add_special_tokens(list(REWARD_TOKENS))
    if found.get_vocab_size() != count or found.token_to_id(VIDEO_TOKEN) is None:
        raise ValueError(
            f"{file}: {found.get_vocab_size()} tokens with the {len(REWARD_TOKENS)} reward tokens, the weights have "
            f"{count}; they belong to two models"
        )
    return found
