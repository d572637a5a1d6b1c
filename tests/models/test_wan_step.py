"""A training step of every kind on clips, of a streaming student and of one that makes a clip at once."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from wans import SIZE, inputs, stirred

from amd.backbones.adapters import add_lora, view
from amd.backbones.wan import Wan, WanBackbone
from amd.backbones.wan_streaming import StreamingWan
from amd.config.schema.sizes import Streaming
from amd.distill.methods import row
from amd.distill.noise import Noise
from amd.distill.step import Batch, step
from amd.distill.types import Cast, Condition, Conditioning, Denoiser
from amd.train.devices import alone
from amd.train.sharding import views
from amd.train.weights import trainable

SHAPE = (4, 6, 4, 4)
ROWS = 4


def asked(rows: int) -> Condition:
    cond = inputs(rows, shape=SHAPE)[3]
    return {"tokens": cond["tokens"], "mask": cond["mask"]}


def wan(seed: int) -> WanBackbone:
    return stirred(WanBackbone(SIZE, SHAPE), seed)


def branched(network: Wan, seed: int) -> Wan:
    """The same, frozen, with low-rank branches that say something; all that trains of it."""
    for branch in add_lora(network, 2):
        torch.nn.init.normal_(branch, std=0.3, generator=torch.Generator().manual_seed(seed))
    return network


def stepped(
    name: str,
    student: Wan,
    real: Denoiser,
    fake: Wan,
    set_pull: Callable[[float], None] = lambda pull: None,
) -> dict[str, set[str]]:
    """One iteration of a method -> the names of the weights that each role's losses moved; all of it is finite."""
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
        set_pull=set_pull,
        stream=student if student.streams else None,
    )
    cond = asked(ROWS)
    uncond = {**cond, "tokens": torch.zeros_like(cond["tokens"])}
    batch = Batch(lambda noise: Conditioning(cond, uncond, 2), SHAPE)
    method = row(name, {"steps": 4, "shift": 5.0, "ratio": 1})
    modules: dict[str, nn.Module] = {"student": student, "fake": fake}
    moved: dict[str, set[str]] = {role: set() for role in modules}
    for phase in step(method, cast, batch, Noise(0, 1, ROWS), progress=0.2, stats=True):
        phase.loss.backward()
        assert bool(phase.loss.isfinite())
        assert all(bool(value.isfinite().all()) for value in phase.stats.values())
        module, other = modules[phase.role], modules["fake" if phase.role == "student" else "student"]
        gradients = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
        assert all(bool(g.isfinite().all()) for g in gradients.values())
        moved[phase.role] |= {key for key, g in gradients.items() if bool(g.any())}
        if phase.role == "fake":  # a student's force may leak into the critic, never back
            assert all(p.grad is None for p in other.parameters())
        for network in (student, fake, critic):
            network.zero_grad()
    return moved


def trains(network: nn.Module) -> set[str]:
    return {key for key, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["amd", "dmd2", "d-dmd", "dmdr"])
def test_every_kind_of_method_moves_a_streaming_student(name):
    student = stirred(StreamingWan(SIZE, SHAPE, Streaming(chunk=2, window=4, sink=1)), 1)
    moved = stepped(name, student, wan(2).requires_grad_(False), wan(3))
    assert moved["student"]
    assert moved["fake"]


@pytest.mark.parametrize("name", ["dmd-pure", "dmd2", "amd"])
def test_all_of_a_student_that_makes_a_clip_at_once_is_moved_and_all_of_its_fake(name):
    """As Wan2.1-T2V-14B's is: four steps, bidirectional attention, no first frame."""
    student, fake = wan(1), wan(3)
    real = wan(2).requires_grad_(False)
    moved = stepped(name, student, real, fake)
    assert moved == {"student": trains(student), "fake": trains(fake)}
    assert moved["student"] == {key for key, _ in student.named_parameters()}
    assert all(p.grad is None for p in real.parameters())


@pytest.mark.parametrize("name", ["dmd-pure", "dmd2", "amd"])
def test_of_a_low_rank_student_and_a_low_rank_fake_the_branches_alone_are_moved(name):
    student = view(branched(wan(1), 7), 0.5)
    real, fake, set_pull = views(branched(wan(2), 8), 0.5, alone())
    moved = stepped(name, student, real, fake, set_pull)
    for role, network in (("student", student), ("fake", fake)):
        assert moved[role] == trains(network)
        assert all(key.endswith((".lora_a", ".lora_b")) for key in moved[role])
    assert len(trainable(student)) == len(trainable(fake)) == 2 * 10 * SIZE.depth
