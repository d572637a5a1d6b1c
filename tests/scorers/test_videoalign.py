"""VideoAlign from files in the published layout, against its authors' code and against transformers with peft."""

import hashlib
import json
import re

import pytest
import torch
from torch import Tensor, nn
from videoalign_files import ALPHA, CONFIG, GOLDEN, PROCESSOR, RANK, RECIPE, TOKENS, clips, save, weights

from amd.rewards import videoalign, videoalign_frames, videoalign_prompt
from amd.rewards.text import TextMaterial, TextScorer, text_scorer
from amd.rewards.videoalign_frames import PARTS

PROMPTS = GOLDEN["prompts"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("VideoReward")
    save(made)
    return made


@pytest.fixture(scope="module")
def scorer(folder):
    return build(folder, precision="float32")


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return clips().float() / 127.5 - 1


def build(folder, **settings):
    return text_scorer("videoalign", TextMaterial(files=[folder], settings={"fps": 4, **settings}))


# --- the same numbers as others ---------------------------------------------------------------------------------------


def test_scores_are_those_of_the_authors_code(scorer, pixels):
    found = scorer.parts(pixels, PROMPTS)
    for part in PARTS:
        expected = torch.tensor(GOLDEN["float32"][part])
        torch.testing.assert_close(found[part], expected, rtol=0, atol=1e-4)
        # it is felt that its model.to(bfloat16) rounds frequencies as well
        assert float((torch.tensor(GOLDEN["unrounded"][part]) - expected).abs().max()) > 0.05
    torch.testing.assert_close(scorer(pixels, PROMPTS), found["vq"] + found["mq"] + found["ta"])


def test_scores_are_those_of_transformers_with_branches_by_peft(scorer, pixels):
    """Processor, tokens with a place for each of the clip's, the model with its branches beside it, head by hand."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLVideoProcessor

    config = Qwen2VLConfig(**{**CONFIG, "vocab_size": TOKENS}, attn_implementation="eager")
    branches = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=r".*language_model\.layers\..*_proj")
    model = get_peft_model(Qwen2VLForConditionalGeneration(config), branches).float().eval()
    # transformers 5 has both halves under one more name
    inside = {"model.": "model.language_model.", "visual.": "model.visual."}
    known = weights()
    for old, new in inside.items():
        known = {re.sub(rf"^(base_model\.model\.){old}", rf"\1{new}", name): t for name, t in known.items()}
    head = known.pop("base_model.model.rm_head.weight").float()
    missing, unexpected = model.load_state_dict(known, strict=False)
    assert not missing
    assert not unexpected
    inner = model.base_model.model.model
    inner.language_model.rotary_emb.bfloat16()
    inner.visual.rotary_pos_emb = Angles()

    processor = Qwen2VLVideoProcessor(**{k: v for k, v in PROCESSOR.items() if "processor" not in k})
    ids = [scorer.tokenizer.token_to_id(token) for token in videoalign_prompt.REWARD_TOKENS]
    for row, prompt in enumerate(PROMPTS):
        frames = clips()[row, :, [0, 2, 5, 7]].transpose(0, 1)
        asked = processor(videos=[frames], do_sample_frames=False, return_tensors="pt")
        text = videoalign_prompt.words(prompt)
        whole = text.before + "<|video_pad|>" * 288 + text.after
        tokens = torch.tensor([scorer.tokenizer.encode(whole).ids])
        with torch.no_grad():
            states = inner(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                position_ids=torch.arange(tokens.shape[1]).expand(3, 1, -1),
                **asked,
            ).last_hidden_state[0]
        raw = (states @ head.T).squeeze(1)
        for part, token in zip(PARTS, ids, strict=True):
            scale = videoalign_frames.scales(RECIPE)[part]
            expected = (raw[tokens[0].tolist().index(token)] - scale.mean) / scale.std
            found = scorer.parts(pixels[row : row + 1], [prompt])[part]
            torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-4)


class Angles(nn.Module):
    """Of image patches, as transformers 4.45.2 computes them on a bfloat16 buffer: everything is bfloat16."""

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        frequencies = (10000.0 ** -(torch.arange(0, 8, 2) / 8)).bfloat16()
        rows, columns = (torch.outer(place.bfloat16(), frequencies) for place in position_ids.unbind(1))
        both = torch.cat((rows, columns, rows, columns), 1)
        return both.cos(), both.sin()


@pytest.mark.parametrize(("frames", "fps", "height", "width"), [(17, 16, 96, 160), (9, 2, 480, 832), (4, 4, 336, 336)])
def test_patches_are_the_processors(frames, fps, height, width):
    """Up to the 8 bits that the original rounds to after its resize."""
    from torchvision.transforms.functional import InterpolationMode
    from torchvision.transforms.functional import resize as by_torchvision
    from transformers import Qwen2VLVideoProcessor

    draw = torch.Generator().manual_seed(1)
    clip = torch.randint(256, (3, frames, height // 8, width // 8), generator=draw, dtype=torch.uint8)
    clip = clip.repeat_interleave(8, 2).repeat_interleave(8, 3)
    places = videoalign_frames.frame_indices(frames, fps)
    size = videoalign_frames.resized(height, width)
    small = by_torchvision(clip[:, places].transpose(0, 1), list(size), InterpolationMode.BICUBIC, antialias=True)
    processor = Qwen2VLVideoProcessor(**{k: v for k, v in PROCESSOR.items() if "processor" not in k})
    asked = processor(videos=[small], do_sample_frames=False, return_tensors="pt")
    chosen = videoalign_frames.chosen(clip[None].float() / 127.5 - 1, fps)
    assert asked["video_grid_thw"].tolist() == [[len(places) // 2, size[0] // 14, size[1] // 14]]
    assert chosen.shape == (1, len(places), 3, *size)
    limit = 1e-4 if size == (height, width) else 0.51 / 255 / 0.26
    torch.testing.assert_close(
        videoalign_frames.patches(chosen), asked["pixel_values_videos"].float(), rtol=0, atol=limit
    )


def test_the_text_is_the_authors_to_the_letter():
    digest = hashlib.sha256(videoalign_prompt.TEMPLATE.encode()).hexdigest()
    assert digest == "fdb6309bac618dd0c8b1b589d3a0970a974f7856eecbb355a190b2dce54af700"
    after = videoalign_prompt.words("a {dog}").after
    assert "Textual prompt - a {dog}\nPlease" in after
    places = [after.index(token) for token in videoalign_prompt.REWARD_TOKENS]
    assert places == sorted(places)


# --- what moves a score, and what does not ---------------------------------------------------------------------------


def test_two_prompts_differ_in_text_alignment_alone(scorer, pixels):
    """The prompt stands after the places where the other two are read, and nothing looks ahead."""
    one, other = (scorer.parts(pixels[:1], [prompt]) for prompt in PROMPTS[:2])
    torch.testing.assert_close(one["vq"], other["vq"], rtol=0, atol=1e-5)
    torch.testing.assert_close(one["mq"], other["mq"], rtol=0, atol=1e-5)
    assert abs(float(one["ta"] - other["ta"])) > 0.01


def test_a_score_is_read_where_its_token_stands(scorer, pixels, monkeypatch):
    before = scorer.parts(pixels[:1], PROMPTS[:1])
    text, token = videoalign_prompt.TEMPLATE, "<|MQ_reward|>"
    assert f"{token}\nEND" in text
    monkeypatch.setattr(videoalign_prompt, "TEMPLATE", text.replace(f"{token}\nEND", f"END{token}"))
    after = scorer.parts(pixels[:1], PROMPTS[:1])
    torch.testing.assert_close(before["vq"], after["vq"], rtol=0, atol=1e-5)
    assert abs(float(before["mq"] - after["mq"])) > 0.01


def test_a_clip_scores_the_same_whoever_stands_beside_it(scorer, pixels):
    """Shorter texts are filled up, and the filling is not read."""
    together = scorer(pixels, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = scorer(pixels[row : row + 1], [prompt])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)
    assert len({len(scorer._tokens(prompt)) for prompt in PROMPTS}) > 1  # else nothing was filled up


def test_a_gradient_reaches_the_frames_that_are_looked_at_and_no_weight(scorer, pixels):
    assert scorer.differentiable
    leaf = pixels[:1].clone().requires_grad_()
    scorer(leaf, PROMPTS[:1]).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().amax((0, 1, 3, 4)).bool().tolist() == [i in (0, 2, 5, 7) for i in range(8)]
    assert all(parameter.grad is None for parameter in scorer.parameters())


def test_a_head_of_three_rows_has_one_for_each_token(folder, tmp_path, scorer, pixels):
    save(tmp_path, rows=3)
    three = weights(3)
    torch.save(three, tmp_path / "model.pth")
    found = build(tmp_path, precision="float32").parts(pixels[:1], PROMPTS[:1])
    for row, part in enumerate(PARTS):
        name = "base_model.model.rm_head.weight"
        torch.save(three | {name: three[name][row : row + 1]}, tmp_path / "model.pth")
        single = build(tmp_path, precision="float32").parts(pixels[:1], PROMPTS[:1])
        torch.testing.assert_close(found[part], single[part])
    assert len({round(float(value), 3) for value in found.values()}) == 3


def test_in_bfloat16_weights_take_half_and_frequencies_stay(folder, scorer, pixels):
    half = build(folder)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    found, expected = half.parts(pixels, PROMPTS), scorer.parts(pixels, PROMPTS)
    for part in PARTS:
        assert found[part].dtype == torch.float32
        torch.testing.assert_close(found[part], expected[part], rtol=0, atol=0.5)
    for each in (half, scorer):
        assert each.network.language_model.rotary_emb.inv_freq.dtype == torch.bfloat16


# --- what it is made of -----------------------------------------------------------------------------------------------


def test_it_says_what_it_is(folder):
    half = build(folder, fps=16)
    assert isinstance(half, TextScorer)
    assert half.revision == hashlib.sha256((folder / "model.pth").read_bytes()).hexdigest()
    assert half.preprocessing == "16fps/2-per-second/100352-200704px/bicubic/antialias/tensor/bfloat16"


def test_what_is_no_clip_and_what_speaks_in_its_tokens_is_refused(scorer, pixels):
    with pytest.raises(ValueError, match=r"clips reads float pixels \(B, 3, F, H, W\)"):
        scorer(pixels[:, :, 0], PROMPTS)
    with pytest.raises(ValueError, match="3 clips and 1 prompts"):
        scorer(pixels, PROMPTS[:1])
    with pytest.raises(ValueError, match="looks at 2 frames or more"):
        scorer(pixels[:1, :, :1], PROMPTS[:1])
    for token in ("<|TA_reward|>", "<|video_pad|>"):
        with pytest.raises(ValueError, match="holds a token of VideoAlign's own"):
            scorer(pixels[:1], [f"a dog {token}"])


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("model_config.json", {"inference_config": None}, r"inference_config\.VQ_mean is missing; without it .* raw"),
        ("model_config.json", {"data_config": {**RECIPE["data_config"], "num_frames": 8}}, "num_frames is 8; .* None"),
        ("model_config.json", {"model_config": {"use_special_tokens": True}}, r"reward_token is None; .*'special'"),
        ("model_config.json", {"peft_lora_config": {**RECIPE["peft_lora_config"], "lora_r": 8}}, "of rank 8"),
        ("preprocessor_config.json", {"image_mean": [0.5] * 3}, r"image_mean is \[0\.5, 0\.5, 0\.5\]; this scorer"),
        ("preprocessor_config.json", {"max_pixels": 3136}, "max_pixels are .* 100352 to 200704 do not fit"),
        ("config.json", {"model_type": "qwen2"}, "model_type is 'qwen2', VideoReward's is 'qwen2_vl'"),
        ("config.json", {"num_hidden_layers": 1}, r"model\.pth: 12 weights are missing, unexpected"),
    ],
)
def test_files_that_do_not_fit_are_named(folder, tmp_path, name, change, complaint):
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    said = json.loads((folder / name).read_text())
    (tmp_path / name).unlink()
    (tmp_path / name).write_text(json.dumps(said | change))
    with pytest.raises(ValueError, match=complaint):
        build(tmp_path)


def test_another_models_tokens_and_weights_without_branches_are_refused(folder, tmp_path):
    save(tmp_path)
    known = weights()
    torch.save({name: t for name, t in known.items() if "lora_" not in name}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model\.pth: no lora_A, lora_B among its weights"):
        build(tmp_path)
    name = "base_model.model.rm_head.weight"
    torch.save(known | {name: torch.zeros(2, 32)}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"rm_head\.weight is \(2, 32\); a VideoReward has 1 or 3 rows"):
        build(tmp_path)
    short = {n: t[:-1] if len(t) == TOKENS else t for n, t in known.items()}
    torch.save(short, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=rf"tokenizer\.json: {TOKENS} tokens .* the weights have {TOKENS - 1}"):
        build(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"needs the file tokenizer\.json"):
        build(tmp_path)


def test_the_published_file_scores_clips_about_its_own_mean(mirrored, request):
    qwen = ("config.json", "tokenizer.json", "preprocessor_config.json")
    names = ["videoreward/checkpoint-11352/model.pth", "videoreward/model_config.json"]
    files = [mirrored(name) for name in (*names, *(f"Qwen2-VL-2B-Instruct/{name}" for name in qwen))]
    frames = torch.from_numpy(request.getfixturevalue("photos")[0]).permute(2, 0, 1).float() / 127.5 - 1
    clip = torch.stack([frames.roll(2 * i, 2) for i in range(32)], 1)[None]
    found = videoalign.published(TextMaterial(files=files)).parts(clip, ["a temple"])
    assert all(abs(float(value)) < 5 for value in found.values())
