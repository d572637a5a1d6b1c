"""The UNet against diffusers' own forward pass, names, sizes and scheduler."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from unets import CHANNELS, LARGE, SIDE, SMALL, inputs

from amd.backbones.base import backbone
from amd.backbones.unet import Attend, UNetBackbone, settings, stable_diffusion_path, written_out
from amd.config.schema.sizes import UNetSize
from amd.distill.path import from_x0
from amd.distill.rollout import grid

SDXL = UNetSize(
    channels=[320, 640, 1280],
    layers=2,
    transformers=[0, 2, 10],
    heads=[5, 10, 20],
    context=2048,
    pooled=1280,
    linear_projection=True,
)
SD15 = UNetSize(channels=[320, 640, 1280, 1280], layers=2, transformers=[1, 1, 1, 0], heads=[8] * 4, context=768)
PUBLISHED = {  # unet/config.json of stabilityai/stable-diffusion-xl-base-1.0 and of stable-diffusion-v1-5
    "sdxl": {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
        "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "layers_per_block": 2,
        "projection_class_embeddings_input_dim": 2816,
        "sample_size": 128,
        "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "use_linear_projection": True,
    },
    "sd15": {
        "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280],
        "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "layers_per_block": 2,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
}


def stock(unet: UNetBackbone, x_t: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
    """diffusers' own forward pass of the same weights, its own attention included."""
    network = UNet2DConditionModel(**settings(unet.size, unet.channels, unet.side))
    network.load_state_dict(unet.network.state_dict())
    added = {"text_embeds": cond["pooled"], "time_ids": cond["time_ids"]} if "pooled" in cond else None
    return network(
        x_t,
        unet.path.index(t),
        cond["tokens"],
        encoder_attention_mask=cond.get("mask"),
        added_cond_kwargs=added,
    ).sample


@pytest.mark.parametrize(
    ("size", "side", "name", "count"), [(SDXL, 128, "sdxl", 2_567_463_684), (SD15, 64, "sd15", 859_520_964)]
)
def test_published_sizes_have_the_published_parameters_and_names(size, side, name, count):
    with torch.device("meta"):
        ours = UNetBackbone(size, 4, side)
        theirs = UNet2DConditionModel(**PUBLISHED[name])
    assert sum(p.numel() for p in ours.parameters()) == count
    shapes = {f"network.{key}": tensor.shape for key, tensor in theirs.state_dict().items()}
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == shapes
    per_block = {"attention_head_dim", "transformer_layers_per_block"}  # one number there may stand for all blocks
    differing = {key for key, value in theirs.config.items() if _listed(ours.network.config[key]) != _listed(value)}
    assert {key for key in differing if not key.startswith("_")} <= per_block


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("masked", [True, False])
def test_eps_is_diffusers_forward_pass(unet, masked):
    x, _, t, cond = inputs(unet.size, 5)
    if not masked:
        del cond["mask"]
    with torch.no_grad():
        torch.testing.assert_close(unet.eps(x, t, cond), stock(unet, x, t, cond), rtol=0, atol=1e-5)  # float32


def test_gradients_are_those_of_diffusers_forward_pass(unet):
    x, eps, t, cond = inputs(unet.size, 3)
    (ours,) = torch.autograd.grad(unet.eps(x.requires_grad_(), t, cond).mul(eps).sum(), x)
    (theirs,) = torch.autograd.grad(stock(unet, x, t, cond).mul(eps).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # float32, sums over 256 places


def test_the_written_out_softmax_is_the_fused_one():
    q, k, v = torch.randn(3, 9, 8), torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    mask = torch.zeros(3, 1, 5)
    mask[1, 0, 3:] = -10_000
    split = [x.unflatten(2, (2, 4)).transpose(1, 2) for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*split, attn_mask=mask[:, None]).transpose(1, 2).flatten(2)
    torch.testing.assert_close(written_out(q, k, v, 2, mask), expected, rtol=0, atol=1e-6)  # float32


def test_the_path_is_the_table_of_diffusers_scheduler():
    table = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).alphas_cumprod
    assert torch.equal(stable_diffusion_path().alphas_cumprod, table)
    t = torch.tensor(grid(4), dtype=torch.float64)
    assert stable_diffusion_path().index(t).tolist() == [999, 749, 499, 249]  # DMD2's steps


