"""PickScore from a folder as transformers saves it, against a CLIP written out by hand and its README's steps."""

import hashlib
import json
import math
import shutil

import pytest
import torch
from layouts import PROMPTS, to_uint8
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms.functional import normalize, to_tensor

from amd.rewards import resize
from amd.rewards.text import TextMaterial, TextScorer, text_scorer


def build(folder, **settings):
    return text_scorer("pickscore", TextMaterial(files=[folder], settings=settings))


def clip_by_hand(w: dict[str, Tensor], images: Tensor, tokens: Tensor) -> Tensor:
    """Radford et al. 2021 in float64: two pre-norm transformers, class token and end token, cosine, scale."""
    w = {name: tensor.double() for name, tensor in w.items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def transformer(tower: str, x: Tensor, mask: Tensor) -> Tensor:
        for i in range(2):
            layer = f"{tower}.encoder.layers.{i}"
            h = norm(f"{layer}.layer_norm1", x)
            q, k, v = (
                linear(f"{layer}.self_attn.{part}_proj", h).unflatten(-1, (2, -1)).transpose(1, 2) for part in "qkv"
            )
            weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask).softmax(-1)
            x = x + linear(f"{layer}.self_attn.out_proj", (weights @ v).transpose(1, 2).flatten(2))
            h = linear(f"{layer}.mlp.fc1", norm(f"{layer}.layer_norm2", x))
            gelu = h * 0.5 * (1 + torch.erf(h / math.sqrt(2)))
            x = x + linear(f"{layer}.mlp.fc2", gelu)
        return x

    patches = torch.nn.functional.conv2d(
        images.double(), w["vision_model.embeddings.patch_embedding.weight"], stride=16
    )
    tokens_seen = patches.flatten(2).transpose(1, 2)
    first = w["vision_model.embeddings.class_embedding"].expand(len(images), 1, -1)
    x = torch.cat((first, tokens_seen), 1) + w["vision_model.embeddings.position_embedding.weight"]
    x = transformer("vision_model", norm("vision_model.pre_layrnorm", x), torch.zeros(()))
    image = norm("vision_model.post_layernorm", x[:, 0]) @ w["visual_projection.weight"].T
    length = tokens.shape[1]
    x = w["text_model.embeddings.token_embedding.weight"][tokens]
    x = x + w["text_model.embeddings.position_embedding.weight"][:length]
    x = transformer("text_model", x, torch.full((length, length), -math.inf, dtype=torch.float64).triu(1))
    end = tokens.eq(49407).int().argmax(1)  # the first end token; what follows is padding
    text = norm("text_model.final_layer_norm", x)[torch.arange(len(tokens)), end] @ w["text_projection.weight"].T
    cosine = (image / image.norm(dim=1, keepdim=True) * (text / text.norm(dim=1, keepdim=True))).sum(1)
    return w["logit_scale"].exp() * cosine


def test_scores_are_those_of_a_clip_written_by_hand(pick_folder, pixels):
    """The image has the network's own side: no resize. The tokens are open_clip's, so the word list is felt as well."""
    import open_clip

    x, scorer = pixels(48, 48), build(pick_folder)
    images = torch.stack([normalize(to_tensor(image), resize.MEAN, resize.STD) for image in to_uint8(x)])
    tokens = open_clip.get_tokenizer("ViT-H-14")(PROMPTS)
    expected = clip_by_hand(load_file(pick_folder / "model.safetensors"), images, tokens)
    assert float(expected.std()) > 0.1  # else nothing is compared
    torch.testing.assert_close(scorer(x, PROMPTS).double(), expected, rtol=1e-4, atol=1e-3)  # float32 x 100


@pytest.mark.parametrize("size", [(48, 48), (96, 120), (40, 33)])
def test_scores_are_those_of_the_readmes_steps(pick_folder, pixels, size):
    """Processor, CLIPModel, normalise, scale: as transformers does it, whose resize rounds to 8 bits."""
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    x = pixels(*size)
    model, tokenizer = CLIPModel.from_pretrained(pick_folder).eval(), CLIPTokenizer.from_pretrained(pick_folder)
    processor = CLIPImageProcessor.from_pretrained(pick_folder)
    images = processor(list(to_uint8(x)), return_tensors="pt")
    tokens = tokenizer(PROMPTS, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        logits = model(**images, **tokens).logits_per_image
    limit = 1e-3 if size == (48, 48) else 0.5
    torch.testing.assert_close(build(pick_folder)(x, PROMPTS), logits.diagonal(), rtol=0, atol=limit)


def test_a_gradient_reaches_the_pixels_and_no_weight(pick_folder, pixels):
    scorer, leaf = build(pick_folder), pixels(64, 64).requires_grad_()
    assert scorer.differentiable
    scorer(leaf, PROMPTS).sum().backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.flatten(1).any(1).all())
    assert all(parameter.grad is None for parameter in scorer.parameters())


