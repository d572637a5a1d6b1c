"""VBench's own code in its environment, on clips of which it is known whether they move; no weights are wanted."""

import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from manifests import Kept

from amd.data.prompts import PromptSet
from amd.measure.isolated_clips import PackageVBench
from amd.measure.panel import Asked

pytestmark = pytest.mark.slow
BLIND = """
import argparse, sys, torch
from vbench.third_party.RAFT.core.raft import RAFT
network = torch.nn.DataParallel(RAFT(argparse.Namespace(small=False, mixed_precision=False, alternate_corr=False)))
last = network.module.update_block.flow_head.conv2
torch.nn.init.zeros_(last.weight)
torch.nn.init.constant_(last.bias, float(sys.argv[2]))
torch.save(network.state_dict(), sys.argv[1])
"""
"""A RAFT that sees the same flow everywhere, in whatever it is shown."""
SIDE, FRAMES = 128, 3  # the least that RAFT takes


@pytest.mark.parametrize(("flow", "still"), [(0.0, True), (1.0, False)])
def test_its_filter_says_which_clips_flickering_is_measured_on(made, tmp_path: Path, flow, still):
    pytest.importorskip("av")
    environment = made("vbench")
    weights = tmp_path / "raft-things.pth"
    subprocess.run([environment.python, "-I", "-c", BLIND, weights, str(flow)], check=True, timeout=300)
    picture = F.interpolate(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), (SIDE, SIDE))
    frames = [(255 * torch.roll(picture, 16 * place, -1)).to(torch.uint8) for place in range(FRAMES)]
    stands, moves = torch.stack([frames[0]] * FRAMES, 2), torch.stack(frames, 2)
    named = ["temporal_flickering"]
    rows = tuple({"dimension": each, "prompt_en": "a lake"} for each in (named, named, [*named, "dynamic_degree"]))
    asked = Asked(PromptSet(("a lake",) * 3, rows), torch.arange(3))
    bench = PackageVBench(environment, {weights.name: weights}, {"still": 2}, (*named, "dynamic_degree"), 8)
    if not still:
        with pytest.raises(ValueError, match="none of 3 clips stands still by VBench's filter"):
            bench(Kept(torch.cat([stands, moves, stands])), asked)
        return
    found = bench(Kept(torch.cat([stands, moves, stands])), asked)
    assert found["static_filter"] == [1.0] * 3
    steady, shaky, beyond = found["temporal_flickering"]
    assert steady > 0.99 > shaky
    assert beyond is None
    assert found["dynamic_degree"] == [None, None, 0.0]