def test_noising_and_x0_are_those_of_diffusers_scheduler(unet):
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    x, eps, t, cond = inputs(unet.size, 6)
    t[0] = 0.0
    index = unet.path.index(t)
    x_t = unet.path.add_noise(x, eps, t)
    torch.testing.assert_close(x_t, scheduler.add_noise(x, eps, index), rtol=0, atol=1e-6)  # float32
    with torch.no_grad():
        x0, noise = unet(x_t, t, cond), unet.eps(x_t, t, cond)
    for row, n in enumerate(index):
        expected = scheduler.step(noise[row], n, x_t[row]).pred_original_sample
        torch.testing.assert_close(x0[row], expected, rtol=1e-4, atol=1e-4)  # theirs in float32, over alpha = 0.07
    torch.testing.assert_close(from_x0(unet.path, x0, x_t, t, "eps"), noise, rtol=0, atol=1e-4)


def test_native_loss_is_the_noise_error_and_the_x0_error_times_snr(unet):
    x, eps, t, cond = inputs(unet.size, 6)
    x_t = unet.path.add_noise(x, eps, t)
    with torch.no_grad():
        loss, noise, x0 = unet.native_loss(x, eps, t, cond), unet.eps(x_t, t, cond), unet(x_t, t, cond)
    assert loss.shape == (6,)
    torch.testing.assert_close(loss, (noise - eps).square().mean((1, 2, 3)))
    alpha, sigma = unet.path.coefficients(t)
    by_x0 = (x0.double() - x).square().mean((1, 2, 3)) * (alpha / sigma) ** 2
    torch.testing.assert_close(loss.double(), by_x0, rtol=1e-4, atol=0)  # float32


def test_features_are_the_middle_blocks_output_and_the_second_half_is_not_run(unet):
    x, _, t, cond = inputs(unet.size, 4)
    seen: list[Tensor] = []
    unet.network.mid_block.register_forward_hook(lambda module, args, out: seen.append(out))
    unet.eps(x, t, cond)
    ran: list[str] = []
    for name, block in unet.network.named_modules():
        if name.startswith(("up_blocks", "conv_norm_out", "conv_out")):
            block.register_forward_hook(lambda module, args, out, name=name: ran.append(name))
    (state,) = unet.features(x, t, cond, (0,))
    assert torch.equal(state, seen[0])
    assert state.shape == (4, unet.width, unet.bottleneck, unet.bottleneck)
    assert not ran
    with pytest.raises(ValueError, match=r"\(1,\).*bottleneck alone"):
        unet.features(x, t, cond, (1,))


def test_a_token_that_is_masked_is_not_read(unet):
    x, _, t, cond = inputs(unet.size, 4)
    before = unet.eps(x, t, cond)
    other = torch.where(cond["mask"][..., None], cond["tokens"], torch.randn_like(cond["tokens"]))
    assert torch.equal(unet.eps(x, t, cond | {"tokens": other}), before)
    assert not torch.equal(unet.eps(x, t, cond | {"tokens": cond["tokens"] + 1}), before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_rows_do_not_see_each_other(unet, precision):
    unet.precision = precision
    x, _, t, cond = inputs(unet.size, 4)
    with torch.no_grad():
        whole = unet.eps(x, t, cond)
        alone = unet.eps(x[2:3], t[2:3], {key: value[2:3] for key, value in cond.items()})
    tolerance = 1e-5 if precision == "float32" else 5e-2  # another batch is another order of sums
    torch.testing.assert_close(alone[0], whole[2], rtol=0, atol=tolerance)


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32(unet):
    x, eps, t, cond = inputs(unet.size, 6)
    exact = unet.eps(x, t, cond)
    unet.precision = "bfloat16"
    seen: dict[str, torch.dtype] = {}
    for name in ("conv_in", "conv_out"):
        unet.network.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: seen.update({name: out.dtype})
        )
    rough, loss = unet.eps(x, t, cond), unet.native_loss(x, eps, t, cond)
    (state,) = unet.features(x, t, cond, (0,))
    assert seen == {"conv_in": torch.bfloat16, "conv_out": torch.float32}
    assert rough.dtype == loss.dtype == state.dtype == torch.float32
    error = (rough - exact).abs().max() / exact.abs().max()
    assert 1e-5 < error < 3e-2  # not float32, and within some of bfloat16's 2^-8


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recomputed_blocks_give_the_same_gradients(unet, precision):
    unet.precision = precision
    x, eps, t, cond = inputs(unet.size, 4)
    calls: list[int] = []
    unet.network.down_blocks[0].resnets[0].register_forward_pre_hook(lambda *_: calls.append(1))

    def gradients() -> list[Tensor]:
        unet.zero_grad()
        unet.native_loss(x, eps, t, cond).mean().backward()
        return [p.grad.clone() for p in unet.parameters()]

    stored = gradients()
    assert not unet.recompute
    assert len(calls) == 1
    unet.recompute = True
    assert all(torch.equal(a, b) for a, b in zip(stored, gradients(), strict=True))
    assert len(calls) == 3  # once in the forward pass and again in the backward one
    unet.recompute = False
    gradients()
    assert len(calls) == 4


