"""The teacher's ODE pairs: solved to first order, the same however they are cut, made again where they were altered."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from amd.distill.noise import Noise
from amd.distill.types import Condition, Conditioning
from amd.train.devices import alone
from amd.train.ode import euler
from amd.train.pairs import Pairs, make
from amd.train.stop import Stop

SCALE = 0.5  # of the data: x ~ N(0, SCALE^2)


def gaussian(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
    """E[x | x_t] on the linear path: the ODE from z then ends at SCALE z exactly."""
    t = t.reshape(-1, 1).to(x_t)
    return t * SCALE**2 / (t**2 * SCALE**2 + (1 - t) ** 2) * x_t


def by_label(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
    """A teacher that predicts its label."""
    return cond["label"].to(x_t).reshape(-1, 1).expand_as(x_t)


def null(cond: Condition) -> Condition:
    return {"label": torch.full_like(cond["label"], 10)}


def conditioning(rows: int) -> Conditioning:
    cond = {"label": torch.arange(rows)}
    return Conditioning(cond, null(cond), 1)


def test_euler_converges_to_the_exact_flow_at_first_order() -> None:
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    errors = [float((euler(gaussian, z, conditioning(9), n, 1.0) - SCALE * z).abs().max()) for n in (64, 128, 256)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_euler_is_guided() -> None:
    z = torch.randn(3, 2, dtype=torch.float64)
    asked = conditioning(3)
    x = euler(by_label, z, asked, 5, 1.5)  # the last step lands on x0_hat: uncond + w (cond - uncond)
    expected = (10 + 1.5 * (torch.arange(3.0, dtype=torch.float64) - 10))[:, None].expand(3, 2)
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)  # float64, five steps


def pairs(folder: Path, chunk: int = 4, seed: int = 0) -> Pairs:
    return make(
        gaussian,
        null,
        folder,
        count=10,
        chunk=chunk,
        shape=(3,),
        classes=4,
        steps=2,
        cfg_weight=1.0,
        seed=seed,
        ranks=alone(),
        stop=Stop(),
    )


def test_pairs_are_the_teachers_samples_with_balanced_labels(tmp_path: Path) -> None:
    made = pairs(tmp_path)
    assert made.label.bincount().tolist() == [3, 3, 2, 2]
    asked = Conditioning({"label": made.label}, null({"label": made.label}), 1)
    assert torch.equal(made.x, euler(gaussian, made.z, asked, 2, 1.0))


def test_chunks_do_not_change_a_pair_and_seeds_do(tmp_path: Path) -> None:
    whole, cut, other = pairs(tmp_path / "a", 10), pairs(tmp_path / "b", 3), pairs(tmp_path / "c", seed=1)
    assert torch.equal(whole.z, cut.z)
    torch.testing.assert_close(whole.x, cut.x, rtol=1e-6, atol=1e-6)  # float32, another batch size
    assert not torch.equal(whole.z, other.z)


def test_an_altered_chunk_is_made_again_and_the_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pairs(tmp_path)
    file = tmp_path / "0000004" / "pairs.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    solved: list[int] = []
    monkeypatch.setattr("amd.train.pairs.euler", lambda f, z, *rest: solved.append(len(z)) or euler(f, z, *rest))
    again = pairs(tmp_path)
    assert solved == [4]
    assert torch.equal(first.x, again.x)


def test_a_teacher_that_diverges_is_not_regressed_on(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="samples 0 to 10 are not finite"):
        make(
            lambda x_t, t, cond: x_t * torch.nan,
            null,
            tmp_path,
            count=10,
            chunk=16,
            shape=(3,),
            classes=4,
            steps=2,
            cfg_weight=1.0,
            seed=0,
            ranks=alone(),
            stop=Stop(),
        )


def test_a_draw_keeps_noise_sample_and_label_together(tmp_path: Path) -> None:
    made = pairs(tmp_path)
    z, x, cond = made(Noise(0, 0, 8))
    places = [(made.z == row).all(1).nonzero().item() for row in z]
    assert torch.equal(x, made.x[places])
    assert torch.equal(cond["label"], made.label[places])
