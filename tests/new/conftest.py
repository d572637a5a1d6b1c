"""Tiny random pipelines that diffusers saved, rewards in their published layouts, prompts, and the verb itself."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("new", "models", "scorers")]  # makes what they share importable
torch.set_num_threads(1)

from layouts import MED, WORDS, reward_weights  # noqa: E402
from pipelines import save  # noqa: E402
from sizes import PROMPTS, TINY  # noqa: E402

from amd.__main__ import main  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing of these tests is remembered on this machine, and nothing that is there is read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def teachers(tmp_path_factory) -> dict[str, Path]:
    """kind -> a folder that diffusers wrote."""
    return save(tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="session")
def prompts(tmp_path_factory) -> Path:
    """As people write them: Windows' line ends, a blank line, no .txt."""
    file = tmp_path_factory.mktemp("prompts") / "prompts.list"
    file.write_bytes("\r\n".join([*PROMPTS[:2], "", *PROMPTS[2:]]).encode())
    return file


@pytest.fixture(scope="session")
def imagereward(tmp_path_factory) -> Path:
    """The folder of ImageReward's three files."""
    folder = tmp_path_factory.mktemp("imagereward")
    torch.save(reward_weights(), folder / "ImageReward.pt")
    (folder / "med_config.json").write_text(json.dumps(MED))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture(scope="session")
def hpsv2(tmp_path_factory) -> tuple[Path, str]:
    """The file of HPSv2.1, and the name of its architecture in open_clip's catalogue."""
    import open_clip

    folder = tmp_path_factory.mktemp("hpsv2")
    size = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    sight = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    (folder / "ViT-new-test.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": sight, "text_cfg": size}))
    open_clip.add_model_config(folder / "ViT-new-test.json")
    torch.manual_seed(2)
    torch.save({"state_dict": open_clip.create_model("ViT-new-test").state_dict()}, folder / "weights.pt")
    return folder / "weights.pt", "ViT-new-test"


@pytest.fixture(scope="session")
def new(prompts) -> Callable[..., int]:
    """new(teacher, out, flags...) -> exit code of `amd new` at sizes for a test."""

    def call(teacher: Path, out: Path, *flags: object, sizes: list[str] = TINY) -> int:
        given = ["--prompts", str(prompts), *sizes, *map(str, flags)]  # argparse: what comes last counts
        try:
            return main(["new", "--teacher", str(teacher), "--out", str(out), *given])
        except SystemExit as left:  # what is stopped leaves by itself, and so does argparse
            return int(left.code or 0)

    return call


@pytest.fixture(scope="session")
def amd_flags(imagereward) -> list[object]:
    """AMD with the reward that it needs."""
    return ["--reward", "imagereward", "--reward-weights", imagereward, "--lr", "1e-3"]


@pytest.fixture(scope="session")
def student(new, teachers, amd_flags, tmp_path_factory) -> Path:
    """A finished SD1.5 student's folder. Not to be changed."""
    out = tmp_path_factory.mktemp("made") / "student"
    assert new(teachers["sd15"], out, *amd_flags) == 0
    return out