def test_blocks_are_recomputed_with_the_weights_frozen_that_were(unet):
    """As a student asks a critic on the fake teacher's features: in the backward pass the fake trains again."""
    x, _, t, cond = inputs(unet.size, 4)

    def gradient(recompute: bool) -> Tensor:
        unet.recompute = recompute
        asked = x.clone().requires_grad_()
        unet.requires_grad_(False)
        (features,) = unet.features(asked, t, cond)
        unet.requires_grad_(True)
        features.square().sum().backward()
        assert all(p.grad is None and p.requires_grad for p in unet.parameters())
        return asked.grad

    stored = gradient(False)
    assert float(stored.abs().max()) > 0
    assert torch.equal(gradient(True), stored)


@pytest.mark.parametrize("size", [LARGE, SMALL], ids=["sdxl", "sd15"])
def test_a_fresh_network_takes_everything_for_noise(size):
    x, _, t, cond = inputs(size, 4)
    fresh = UNetBackbone(size, CHANNELS, SIDE, seed=3)
    rms = x.square().mean((2, 3), keepdim=True).sqrt()  # a group of the last norm is one channel and its negative here
    torch.testing.assert_close(fresh.eps(x, t, cond), x / rms, rtol=0, atol=1e-4)  # the norm's own 1e-5
    assert fresh.eps(3 * x, t, cond).std().item() == pytest.approx(1, abs=1e-2)


def test_a_network_too_narrow_for_all_channels_passes_as_many_as_it_can():
    narrow = UNetSize(channels=[8, 16], layers=1, transformers=[0, 1], heads=[2, 2], context=24, groups=4)
    x = torch.randn(2, 12, SIDE, SIDE)
    eps = UNetBackbone(narrow, 12, SIDE).eps(x, torch.rand(2).double(), {"tokens": torch.randn(2, 3, 24)})
    assert torch.equal(eps[:, 4:], torch.zeros(2, 8, SIDE, SIDE))
    torch.testing.assert_close(
        eps[:, :4], x[:, :4] / x[:, :4].square().mean((2, 3), keepdim=True).sqrt(), atol=1e-4, rtol=0
    )


def test_the_seed_alone_decides_a_fresh_network():
    torch.manual_seed(0)
    first, again, other = (UNetBackbone(LARGE, CHANNELS, SIDE, seed=seed) for seed in (3, 3, 4))
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)


def test_a_fresh_network_learns(unet):
    fresh = UNetBackbone(unet.size, CHANNELS, SIDE, seed=3)
    x, eps, t, cond = inputs(unet.size, 4)
    optimiser = torch.optim.Adam(fresh.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = fresh.native_loss(x, eps, t, cond).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_processor_serves_every_attention(unet):
    assert {type(processor) for processor in unet.network.attn_processors.values()} == {Attend}


def test_what_does_not_fit_is_refused(unet):
    with pytest.raises(ValueError, match=r"side 6 .*multiple of 4, as 3 blocks need"):
        UNetBackbone(SMALL, CHANNELS, 6)
    with pytest.raises(NotImplementedError, match="text encoder"):
        unet.null({})
    assert backbone("unet") is UNetBackbone