def test_a_long_prompt_is_cut_where_clip_cuts_it(pick_folder, pixels):
    scorer, x = build(pick_folder), pixels(48, 48)[:1]
    many = "apple " * 75
    assert torch.equal(scorer(x, [many]), scorer(x, [many + "book " * 30]))
    assert not torch.equal(scorer(x, [many]), scorer(x, ["apple " * 74]))


def test_a_prompt_scores_the_same_whoever_stands_beside_it(pick_folder, pixels):
    """Shorter prompts are padded to the longest of the batch, and padding is not read."""
    scorer, x = build(pick_folder), pixels(48, 48)
    together = scorer(x, ["apple", "a red apple left of a green book, " * 3, "book"])
    torch.testing.assert_close(together[:1], scorer(x[:1], ["apple"]), rtol=1e-5, atol=1e-5)


def test_it_says_what_it_is(pick_folder):
    scorer = build(pick_folder, precision="bfloat16")
    assert isinstance(scorer, TextScorer)
    weights = (pick_folder / "model.safetensors").read_bytes()
    assert scorer.revision == hashlib.sha256(weights).hexdigest()
    assert scorer.preprocessing == "shorter-48/crop/bicubic/antialias/tensor/bfloat16"


def test_files_may_be_named_one_by_one_and_weights_be_a_bin(pick_folder, pixels):
    expected = build(pick_folder)(pixels(48, 48), PROMPTS)
    weights = load_file(pick_folder / "model.safetensors")
    places = {f"{tower}.embeddings.position_ids": torch.arange(9)[None] for tower in ("vision_model", "text_model")}
    torch.save(weights | places, pick_folder / "pytorch_model.bin")  # releases before 4.31 stored these buffers too
    names = ["config.json", "pytorch_model.bin", "vocab.json", "merges.txt"]
    scorer = text_scorer("pickscore", TextMaterial(files=[pick_folder / name for name in names]))
    assert torch.equal(scorer(pixels(48, 48), PROMPTS), expected)


def test_files_that_do_not_fit_are_named(pick_folder):
    processor = pick_folder / "preprocessor_config.json"
    said = json.loads(processor.read_text())
    processor.write_text(json.dumps(said | {"resample": 2}))
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: resample is 2; this scorer .* 3"):
        build(pick_folder)
    processor.write_text(json.dumps(said))
    config = json.loads((pick_folder / "config.json").read_text())
    (pick_folder / "config.json").write_text(json.dumps(config | {"model_type": "siglip"}))
    with pytest.raises(ValueError, match=r"config\.json: model_type is 'siglip'"):
        build(pick_folder)
    (pick_folder / "config.json").write_text(json.dumps(config | {"projection_dim": 16}))
    with pytest.raises(ValueError, match=r"model\.safetensors: 2 weights are missing.*text_projection"):
        build(pick_folder)
    (pick_folder / "config.json").write_text(json.dumps(config))
    words = json.loads((pick_folder / "vocab.json").read_text())
    (pick_folder / "vocab.json").write_text(json.dumps(words | {"newword</w>": 49408}))
    with pytest.raises(ValueError, match=r"vocab\.json: 49409 tokens, .*config\.json has 49408"):
        build(pick_folder)
    shutil.rmtree(pick_folder)
    with pytest.raises(ValueError, match=r"needs the file config\.json; it was given .*PickScore_v1"):
        build(pick_folder)


def test_the_published_folder_scores_photographs_as_its_paper_does(mirrored, pixels):
    folder = mirrored("pickscore/config.json").parent
    scores = build(folder)(pixels(256, 256), ["photo"] * 3)
    assert bool(((scores > 12) & (scores < 30)).all())
