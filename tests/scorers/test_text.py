"""What every text scorer promises, and what a prompt reward does with it."""

import re
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from amd.rewards.base import Reward
from amd.rewards.published import install, state_dict
from amd.rewards.text import TEXT_SCORERS, PromptReward, TextMaterial, TextScorer, check, per_prompt, text_scorer

TEXTS = ["one", "three", "seventeen"]


class Length(nn.Module):
    """A scorer whose number is known: mean brightness times the prompt's letters."""

    differentiable, revision, preprocessing = True, "0" * 64, "none"

    def forward(self, pixels: Tensor, prompts: list[str]) -> Tensor:
        check(pixels, prompts)
        return pixels.mean((1, 2, 3)) * torch.tensor([float(len(text)) for text in prompts])


def test_a_prompt_reward_scores_each_row_for_its_own_prompt():
    reward = PromptReward(Length(), TEXTS)
    assert isinstance(reward, Reward)
    assert isinstance(Length(), TextScorer)
    assert reward.differentiable
    x = torch.ones(3, 3, 4, 4) * torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1, 1)
    assert reward(x, {"prompt": torch.tensor([2, 0, 1])}).tolist() == [9, 30, 500]


@pytest.mark.parametrize("index", [-1, 3])
def test_the_null_conditions_prompt_has_no_reward(index):
    with pytest.raises(ValueError, match=rf"prompt {index} is none of the run's 3"):
        PromptReward(Length(), TEXTS)(torch.zeros(1, 3, 4, 4), {"prompt": torch.tensor([index])})


def test_a_prompt_that_rows_share_is_encoded_once():
    asked = []

    def encode(texts: list[str]) -> Tensor:
        asked.append(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    assert per_prompt(["ab", "c", "ab", "ab"], encode).tolist() == [[2], [1], [2], [2]]
    assert asked == [["ab", "c"]]


def test_pixels_and_prompts_are_pairs():
    with pytest.raises(ValueError, match="2 images and 1 prompts"):
        check(torch.zeros(2, 3, 4, 4), ["one"])
    with pytest.raises(ValueError, match=re.escape("torch.uint8 (1, 3, 4, 4)")):
        check(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), ["one"])
    with pytest.raises(ValueError, match=re.escape("(1, 1, 4, 4)")):
        check(torch.zeros(1, 1, 4, 4), ["one"])


@pytest.mark.parametrize("name", sorted(TEXT_SCORERS))
def test_every_name_leads_to_a_function(name):
    module, attribute = TEXT_SCORERS[name].split(":")
    assert callable(getattr(import_module(module), attribute))


def test_an_unknown_scorer_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'hpsv3'; known: .*hpsv2, imagereward, pickscore"):
        text_scorer("hpsv3", TextMaterial())


@pytest.mark.parametrize("name", ["hpsv2", "pickscore", "imagereward", "clip-score", "videoalign"])
def test_a_setting_that_a_scorer_does_not_have_is_refused(name):
    with pytest.raises(ValueError, match=f"'{name}': settings: unknown key 'verson'; its keys: .*precision"):
        text_scorer(name, TextMaterial(settings={"verson": "v2.1"}))


def test_flags_and_numbers_are_given_as_such():
    material = TextMaterial(settings={"recompute": True, "through": 256, "version": "v2.1"})
    assert material.setting("x", recompute=False, through=0, version=None, precision="float32") == {
        "recompute": True,
        "through": 256,
        "version": "v2.1",
        "precision": "float32",
    }
    assert TextMaterial(settings={"recompute": False}).setting("x", recompute=True) == {"recompute": False}
    for word in ("false", "yes", 0):
        with pytest.raises(ValueError, match=r"'x': settings: recompute is .*; say true or false, without quotes"):
            TextMaterial(settings={"recompute": word}).setting("x", recompute=False)
    with pytest.raises(ValueError, match="through is True; say a whole number"):
        TextMaterial(settings={"through": True}).setting("x", through=0)
    with pytest.raises(ValueError, match="through is 'wide'; say a whole number"):
        TextMaterial(settings={"through": "wide"}).setting("x", through=0)


def test_what_only_unpickling_could_restore_is_refused(tmp_path):
    torch.save({"hook": Length()}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match=r"code\.pt: not a file of tensors alone"):
        state_dict(tmp_path / "code.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt: not a state dict of tensors"):
        state_dict(tmp_path / "list.pt")


def test_weights_are_accounted_for_by_name_and_shape(tmp_path):
    with torch.device("meta"):
        layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"x\.pt: 1 weights are missing.*'bias'"):
        install(layer, {"weight": torch.zeros(3, 2)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"another shape: \['weight'\]"):
        install(layer, {"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, tmp_path / "x.pt")
    install(layer, {"weight": torch.ones(3, 2, dtype=torch.float16), "bias": torch.zeros(3)}, tmp_path / "x.pt")
    assert layer(torch.ones(1, 2)).tolist() == [[2, 2, 2]]
    assert layer.weight.dtype == torch.float32
