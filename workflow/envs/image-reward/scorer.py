"""ImageReward by its own package."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

# Its tokenizer is asked for by the hub's name, and a folder of that name in the working directory answers first.
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"

import ImageReward as RM

Scorer = Callable[[Path, str], float]


def build(files: dict[str, str], settings: dict[str, str], device: str) -> tuple[Scorer, str]:
    """(image file, prompt -> score; what happens to the pixels). files: weights, med_config, vocabulary."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bert-base-uncased").mkdir()
        shutil.copyfile(files["vocabulary"], Path(folder) / "bert-base-uncased" / "vocab.txt")
        os.chdir(folder)
        try:
            model = RM.load(files["weights"], device=device, med_config=files["med_config"])
        finally:
            os.chdir(before)

    def score(file: Path, prompt: str) -> float:
        return float(model.score(prompt, str(file)))

    return score, "image-reward-1.5"
