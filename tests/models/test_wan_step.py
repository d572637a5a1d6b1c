"""A training step of every kind on clips: a streaming student between two bidirectional teachers."""

import pytest
import torch
from torch import Tensor
from wans import SIZE, inputs, stirred

from amd.backbones.wan import WanBackbone
from amd.backbones.wan_streaming import StreamingWan
from amd.config.schema.sizes import Streaming
from amd.distill.methods import row
from amd.distill.noise import Noise
from amd.distill.step import Batch, step
from amd.distill.types import Cast, Condition, Conditioning

SHAPE = (4, 6, 4, 4)
ROWS = 4


def asked(rows: int) -> Condition:
    cond = inputs(rows, shape=SHAPE)[3]
    return {"tokens": cond["tokens"], "mask": cond["mask"]}


@pytest.mark.parametrize("name", ["amd", "dmd2", "d-dmd", "dmdr"])
def test_every_kind_of_method_moves_a_streaming_student(name):
    student = stirred(StreamingWan(SIZE, SHAPE, Streaming(chunk=2, window=4, sink=1)), 1)
    real, fake = (stirred(WanBackbone(SIZE, SHAPE), seed) for seed in (2, 3))
    real.requires_grad_(False)
    student.recompute = fake.recompute = True
    critic = fake.critic()
    for head in critic.heads:
        torch.nn.init.normal_(head.out.weight, generator=torch.Generator().manual_seed(5))

    def logit(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return critic(fake.features(x_t, t, cond, critic.layers))

    cast = Cast(
        student=student,
        real=real,
        fake=fake,
        fake_loss=fake.native_loss,
        path=student.path,
        cfg_weight=4.0,
        reward=lambda x, cond: -x.square().flatten(1).mean(1),
        logit=logit,
        real_data=lambda noise: (noise.normal("data", SHAPE), asked(ROWS)),
        set_pull=lambda pull: None,
        stream=student,
    )
    cond = asked(ROWS)
    uncond = {**cond, "tokens": torch.zeros_like(cond["tokens"])}
    batch = Batch(lambda noise: Conditioning(cond, uncond, 2), SHAPE)
    method = row(name, {"steps": 4, "shift": 5.0, "ratio": 1})
    for phase in step(method, cast, batch, Noise(0, 1, ROWS), progress=0.2, stats=True):
        phase.loss.backward()
        assert bool(phase.loss.isfinite())
        assert all(bool(value.isfinite().all()) for value in phase.stats.values())
        module = student if phase.role == "student" else fake
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        assert gradients
        assert all(bool(g.isfinite().all()) for g in gradients)
        assert any(bool(g.any()) for g in gradients)
        for network in (student, fake, critic):
            network.zero_grad()
