"""Wan against diffusers' own forward pass, names and published sizes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import Tensor
from wans import IMAGES, SHAPE, SIZE, inputs, stirred

from amd.backbones.adapters import BRANCHED, add_lora, view
from amd.backbones.base import backbone
from amd.backbones.clip_critic import ClipCritic
from amd.backbones.wan import WanBackbone, settings
from amd.backbones.wan_block import attend, rotate, rotations
from amd.config.schema.sizes import WanSize

SMALL = WanSize(patch=2, width=1536, depth=30, heads=12, ffn=8960, context=4096)
LARGE = WanSize(patch=2, width=5120, depth=40, heads=40, ffn=13824, context=4096)
LARGE_IMAGE = LARGE.model_copy(update={"image_context": 1280})
PUBLISHED = {  # transformer/config.json of Wan-AI/Wan2.1-T2V-1.3B-Diffusers, T2V-14B-Diffusers, I2V-14B-480P-Diffusers
    "t2v-1.3b": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "in_channels": 16},
    "t2v-14b": {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40, "in_channels": 16},
    "i2v-14b": {
        "num_attention_heads": 40,
        "ffn_dim": 13824,
        "num_layers": 40,
        "in_channels": 36,
        "image_dim": 1280,
        "added_kv_proj_dim": 5120,
    },
}
COMMON = {
    "attention_head_dim": 128,
    "cross_attn_norm": True,
    "eps": 1e-06,
    "freq_dim": 256,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "qk_norm": "rms_norm_across_heads",
    "text_dim": 4096,
    "rope_max_seq_len": 1024,
}


@pytest.fixture(params=[False, True], ids=["t2v", "i2v"])
def wan(request) -> WanBackbone:
    size = SIZE.model_copy(update={"image_context": IMAGES}) if request.param else SIZE
    return stirred(WanBackbone(size, SHAPE))


def stock(wan: WanBackbone, x_t: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
    """diffusers' own forward pass of the same weights: x - eps. It reads 512 text tokens where there is an image."""
    network = WanTransformer3DModel(**settings(wan.size, wan.channels, wan.first_frame))
    network.load_state_dict(wan.network.state_dict())
    if wan.first_frame:  # as WanImageToVideoPipeline has it: latents, four channels of mask, the first frame's latents
        given = torch.zeros_like(x_t)
        given[:, :, 0] = cond["first"]
        mask = torch.zeros(x_t.shape[0], 4, *x_t.shape[2:])
        mask[:, :, 0] = 1
        x_t = torch.cat((x_t, mask, given), 1)
    image = cond["image"] if wan.first_frame else None
    return -network(x_t, (1000 * (1 - t)).float(), cond["tokens"], image).sample


