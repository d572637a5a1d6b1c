"""Published scorers' files, small and random, in the layouts that their authors publish; real images and word lists.

What nobody can ship with a test, weights and golden images, is looked for in $AMD_MIRROR, the folder that a
configuration's `mirror:` names; a test that wants such a file skips, naming it.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from amd.data.assets import cache

sys.path.insert(0, str(Path(__file__).parent))  # makes layouts.py importable
torch.set_num_threads(1)

from layouts import MED, WORDS, reward_weights, word_list  # noqa: E402

from amd.measure.isolated import Environment, NotMade, find  # noqa: E402


@pytest.fixture
def mirrored() -> Callable[[str], Path]:
    """name -> a published file on this machine; the test skips where it is not there."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("AMD_MIRROR") or cache())
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not in {folder}: put it there, or name another folder in AMD_MIRROR")
        return folder / name

    return find


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Two real photographs, uint8 (427, 640, 3)."""
    from sklearn.datasets import load_sample_images

    return [np.array(image) for image in load_sample_images().images]  # writable


@pytest.fixture
def pixels(photos) -> Callable[[int, int], Tensor]:
    """height, width -> three real cut-outs as stored and read again: float32 (3, 3, H, W) in [-1, 1]."""

    def cut(height: int, width: int) -> Tensor:
        images = [photos[i % 2][20 * i : 20 * i + height, 100 : 100 + width] for i in range(3)]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1

    return cut


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> str:
    """The name of a CLIP of two small transformers in open_clip's catalogue, with the real vocabulary."""
    import open_clip

    file = tmp_path_factory.mktemp("open_clip") / "ViT-tiny-test.json"
    size = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    sight = {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
    file.write_text(json.dumps({"embed_dim": 24, "vision_cfg": sight, "text_cfg": size}))
    open_clip.add_model_config(file)
    return file.stem


@pytest.fixture
def clip_weights(tiny_clip) -> dict[str, Tensor]:
    """A state dict of `tiny_clip`. Everything is drawn, so that every path is felt."""
    import open_clip

    draw = torch.Generator().manual_seed(3)
    state = open_clip.create_model(tiny_clip).state_dict()
    return {name: tensor + 0.1 * torch.randn(tensor.shape, generator=draw) for name, tensor in state.items()}


@pytest.fixture
def pick_folder(tmp_path) -> Path:
    """PickScore's folder: a small random CLIPModel as transformers saves it, and CLIP's real word list."""
    from transformers import CLIPConfig, CLIPModel

    folder = tmp_path / "PickScore_v1"
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sight = {**text, "hidden_size": 64, "image_size": 48, "patch_size": 16, "hidden_act": "gelu"}
    text |= {"vocab_size": 49408, "hidden_act": "gelu", "eos_token_id": 2}  # as published: the old, wrong id
    torch.manual_seed(5)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=sight, projection_dim=24))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.logit_scale.fill_(3.0)  # not 100, which a constant could be
    model.save_pretrained(folder)
    word_list(folder)
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    said = {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(said | {"image_mean": mean, "image_std": std}))
    return folder


@pytest.fixture
def reward_files(tmp_path) -> list[Path]:
    """ImageReward.pt, med_config.json and vocab.txt."""
    files = [tmp_path / name for name in ("ImageReward.pt", "med_config.json", "vocab.txt")]
    torch.save(reward_weights(), files[0])
    files[1].write_text(json.dumps(MED))
    files[2].write_text("\n".join(WORDS) + "\n")
    return files


@pytest.fixture(scope="session")
def made() -> Callable[[str], Environment]:
    """name -> the environment of a package; the test skips where it was not made."""

    def environment(name: str) -> Environment:
        try:
            return find(name)
        except NotMade as absent:
            pytest.skip(str(absent))

    return environment
