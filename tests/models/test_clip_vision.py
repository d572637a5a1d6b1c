"""CLIP's states of a first frame, as diffusers' image-to-video pipeline has them."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from amd.backbones.clip_vision import MEAN, STD, load_clip_vision, preprocessed

SIDE = 28


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tower of three layers, as transformers writes it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    tower = CLIPVisionModel(CLIPVisionConfig(image_size=SIDE, patch_size=14, **sizes))
    root: Path = tmp_path_factory.mktemp("image_encoder")
    tower.save_pretrained(root)
    return root


def files(folder: Path) -> list[Path]:
    return [folder / "config.json", folder / "model.safetensors"]


def picture() -> torch.Tensor:
    """Smooth, uint8 (3, 40, 72)."""
    x, y = torch.linspace(0, 3, 72), torch.linspace(0, 2, 40)
    waves = torch.stack([(x[None] * k + y[:, None]).sin() for k in (1, 2, 3)])
    return ((waves + 1) * 127.5).byte()


def test_a_picture_is_seen_as_transformers_own_preprocessing_has_it():
    image = picture()
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    wanted = processor(images=Image.fromarray(image.permute(1, 2, 0).numpy()), return_tensors="pt").pixel_values
    seen = preprocessed(image[None].float() / 127.5 - 1, SIDE)
    step = 1 / 255 / min(STD)  # PIL rounds to 8 bits between rows and columns too
    assert (seen - wanted).abs().max() < 1.5 * step
    assert len(MEAN) == 3


def test_states_are_those_before_the_last_layer(folder: Path):
    pixels = picture()[None].float() / 127.5 - 1
    states = load_clip_vision(files(folder))(pixels)
    with torch.no_grad():
        tower = CLIPVisionModel.from_pretrained(folder).eval()
        hidden = tower(pixel_values=preprocessed(pixels, SIDE), output_hidden_states=True).hidden_states
    assert states.shape == (1, 5, 16)
    torch.testing.assert_close(states, hidden[2])
    assert not torch.allclose(states, hidden[3])


def test_keys_as_transformers_4_wrote_them_are_known_and_others_refused(folder: Path, tmp_path: Path):
    tensors = load_file(folder / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file({f"vision_model.{name}": value for name, value in tensors.items()}, tmp_path / "model.safetensors")
    pixels = picture()[None].float() / 127.5 - 1
    assert torch.equal(load_clip_vision(files(tmp_path))(pixels), load_clip_vision(files(folder))(pixels))
    tensors.pop("embeddings.class_embedding")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: .* 1 missing: embeddings\.class_embedding"):
        load_clip_vision(files(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"a config\.json and its \.safetensors; there: config\.json"):
        load_clip_vision(files(tmp_path)[:1])