@pytest.mark.parametrize(
    ("size", "name", "count"),
    [
        (SMALL, "t2v-1.3b", 1_418_996_800),
        (LARGE, "t2v-14b", 14_288_491_584),
        (LARGE_IMAGE, "i2v-14b", 16_394_878_784),
    ],
)
def test_published_sizes_have_the_published_parameters_and_names(size, name, count):
    with torch.device("meta"):
        ours = WanBackbone(size, (16, 21, 60, 104))
        theirs = WanTransformer3DModel(**COMMON, **PUBLISHED[name])
    assert sum(p.numel() for p in ours.parameters()) == count
    shapes = {f"network.{key}": tensor.shape for key, tensor in theirs.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == shapes
    for key, value in theirs.config.items():
        if not key.startswith("_"):
            assert ours.network.config[key] == value, key


def test_nothing_of_a_meta_network_is_left_there_once_it_has_weights():
    with torch.device("meta"):
        empty = WanBackbone(SIZE, SHAPE)
    empty.load_state_dict(WanBackbone(SIZE, SHAPE, seed=3).state_dict(), assign=True)
    x, _, t, cond = inputs(2)
    expected = WanBackbone(SIZE, SHAPE, seed=3)(x, t, cond)
    assert torch.equal(empty(x, t, cond), expected)


def test_velocity_is_diffusers_forward_pass(wan):
    x, _, t, cond = inputs(3, tokens=512 if wan.first_frame else 7)
    del cond["mask"]
    with torch.no_grad():
        torch.testing.assert_close(wan.velocity(x, t, cond), stock(wan, x, t, cond), rtol=0, atol=1e-5)  # float32


def test_gradients_are_those_of_diffusers_forward_pass(wan):
    x, eps, t, cond = inputs(2, tokens=512 if wan.first_frame else 7)
    del cond["mask"]
    (ours,) = torch.autograd.grad(wan.velocity(x.requires_grad_(), t, cond).mul(eps).sum(), x)
    (theirs,) = torch.autograd.grad(stock(wan, x, t, cond).mul(eps).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # float32, sums over a clip


def test_x0_is_where_the_velocity_leads_and_the_native_loss_is_the_velocitys_error(wan):
    x, eps, t, cond = inputs(4)
    x_t = wan.path.add_noise(x, eps, t)
    with torch.no_grad():
        v, x0, loss = wan.velocity(x_t, t, cond), wan(x_t, t, cond), wan.native_loss(x, eps, t, cond)
    torch.testing.assert_close(x0, x_t + (1 - t)[:, None, None, None, None].float() * v)
    torch.testing.assert_close(loss, (v - (x - eps)).square().mean((1, 2, 3, 4)))
    by_x0 = (x0.double() - x).square().mean((1, 2, 3, 4)) / (1 - t) ** 2
    torch.testing.assert_close(loss.double(), by_x0, rtol=1e-3, atol=0)  # float32


def test_the_written_out_softmax_is_the_fused_one():
    q, k, v = torch.randn(3, 9, 8), torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    bias = torch.zeros(3, 1, 5)
    bias[1, 0, 3:] = -10_000
    split = [x.unflatten(2, (2, 4)).transpose(1, 2) for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*split, attn_mask=bias[:, None]).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attend(q, k, v, 2, bias), expected, rtol=0, atol=1e-6)  # float32


def test_rotations_are_those_of_diffusers_table_and_go_on_behind_its_end():
    heads = 12
    theirs = WanTransformer3DModel(**settings(SIZE, 4, False)).rope
    cosine, sine = theirs(torch.empty(1, 4, 6, 8, 6))
    turn = rotations(range(6), 4, 3, heads, torch.empty(0))
    torch.testing.assert_close(turn.cosine, cosine[..., 0::2], rtol=0, atol=1e-7)
    torch.testing.assert_close(turn.sine, sine[..., 1::2], rtol=0, atol=1e-7)
    far = rotations([5000], 4, 3, heads, torch.empty(0))
    assert far.cosine.shape == (1, 12, 1, 6)
    assert not torch.equal(far.cosine, turn.cosine[:, :12])


def test_pairs_of_channels_turn_by_their_angles():
    x, turn = torch.randn(2, 72, 24, dtype=torch.float64), rotations(range(6), 4, 3, 12, torch.empty(0).double())
    even, odd = x.unflatten(2, (2, 6, 2)).unbind(-1)
    turned = rotate(x, 2, turn).unflatten(2, (2, 6, 2))
    torch.testing.assert_close(turned[..., 0], even * turn.cosine - odd * turn.sine, rtol=0, atol=1e-15)
    torch.testing.assert_close(turned[..., 1], even * turn.sine + odd * turn.cosine, rtol=0, atol=1e-15)


def test_features_are_the_states_after_blocks_and_later_blocks_are_not_run(wan):
    x, _, t, cond = inputs(2)
    seen: dict[int, Tensor] = {}
    for index, block in enumerate(wan.network.blocks):
        block.register_forward_hook(lambda module, args, out, index=index: seen.update({index: out[0]}))
    wan.velocity(x, t, cond)
    whole, count = dict(seen), wan.grid[0] * wan.grid[1] * SHAPE[1]
    seen.clear()
    last, first = wan.features(x, t, cond, (1, 0))
    assert torch.equal(first, whole[0])
    assert torch.equal(last, whole[1])
    assert first.shape == (2, count, wan.width)
    assert set(seen) == {0, 1}
    with pytest.raises(ValueError, match=r"\(3,\).*0 \.\. 2"):
        wan.features(x, t, cond, (3,))


def test_a_token_that_is_masked_is_not_read(wan):
    x, _, t, cond = inputs(3)
    before = wan.velocity(x, t, cond)
    other = torch.where(cond["mask"][..., None], cond["tokens"], torch.randn_like(cond["tokens"]))
    assert torch.equal(wan.velocity(x, t, cond | {"tokens": other}), before)
    assert not torch.equal(wan.velocity(x, t, cond | {"tokens": cond["tokens"] + 1}), before)
    short = {key: value[:1] for key, value in cond.items()}
    kept = short["mask"][0]
    cut = short | {"tokens": short["tokens"][:, kept], "mask": short["mask"][:, kept]}
    torch.testing.assert_close(wan.velocity(x[:1], t[:1], cut), before[:1], rtol=0, atol=1e-5)  # float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rows_do_not_see_each_other(wan, precision):
    wan.precision = precision
    x, _, t, cond = inputs(4)
    with torch.no_grad():
        whole = wan.velocity(x, t, cond)
        alone = wan.velocity(x[2:3], t[2:3], {key: value[2:3] for key, value in cond.items()})
    tolerance = 1e-5 if precision == "float32" else 5e-2  # another batch is another order of sums
    torch.testing.assert_close(alone[0], whole[2], rtol=0, atol=tolerance)


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32(wan):
    x, eps, t, cond = inputs(3)
    exact = wan.velocity(x, t, cond)
    wan.precision = "bfloat16"
    seen: dict[str, torch.dtype] = {}
    for name in ("blocks.0.attn1.to_q", "blocks.1.ffn.net.2", "condition_embedder.time_proj", "proj_out"):
        wan.network.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: seen.update({name.split(".")[0]: out.dtype})
        )
    rough, loss = wan.velocity(x, t, cond), wan.native_loss(x, eps, t, cond)
    (state,) = wan.features(x, t, cond, (1,))
    assert seen == {
        "blocks": torch.bfloat16,
        "condition_embedder": torch.float32,
        "proj_out": torch.float32,
    }
    assert rough.dtype == loss.dtype == state.dtype == torch.float32
    error = (rough - exact).abs().max() / exact.abs().max()
    assert 1e-5 < error < 5e-2  # not float32, and within some of bfloat16's 2^-8


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recomputed_blocks_give_the_same_gradients(wan, precision):
    wan.precision = precision
    x, eps, t, cond = inputs(2)
    calls: list[int] = []
    wan.network.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))

    def gradients() -> list[Tensor]:
        wan.zero_grad()
        wan.native_loss(x, eps, t, cond).mean().backward()
        return [p.grad.clone() for p in wan.parameters()]

    stored = gradients()
    assert len(calls) == 1
    wan.recompute = True
    assert all(torch.equal(a, b) for a, b in zip(stored, gradients(), strict=True))
    assert len(calls) == 3  # once in the forward pass and again in the backward one
    with torch.no_grad():
        wan.native_loss(x, eps, t, cond)
    assert len(calls) == 4


