"""HPSv2 by its own package: what hpsv2/img_score.py does, with the weights loaded once instead of once per image."""

from collections.abc import Callable
from pathlib import Path

import torch
from hpsv2.src.open_clip import create_model_and_transforms, get_tokenizer
from PIL import Image

Scorer = Callable[[Path, str], float]


def build(files: dict[str, str], settings: dict[str, str], device: str) -> tuple[Scorer, str]:
    """(image file, prompt -> score; what happens to the pixels). files: weights. settings: architecture."""
    architecture = settings.get("architecture", "ViT-H-14")
    model, _, preprocess = create_model_and_transforms(
        architecture,
        None,
        precision="amp",
        device=device,
        pretrained_image=False,
        light_augmentation=True,
        aug_cfg={},
        output_dict=True,
        with_score_predictor=False,
        with_region_predictor=False,
    )
    model.load_state_dict(torch.load(files["weights"], map_location=device, weights_only=True)["state_dict"])
    model = model.to(device).eval()
    tokenizer = get_tokenizer(architecture)

    @torch.no_grad()
    def score(file: Path, prompt: str) -> float:
        with Image.open(file) as image:
            pixels = preprocess(image).unsqueeze(0).to(device)
        tokens = tokenizer([prompt]).to(device)
        # float16 where there is a GPU, as published; nothing elsewhere
        with torch.autocast("cuda", enabled=device == "cuda"):
            outputs = model(pixels, tokens)
            return float((outputs["image_features"] @ outputs["text_features"].T).diagonal()[0])

    return score, "hpsv2-1.2.0"
