"""Counting on the meta device: what is alive at once, what a fused attention spares, and networks of others."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amd.config.load import load
from amd.train import count as counting
from amd.train.cost import _network, network
from amd.train.count import Cost, count
from amd.train.published_costs import ENCODERS, FLUX, PUBLISHED

FLOAT = 4  # bytes


class Deep(nn.Module):
    """Layers of width 8 with a ReLU in between."""

    def __init__(self, layers: int, *, recompute: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(layers))
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = checkpoint(self.block, layer, x, use_reentrant=False) if self.recompute else self.block(layer, x)
        return x

    @staticmethod
    def block(layer: nn.Module, x: Tensor) -> Tensor:
        return F.relu(layer(x))


def cost(module: nn.Module, rows: int = 1024) -> Cost:
    with torch.device("meta"):
        x = torch.empty(rows, 8)
        return count(module, lambda: module(x), fused=True)


def deep(layers: int, *, recompute: bool = False) -> Cost:
    with torch.device("meta"):
        return cost(Deep(layers, recompute=recompute))


def test_parameters_and_flops_are_those_of_the_layers():
    assert deep(3).parameters == 3 * (64 + 8)
    assert deep(3).forward == 3 * 2 * 1024 * 64


def test_without_a_graph_two_tensors_live_at_a_time():
    """A layer's output, and what its ReLU makes of it; the input is the caller's."""
    one = 1024 * 8 * FLOAT
    assert deep(2).resting == deep(9).resting == 3 * one  # the layer before is let go when the ReLU has its output


def test_with_a_graph_every_layer_s_output_lives():
    one = 1024 * 8 * FLOAT
    more = (deep(12).activations - deep(4).activations) / 8
    assert more == one  # a ReLU's output serves its own backward pass and the next layer's


def test_recomputation_keeps_what_goes_into_a_block():
    assert deep(20, recompute=True).forward == deep(20).forward
    with torch.device("meta"):
        wide = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8))
    kept, again = (cost(Blocks(wide, 10, recompute)) for recompute in (False, True))
    assert again.activations < 0.4 * kept.activations


class Blocks(nn.Module):
    """The same block many times."""

    def __init__(self, block: nn.Module, times: int, recompute: bool) -> None:
        super().__init__()
        self.block, self.times, self.recompute = block, times, recompute

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = checkpoint(self.block, x, use_reentrant=False) if self.recompute else self.block(x)
        return x


def test_gradients_of_weights_are_not_kept():
    """Whoever asks counts them with the weights: a wide network on one row keeps next to nothing."""
    with torch.device("meta"):
        module = nn.Sequential(*(nn.Linear(256, 256, bias=False) for _ in range(8)))
        x = torch.empty(1, 256)
        found = count(module, lambda: module(x), fused=True)
    assert found.activations < 3 * 256 * 256 * FLOAT  # at most a gradient on its way


class Attends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x)


def test_a_fused_attention_keeps_no_scores():
    tokens = 512
    with torch.device("meta"):
        module, x = Attends(), torch.empty(1, 2, tokens, 8, requires_grad=True)
        fused, plain = (count(module, lambda: module(x), fused=on) for on in (True, False))
    assert fused.forward == plain.forward == 2 * 2 * 2 * tokens**2 * 8
    assert plain.activations > 2 * tokens**2 * FLOAT > 4 * fused.activations


def test_real_tensors_are_counted_as_well():
    module = Deep(3)
    x = torch.zeros(1024, 8)
    assert count(module, lambda: module(x), fused=True) == deep(3)
    assert all(parameter.grad is None for parameter in module.parameters())


# --- networks of others: the constants are what the real modules take -------------------------------------------------


@pytest.mark.parametrize(("name", "architecture"), [("hpsv2", "ViT-H-14"), ("clip-score", "ViT-L-14-quickgelu")])
def test_a_clip_of_open_clip(name: str, architecture: str):
    open_clip = pytest.importorskip("open_clip")
    from open_clip.factory import get_model_config

    config = get_model_config(architecture)
    quick = bool(config.pop("quick_gelu", False))
    with torch.device("meta"):
        clip = open_clip.CLIP(**config, quick_gelu=quick).requires_grad_(False)
        image, words = torch.empty(1, 3, 224, 224, requires_grad=True), torch.zeros(1, 77, dtype=torch.long)
        seen = count(clip, lambda: clip.encode_image(image), fused=True)
        read = count(clip, lambda: clip.encode_text(words), fused=True, backward=False)
    said = PUBLISHED[name]
    assert said.parameters == seen.parameters
    assert said.forward == pytest.approx(seen.forward + read.forward, rel=0.01)
    assert (said.activations, said.resting) == pytest.approx((seen.activations, seen.resting), rel=0.05)
    assert PUBLISHED["pickscore"] == PUBLISHED["hpsv2"]


def test_blip_of_image_reward():
    transformers = pytest.importorskip("transformers")
    from amd.rewards.imagereward import NORM_EPS, TOKENS

    with torch.device("meta"):
        look = transformers.BlipVisionModel(
            transformers.BlipVisionConfig(
                hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224,
                patch_size=16, layer_norm_eps=NORM_EPS, hidden_act="gelu",
            )
        ).eval()  # fmt: skip
        read = transformers.BlipTextModel(
            transformers.BlipTextConfig(is_decoder=True, encoder_hidden_size=1024, vocab_size=30524),
            add_pooling_layer=False,
        ).eval()
        both = nn.ModuleList([look, read]).requires_grad_(False)
        image, words = torch.empty(1, 3, 224, 224, requires_grad=True), torch.zeros(1, TOKENS, dtype=torch.long)

        def score() -> Tensor:
            states = look(pixel_values=image).last_hidden_state
            return read(input_ids=words, encoder_hidden_states=states, is_decoder=False).last_hidden_state[:, 0]

        found = count(both, score, fused=True)
    said = PUBLISHED["imagereward"]
    assert said.parameters == pytest.approx(found.parameters, rel=0.01)  # and its MLP
    assert said.forward == pytest.approx(
        found.forward, rel=0.3
    )  # BERT's sizes by default here, the published ones there
    assert said.resting == pytest.approx(found.resting, rel=0.1)


def test_qwen2_vl_of_videoalign():
    transformers = pytest.importorskip("transformers")
    from amd.rewards import videoalign_frames as sight
    from amd.rewards.videoalign import Recipe, VideoAlign

    eye = {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16}
    language = {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151660,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    recipe = Recipe(sight.RATE, sight.MOST_PIXELS, 64, 2.0, sight.PUBLISHED)
    config = transformers.Qwen2VLConfig(**language, vision_config=eye, attn_implementation="sdpa")
    with torch.device("meta"):
        network = transformers.Qwen2VLModel(config)
        scorer = VideoAlign(network, torch.empty(1, 1536), None, recipe, "")
        frames = torch.empty(1, sight.frame_count(81, 16), 3, *sight.resized(480, 832), requires_grad=True)
        words = torch.empty(1, 1000, 1536)

    def score() -> Tensor:
        seen = scorer.look(frames)
        return network.language_model(inputs_embeds=torch.cat((seen, words), 1), use_cache=False).last_hidden_state

    found, said = count(scorer, score, fused=True), PUBLISHED["videoalign"]
    assert said.parameters == found.parameters
    assert said.forward == pytest.approx(found.forward, rel=0.01)
    assert (said.activations, said.resting) == pytest.approx((found.activations, found.resting), rel=0.01)
    # what VideoReward's model.pth of 5,031,072,529 bytes holds: branches and a second copy of the embedding besides
    linear = [m for m in network.language_model.modules() if isinstance(m, nn.Linear)]
    branches = sum(64 * (m.in_features + m.out_features) for m in linear)
    numbers = found.parameters + branches + 151660 * 1536 + 1536
    assert 0 < 5_031_072_529 - 2 * numbers < 400_000  # names, in bfloat16 all of it


def test_the_text_encoders_of_stable_diffusion():
    transformers = pytest.importorskip("transformers")
    words = torch.zeros(1, 77, dtype=torch.long, device="meta")
    with torch.device("meta"):
        towers = [
            transformers.CLIPTextModel(
                transformers.CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                            num_attention_heads=12)
            ).eval(),
            transformers.CLIPTextModelWithProjection(
                transformers.CLIPTextConfig(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32,
                                            num_attention_heads=20, projection_dim=1280)
            ).eval(),
        ]  # fmt: skip
        small, large = (count(tower, lambda: tower(words)[0], fused=True, backward=False) for tower in towers)  # noqa: B023
    assert ENCODERS["sd15"][0].parameters == small.parameters
    assert ENCODERS["sdxl"][0].parameters == small.parameters + large.parameters
    assert ENCODERS["sd15"][0].forward == pytest.approx(small.forward, rel=0.01)
    assert ENCODERS["sdxl"][0].forward == pytest.approx(small.forward + large.forward, rel=0.01)


def test_the_small_ones():
    from amd.backbones.minilm import MiniLM
    from amd.measure.efflite import SIDE, EffLite0

    with torch.device("meta"):
        lite, image = EffLite0(), torch.empty(1, 3, SIDE, SIDE)
        found = count(lite, lambda: lite.features(image), fused=False, backward=False)
        said = PUBLISHED["efficientnet-lite0"]
        assert said.parameters == found.parameters
        assert said.forward == pytest.approx(found.forward, rel=0.02)
        mini, (cost, tokens) = MiniLM(), ENCODERS["minilm"]
        ids, mask = torch.zeros(1, tokens, dtype=torch.long), torch.ones(1, tokens, dtype=torch.bool)
        found = count(mini, lambda: mini(ids, mask), fused=False, backward=False)
        assert cost.parameters == found.parameters
        assert cost.forward == pytest.approx(found.forward, rel=0.01)


def test_flux_by_the_defaults_of_diffusers_class():
    from diffusers import FluxTransformer2DModel

    side, words = 64, 512  # patches of 1024 pixels, tokens
    with torch.device("meta"):
        flux = FluxTransformer2DModel(guidance_embeds=True)
        patches, states, one = torch.empty(1, side * side, 64), torch.empty(1, words, 4096), torch.empty(1)
        places, ids = torch.empty(side * side, 3), torch.empty(words, 3)
        asked = (patches, states, torch.empty(1, 768), one, places, ids, one)
        found = count(flux, lambda: flux(*asked, return_dict=False)[0], fused=True, backward=False)
    assert FLUX.parameters == found.parameters
    assert (FLUX.forward, FLUX.resting) == pytest.approx((found.forward, found.resting), rel=0.01)


def test_shapes_that_are_remembered_change_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network with attention, norms, views and recomputation, on the real class."""
    run = load(Path(__file__).parents[2] / "config").run("wan-amd", "smoke", 0)
    _network.cache_clear()
    remembered = network(run, fused=True)
    _network.cache_clear()
    monkeypatch.setattr(counting, "Shapes", nullcontext)
    assert network(run, fused=True) == remembered