def test_blocks_are_recomputed_with_the_weights_frozen_that_were(wan):
    """As a student asks a critic on the fake teacher's features: in the backward pass the fake trains again."""
    x, _, t, cond = inputs(2)

    def gradient(recompute: bool) -> Tensor:
        wan.recompute = recompute
        asked = x.clone().requires_grad_()
        wan.requires_grad_(False)
        (features,) = wan.features(asked, t, cond, (1,))
        wan.requires_grad_(True)
        features.square().sum().backward()
        assert all(p.grad is None and p.requires_grad for p in wan.parameters())
        return asked.grad

    stored = gradient(False)
    assert float(stored.abs().max()) > 0
    assert torch.equal(gradient(True), stored)


def test_a_fresh_network_says_nothing_and_its_seed_alone_decides_it():
    torch.manual_seed(0)
    x, _, t, cond = inputs(2)
    first, again, other = (WanBackbone(SIZE, SHAPE, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first(x, t, cond), x)
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_a_fresh_network_learns():
    fresh = WanBackbone(SIZE, SHAPE, seed=3)
    x, eps, t, cond = inputs(3)
    optimiser = torch.optim.Adam(fresh.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = fresh.native_loss(x, eps, t, cond).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_low_rank_branches_are_on_attention_and_mlp(wan):
    x, eps, t, cond = inputs(2)
    before = wan.velocity(x, t, cond)
    branches = add_lora(wan, 2)
    assert torch.equal(view(wan, 2.0).velocity(x, t, cond), before)
    adapted = {name.split(".", 3)[3] for name, module in wan.named_modules() if isinstance(module, BRANCHED)}
    attention = {f"attn{i}.{layer}" for i in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")}
    assert adapted == attention | {"ffn.net.0.proj", "ffn.net.2"}
    assert len(branches) == 2 * SIZE.depth * len(adapted)
    with torch.no_grad():
        for branch in branches:
            branch.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    real, fake = view(wan, 0.0), view(wan, 2.0)
    assert torch.equal(real.velocity(x, t, cond), before)
    assert not torch.allclose(fake.velocity(x, t, cond), before, atol=1e-3)
    fake.recompute = True
    fake.native_loss(x, eps, t, cond).mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in branches)
    assert not real.recompute


def test_the_first_frame_is_told_as_latents_alone_or_as_a_clip_of_them():
    wan = stirred(WanBackbone(SIZE, SHAPE, first_frame=True))  # without CLIP states
    assert wan.network.config.in_channels == 2 * SHAPE[0] + 4
    x, _, t, cond = inputs(2)
    padded = torch.zeros(2, *SHAPE)
    padded[:, :, 0] = cond["first"]
    told = wan.velocity(x, t, cond)
    assert torch.equal(wan.velocity(x, t, cond | {"first": padded}), told)
    grey = padded.clone()
    grey[:, :, 1:] = 0.3
    assert not torch.allclose(wan.velocity(x, t, cond | {"first": grey}), told, atol=1e-3)
    assert not torch.allclose(wan.velocity(x, t, cond | {"first": -cond["first"]}), told, atol=1e-3)


def test_a_critic_reads_clips_of_any_length_with_their_neighbours_in_space_and_time(wan):
    x, _, t, cond = inputs(3)
    critic = wan.critic(1)
    assert isinstance(critic, ClipCritic)
    assert critic.layers == (0, 1, 2)
    states = wan.features(x, t, cond, critic.layers)
    assert torch.equal(critic(states), torch.zeros(3))
    for head in critic.heads:
        torch.nn.init.normal_(head.out.weight, generator=torch.Generator().manual_seed(3))
    logits = critic(states)
    places = wan.grid[0] * wan.grid[1]
    assert critic([state[:, : 2 * places] for state in states]).shape == (3,)
    torch.testing.assert_close(critic([state[1:2] for state in states])[0], logits[1])
    frames = torch.randperm(SHAPE[1], generator=torch.Generator().manual_seed(4))
    for axis in (1, 2):  # frames in another order, places in another order: another clip
        mixed = [state.unflatten(1, (-1, places)) for state in states]
        order = frames if axis == 1 else torch.randperm(places, generator=torch.Generator().manual_seed(4))
        assert not torch.allclose(critic([m.index_select(axis, order).flatten(1, 2) for m in mixed]), logits, atol=1e-5)
    same = ClipCritic(wan.width, wan.depth, wan.grid, seed=1)
    fresh = ClipCritic(wan.width, wan.depth, wan.grid, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), fresh.parameters(), strict=True))


def test_what_does_not_fit_is_refused(wan):
    x, _, t, cond = inputs(2)
    with pytest.raises(ValueError, match="patch 2 does not divide latents of 8 x 7"):
        WanBackbone(SIZE, (4, 6, 8, 7))
    with pytest.raises(ValueError, match="width 4 is too narrow"):
        WanBackbone(SIZE.model_copy(update={"heads": 6}), SHAPE)
    with pytest.raises(NotImplementedError, match="text encoder"):
        wan.null({})
    if wan.first_frame:
        for key in ("first", "image"):
            with pytest.raises(ValueError, match=rf"cond\['{key}'\] is missing"):
                wan(x, t, {name: value for name, value in cond.items() if name != key})
    assert backbone("wan") is WanBackbone
    assert copy.deepcopy(wan).shape == SHAPE
