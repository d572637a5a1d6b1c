"""Public files of random weights, in both layouts, through the door: the x0_hat that their own samplers would form."""

from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from amd.backbones.keymaps import load_published, reversed_time
from amd.backbones.sit import SiTBackbone, time_frequencies


def ours(public) -> SiTBackbone:
    return SiTBackbone(public.size, public.classes, public.channels, public.side)


def rows(t):
    return t[:, None, None, None]


def test_the_sit_layout_gives_sits_own_x0(public, batch, tmp_path):
    weights = public.weights(5, variance=True)
    torch.save(weights, tmp_path / "SiT.pt")
    backbone = load_published(ours(public), tmp_path / "SiT.pt", "sit")
    x, eps, t, label = batch(6)
    x_t = rows(t) * x + (1 - rows(t)) * eps  # SiT: t = 1 clean
    expected = x_t + (1 - rows(t)) * public.network(weights, x_t, t, label)  # v = x - eps
    torch.testing.assert_close(backbone(x_t.float(), t, {"label": label}).double(), expected, rtol=0, atol=3e-5)


def test_the_repa_layout_gives_repas_own_x0(public, batch, tmp_path):
    weights = public.weights(6, variance=False)
    projectors = {f"projectors.0.{i}.{kind}": torch.randn(4) for i in (0, 2, 4) for kind in ("weight", "bias")}
    torch.save(
        {
            "model": public.weights(7, variance=False),
            "ema": weights | projectors,
            "args": Namespace(lr=1e-4),
            "steps": 4,
        },
        tmp_path / "last.pt",
    )
    backbone = load_published(ours(public), tmp_path / "last.pt", "repa")
    x, eps, t, label = batch(6)
    u = 1 - t  # REPA: t = 1 noise
    x_u = (1 - rows(u)) * x + rows(u) * eps
    expected = x_u - rows(u) * public.network(weights, x_u, u, label)  # v = eps - x
    torch.testing.assert_close(backbone(x_u.float(), t, {"label": label}).double(), expected, rtol=0, atol=3e-5)


def test_both_doors_agree_on_one_network_told_in_two_conventions(public, batch, tmp_path):
    sit = public.weights(8, variance=False)
    repa = dict(sit)
    for name in ("final_layer.linear.weight", "final_layer.linear.bias"):
        repa[name] = -sit[name]
    repa["t_embedder.mlp.0.weight"] = reversed_time(sit["t_embedder.mlp.0.weight"])
    torch.save({"ema": sit}, tmp_path / "sit.pt")
    torch.save({"ema": repa}, tmp_path / "repa.pt")
    one = load_published(ours(public), tmp_path / "sit.pt", "sit")
    two = load_published(ours(public), tmp_path / "repa.pt", "repa")
    x, _, t, label = batch(6)
    torch.testing.assert_close(one(x, t, {"label": label}), two(x, t, {"label": label}), rtol=0, atol=1e-5)  # float32


def test_reversed_time_reads_the_other_arrow_and_is_its_own_inverse():
    weight, t = torch.randn(7, 256), torch.rand(9, dtype=torch.float64)
    there = time_frequencies(1 - t) @ weight.T
    torch.testing.assert_close(time_frequencies(t) @ reversed_time(weight).T, there, rtol=0, atol=2e-5)  # float32
    torch.testing.assert_close(reversed_time(reversed_time(weight)), weight, rtol=0, atol=1e-6)


def test_older_repa_files_number_their_decoder_blocks_anew(public, tmp_path):
    weights = public.weights(9, variance=False)
    older = {name.replace("blocks.2.", "decoder_blocks.0."): tensor for name, tensor in weights.items()}
    torch.save({"ema": older}, tmp_path / "older.pt")
    torch.save({"ema": weights}, tmp_path / "newer.pt")
    one, two = (load_published(ours(public), tmp_path / f"{name}.pt", "repa") for name in ("older", "newer"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_safetensors_and_a_network_on_the_meta_device_will_do(public, batch, tmp_path):
    weights = public.weights(5, variance=True)
    save_file({f"module.{name}": tensor for name, tensor in weights.items()}, tmp_path / "SiT.safetensors")
    torch.save(weights, tmp_path / "SiT.pt")
    with torch.device("meta"):
        empty = ours(public)
    x, _, t, label = batch(3)
    filled = load_published(empty, tmp_path / "SiT.safetensors", "sit")
    other = load_published(ours(public), tmp_path / "SiT.pt", "sit")
    assert torch.equal(filled(x, t, {"label": label}), other(x, t, {"label": label}))
    assert [p.requires_grad for p in filled.parameters()] == [p.requires_grad for p in other.parameters()]


def test_missing_and_unexpected_keys_are_named(public, tmp_path):
    weights = public.weights(5, variance=True)
    weights["blocks.1.attn.q_norm.weight"] = torch.ones(8)
    del weights["blocks.0.mlp.fc1.bias"]
    torch.save(weights, tmp_path / "odd.pt")
    with pytest.raises(
        ValueError, match=r"odd\.pt.*missing: blocks\.0\.mlp\.fc1\.bias.*unexpected: blocks\.1\.attn\.q_norm\.weight"
    ):
        load_published(ours(public), tmp_path / "odd.pt", "sit")


def test_a_network_of_another_size_is_refused_with_both_shapes(public, tmp_path):
    torch.save(public.weights(5, variance=True), tmp_path / "SiT.pt")
    larger = SiTBackbone(public.size, public.classes + 1, public.channels, public.side)
    with pytest.raises(ValueError, match=r"embedding_table.*\(6, 16\).*\(7, 16\)"):
        load_published(larger, tmp_path / "SiT.pt", "sit")


def test_another_position_table_is_refused(public, tmp_path):
    weights = public.weights(5, variance=True)
    weights["pos_embed"] = weights["pos_embed"].flip(1)
    torch.save(weights, tmp_path / "SiT.pt")
    with pytest.raises(ValueError, match="pos_embed"):
        load_published(ours(public), tmp_path / "SiT.pt", "sit")


def test_a_file_that_would_run_code_is_not_unpickled(public, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"ema": public.weights(5, variance=True), "args": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        load_published(ours(public), tmp_path / "trap.pt", "sit")
    assert not (tmp_path / "sprung").exists()


def test_unknown_layouts_list_the_known(public, tmp_path):
    with pytest.raises(ValueError, match=r"'dit'.*sit, repa"):
        load_published(ours(public), tmp_path / "SiT.pt", "dit")
