"""VideoAlign by its authors' code in its environment, beside ours, on small files in the published layout."""

import json
from pathlib import Path

import pytest
import torch
from manifests import Kept
from torch import Tensor
from videoalign_files import GOLDEN, RECIPE, clips, save, save_base

from amd.measure import films
from amd.measure.isolated_clips import PackageVideoAlign, scorer_of
from amd.rewards.text import TextMaterial, text_scorer
from amd.rewards.videoalign_frames import PARTS

pytestmark = pytest.mark.slow
FPS = 4


class Stored(Kept):
    """Clips that lie in files: x264 writes noise as this a little otherwise each time."""

    def __init__(self, shown: Tensor, files: list[Path]) -> None:
        super().__init__(shown)
        self.files = files

    def encoded(self, fps: int) -> list[Path]:
        return self.files


def test_the_authors_code_says_what_ours_says(made, mirrored, tmp_path: Path) -> None:
    """In bfloat16, of films as it gets them; ours in float32 of the same films."""
    pytest.importorskip("av")
    environment = made("videoalign")
    module = scorer_of("videoalign")
    code = {name: mirrored(f"VideoAlign/{name}") for name in module.CODE}  # a checkout of KwaiVGI/VideoAlign
    save(tmp_path)
    save_base(tmp_path)
    (tmp_path / "model_config.json").write_text(json.dumps(RECIPE | {"inference_config": module.SCALES}))
    files = {name: tmp_path / name for name in (*module.REWARD, *module.QWEN)}
    files |= code
    shown, prompts = clips(), GOLDEN["prompts"]
    stored = [tmp_path / f"{place}.mp4" for place in range(len(shown))]
    for file, clip in zip(stored, shown, strict=True):
        films.write_film(file, clip, FPS, "h264")
    theirs = PackageVideoAlign(environment, files, FPS)(Stored(shown, stored), prompts)

    seen = torch.stack([films.read_film(file) for file in stored]).float() / 127.5 - 1
    settings = {"fps": FPS, "precision": "float32"}
    ours = text_scorer("videoalign", TextMaterial(files=[tmp_path], settings=settings)).parts(seen, prompts)
    for part in PARTS:
        assert ours[part].max() - ours[part].min() > 0.25
        torch.testing.assert_close(torch.tensor(theirs[part]), ours[part], rtol=0, atol=0.15, check_dtype=False)
