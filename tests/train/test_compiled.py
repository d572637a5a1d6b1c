"""Blocks compiled by torch.compile: the same student but for rounding, and what is said where nothing can compile."""

import shutil
from pathlib import Path

import pytest
import torch
from smoke_run import Case

from amd.config.digest import run_digest
from amd.config.load import Run
from amd.config.read import ConfigError
from amd.train.cast import build_cast
from amd.train.finished import weights
from amd.train.networks import compiled, network


def gradients(run: Run) -> list[torch.Tensor]:
    """Of a SiT's own loss, every parameter's; its blocks compiled where the run says so."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x, eps, t, label = torch.randn(4, 1, 16, 16), torch.randn(4, 1, 16, 16), torch.rand(4), torch.arange(4)
    assert run.start is not None
    student = network(run, weights(run.start), torch.device("cpu"))
    compiled(run, student)
    student.native_loss(x, eps, t, {"label": label}).mean().backward()
    return [p.grad for p in student.parameters() if p.grad is not None]


@pytest.mark.skipif(not shutil.which("g++"), reason="g++, which compiles kernels on a CPU, is not installed")
def test_compiled_blocks_give_the_same_gradients(checkpoints: Path) -> None:
    plain, fast = (gradients(Case(sizes={"compiled": on}).run()) for on in (False, True))
    assert len(plain) == len(fast) > 0
    assert any(not torch.equal(a, b) for a, b in zip(plain, fast, strict=True)), "nothing was compiled"
    off = sum(float((a - b).square().sum()) for a, b in zip(plain, fast, strict=True))
    assert off <= 1e-4 * sum(float(a.square().sum()) for a in plain)  # bfloat16 rounds to 1 in 256


def test_no_compiler_is_said_before_anything_is_trained(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"scales/smoke.yaml: class.compiled: .* no-such-compiler is not in PATH"):
        build_cast(Case(sizes={"compiled": True}).run())


def test_a_compiled_run_has_a_digest_of_its_own() -> None:
    def digest(case: Case) -> str:
        run = case.run()
        return run_digest(run.system, run.scale, run.domain, run.stage_iterations or 0)

    assert digest(Case(sizes={"compiled": False})) == digest(Case())
    assert digest(Case(sizes={"compiled": True})) != digest(Case())
