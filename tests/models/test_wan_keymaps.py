"""Published Wan files, made here at a small size in their authors' names, give the network that they describe."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from safetensors.torch import save_file
from torch import Tensor
from wans import IMAGES, SHAPE, SIZE, inputs, stirred

from amd.backbones.sit import SiTBackbone
from amd.backbones.wan import Wan, WanBackbone
from amd.backbones.wan_keymaps import load_wan, renamed, unwrapped
from amd.backbones.wan_streaming import StreamingWan
from amd.config.schema.sizes import SiTSize, Streaming, WanSize

T2V = WanSize(patch=2, width=1536, depth=30, heads=12, ffn=8960, context=4096)  # 1.3B
I2V = SIZE.model_copy(update={"image_context": IMAGES})


def public_names(depth: int, image: bool) -> list[str]:
    """The state dict's keys of Wan-Video/Wan2.1 wan/modules/model.py, WanModel."""
    stems = ["patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2"]
    stems += ["time_projection.1", "head.head"]
    gains = []
    if image:
        stems += [f"img_emb.proj.{layer}" for layer in (0, 1, 3, 4)]
    for i in range(depth):
        for attention in ("self_attn", "cross_attn"):
            stems += [f"blocks.{i}.{attention}.{layer}" for layer in "qkvo"]
            gains += [f"blocks.{i}.{attention}.norm_{layer}.weight" for layer in "qk"]
        stems += [f"blocks.{i}.{layer}" for layer in ("norm3", "ffn.0", "ffn.2")]
        gains.append(f"blocks.{i}.modulation")
        if image:
            stems += [f"blocks.{i}.cross_attn.{layer}" for layer in ("k_img", "v_img")]
            gains.append(f"blocks.{i}.cross_attn.norm_k_img.weight")
    return [*(f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias")), *gains, "head.modulation"]


def public(wan: Wan) -> dict[str, Tensor]:
    """The network's weights under the authors' names."""
    names = public_names(wan.depth, wan.size.image_context is not None)
    weights = wan.network.state_dict()
    return {name: weights[renamed(name)].contiguous() for name in names}


def test_the_names_are_a_bijection_onto_those_of_the_published_size():
    with torch.device("meta"):
        network = WanBackbone(T2V, (16, 21, 60, 104)).network
    ours = [renamed(name) for name in public_names(30, image=False)]
    assert len(ours) == len(set(ours)) == 825
    assert set(ours) == set(network.state_dict())


@pytest.mark.parametrize("image", [False, True])
def test_the_names_are_those_of_diffusers_own_conversion(image):
    network = WanBackbone(I2V if image else SIZE, SHAPE).network
    names = public_names(SIZE.depth, image)
    theirs = convert_wan_transformer_to_diffusers({name: torch.tensor([float(i)]) for i, name in enumerate(names)})
    assert {renamed(name): float(i) for i, name in enumerate(names)} == {k: float(v) for k, v in theirs.items()}
    assert set(theirs) == set(network.state_dict())


@pytest.mark.parametrize("image", [False, True])
def test_wans_own_files_in_parts_give_the_network(tmp_path, image):
    size = I2V if image else SIZE
    wan, fresh = stirred(WanBackbone(size, SHAPE)), WanBackbone(size, SHAPE)
    weights = sorted(public(wan).items())
    parts = [tmp_path / f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    save_file(dict(weights[::2]), parts[0])
    save_file(dict(weights[1::2]), parts[1])
    x, _, t, cond = inputs(2)
    assert load_wan(fresh, parts, "wan") is fresh
    with torch.no_grad():
        assert torch.equal(fresh(x, t, cond), wan(x, t, cond))


def bare(weights: dict[str, Tensor]) -> dict:
    return {f"model.{name}": tensor for name, tensor in weights.items()}


def trained(weights: dict[str, Tensor]) -> dict:
    """What a trainer saves: both networks, and an average in FSDP's names."""
    average = {}
    for name, tensor in bare(weights).items():
        parts = name.split(".")
        if parts[1] == "blocks":
            parts[2] += "._fsdp_wrapped_module._checkpoint_wrapped_module"
        average[".".join(["model._fsdp_wrapped_module", *parts[1:]])] = tensor
    other = {name: tensor + 1 for name, tensor in bare(weights).items()}
    return {"generator": other, "critic": other, "generator_ema": average}


@pytest.mark.parametrize("form", [bare, lambda w: {"generator": bare(w)}, trained], ids=["bare", "ode_init", "trained"])
def test_self_forcings_files_give_the_causal_student(tmp_path: Path, form: Callable[[dict], dict]):
    setting = Streaming(chunk=3, window=6, sink=0)
    wan, fresh = stirred(StreamingWan(SIZE, SHAPE, setting)), StreamingWan(SIZE, SHAPE, setting)
    file = tmp_path / "ode_init.pt"
    torch.save(form({name: tensor.bfloat16() for name, tensor in public(wan).items()}), file)
    load_wan(fresh, file, "self-forcing")
    for name, tensor in fresh.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, wan.state_dict()[name].bfloat16().float()), name


def test_wrappers_are_taken_off():
    name = "model._fsdp_wrapped_module.blocks.3._fsdp_wrapped_module._checkpoint_wrapped_module.self_attn.q.weight"
    assert unwrapped(name) == "blocks.3.self_attn.q.weight"
    assert renamed(unwrapped(name)) == "blocks.3.attn1.to_q.weight"
    assert renamed("blocks.3.strange.weight") == "blocks.3.strange.weight"


def test_what_does_not_fit_is_named(tmp_path):
    wan = WanBackbone(SIZE, SHAPE)
    weights = public(wan)
    file = tmp_path / "part.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if name != "head.head.bias"}, file)
    with pytest.raises(ValueError, match=r"part\.safetensors in the wan layout.*1 missing: proj_out\.bias"):
        load_wan(wan, file, "wan")
    save_file(weights | {"vace_blocks.0.weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match=r"1 unexpected: vace_blocks\.0\.weight"):
        load_wan(wan, file, "wan")
    torch.save({"critic": bare(weights)}, tmp_path / "critic.pt")
    with pytest.raises(ValueError, match=r"critic\.pt: no state dict.*'generator_ema' or 'generator'"):
        load_wan(wan, tmp_path / "critic.pt", "self-forcing")
    with pytest.raises(ValueError, match="layout 'sit' is not known; known: wan, self-forcing"):
        load_wan(wan, file, "sit")
    with pytest.raises(ValueError, match="layout 'wan' is none of a SiTBackbone"):
        load_wan(SiTBackbone(SiTSize(patch=2, width=16, depth=1, heads=2), 3, 4, 4), file, "wan")
