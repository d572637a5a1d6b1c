"""From a Run to everybody a step talks to: networks, reward, critic, pairs and real images, each only if it is read.

Who starts from what:
- real: the teacher's weights, frozen.
- student: the start's weights. A warm start begins from the teacher itself: what that predicts at t = 0 is one step.
- fake, full: the start's fake teacher where the start published one of the same form, else the teacher's weights.
  (DMD2 resumes both; a fake that begins at the teacher would push an already moved student back for some updates.)
- fake, low-rank: the frozen teacher and a branch on it, which begins at zero, or at the start's where that has the same
  form. The real teacher is the same network seen with another share of the branch (DMDR's DynaDG).
- critic: fresh heads on the fake's hidden states, trained with the fake, by the fake's optimiser.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from amd.backbones.adapters import add_lora, view
from amd.backbones.base import Backbone
from amd.config import plan
from amd.config.load import Run
from amd.config.schema.closed import PROMPTED
from amd.config.schema.sizes import Optimiser, VideoSizes
from amd.data.sources import collection
from amd.distill.methods import Method, row
from amd.distill.step import Batch
from amd.distill.types import Cast, Condition, Denoiser
from amd.distill.types import Noise as Draws
from amd.train.artifact import artifact_sha
from amd.train.conditions import Conditions, asked_for, conditions, grouped
from amd.train.devices import Ranks, alone
from amd.train.finished import weights
from amd.train.networks import compiled, network, streaming
from amd.train.pairs import Pairs, make
from amd.train.reward import build_decoder, build_encoder, build_reward
from amd.train.sharding import shard, views
from amd.train.shown import shown_by
from amd.train.stop import Stop
from amd.train.weights import Trainable, frozen, trainable

BETAS = (0.9, 0.999)  # DMD2, main/train_sd.py:191; DMDR, train_sitxl_refl_deepspeed.py
DECAY = {"student": 0.01, "fake": 0.0}  # weight decay, as DMDR has it


class Company(NamedTuple):
    """What `build_cast` returns."""

    cast: Cast
    modules: dict[str, nn.Module]  # "student", "fake", and "critic" where there is one: everything that trains
    optimisers: dict[str, Optimizer]  # "student", and "fake" with the critic
    batch: Batch  # what a rollout is asked for


def method_of(run: Run) -> Method:
    """The row of Table 1 with the system's numbers; the domain scales the weight of its external forces."""
    assert run.system.method is not None
    method = row(run.system.method, run.numbers)
    if run.domain.force == 1 or "lam" not in method.numbers:
        return method
    return method.with_numbers({"lam": method.numbers["lam"] * run.domain.force})


def optimiser_of(run: Run) -> Optimiser | None:
    """The track's own numbers of it, where it has any."""
    return run.sizes.optimiser if isinstance(run.sizes, VideoSizes) else None


def build_batch(run: Run, asked: Conditions) -> Batch:
    """Labels or prompts in groups of K for every method, so that methods differ by their slots alone."""
    return Batch(grouped(asked, run.sizes.group), run.domain.latent_shape)


def training_conditions(run: Run, device: torch.device) -> Conditions:
    """What a student is asked for: every class, or the training prompts."""
    return asked_for(run, device, "train")


def build_cast(run: Run, ranks: Ranks | None = None, *, state: Path | None = None, stop: Stop | None = None) -> Company:
    """Everybody that the run's method reads, on `ranks.device`; weights from the checkpoints of the runs it reads.

    `state`: where the tether's pairs are kept, needed by methods that read them. Raises FileNotFoundError or Refused
    naming a checkpoint that is missing, altered, or of another digest.
    """
    ranks, method, system = ranks or alone(), method_of(run), run.system
    assert run.teacher is not None
    assert run.start is not None
    base = weights(run.teacher)
    asked = training_conditions(run, ranks.device)
    teacher = network(run.teacher, base, ranks.device).requires_grad_(False).eval()
    # before it is sharded: each rank makes its own share of them
    pairs = _pairs(run, teacher, ranks, state, stop or Stop()) if method.reads("pairs") else None
    student = network(run, weights(run.start), ranks.device)
    if system.student_lora is not None:
        add_lora(student, system.student_lora.rank, student.lora_targets, seed=run.seed)
        student = view(student, system.student_lora.scale)
    student = shard(student, ranks)
    set_pull: Callable[[float], None] | None = None
    real: Denoiser
    if system.lora is None:
        real = shard(teacher, ranks, frozen=True)
        fake = shard(network(run.teacher, _full_fake(run, base), ranks.device), ranks)
    else:
        add_lora(teacher, system.lora.rank, teacher.lora_targets, seed=run.seed)
        real, fake, set_pull = views(teacher, system.lora.scale, ranks)
        _continue_branch(run, fake)
    compiled(run, student, real, fake)
    modules: dict[str, nn.Module] = {"student": student, "fake": fake}
    logit: Callable[[Tensor, Tensor, Condition], Tensor] | None = None
    if method.reads("logit"):
        critic = shard(teacher.critic(run.seed).to(ranks.device), ranks)
        modules["critic"], logit = critic, _judge(fake, critic)
    cast = Cast(
        student=student,
        real=real,
        fake=fake,
        fake_loss=fake.native_loss,
        path=student.path,
        cfg_weight=run.cfg_weight,
        stream=streaming(student),
        reward=_reward(run, method, ranks.device) if method.reads("reward") else None,
        logit=logit,
        pairs=pairs,
        real_data=_real_data(run, asked, ranks.device) if method.reads("real_data") else None,
        set_pull=set_pull,
        gather=ranks.gather,
    )
    beside = [module for role, module in modules.items() if role != "student"]
    groups = {"student": trainable(student), "fake": trainable(*beside)}
    lr = {"student": run.sizes.lr, "fake": run.sizes.fake_lr}
    own = optimiser_of(run)
    betas, decay = (own.betas, dict.fromkeys(groups, own.decay)) if own else (BETAS, DECAY)
    optimisers: dict[str, Optimizer] = {
        role: AdamW(group, lr[role], betas, weight_decay=decay[role], fused=True) for role, group in groups.items()
    }
    return Company(cast, modules, optimisers, build_batch(run, asked))


def made_from(run: Run) -> dict[str, dict[str, str]]:
    """What a student was made of: role -> path, sha256 and digest."""
    read = {"start": run.start, "teacher": run.teacher}
    if method_of(run).reads("reward"):
        read["reward"] = run.reward
    return {
        role: {"path": plan.folder(other), "sha256": artifact_sha(Path(plan.folder(other))), "digest": other.digest}
        for role, other in read.items()
        if other is not None
    }


def _full_fake(run: Run, teacher: dict[str, Tensor]) -> dict[str, Tensor]:
    """The start's fake teacher where it is a whole network, else the teacher."""
    assert run.start is not None
    if run.start.system.kind != "student" or run.start.system.lora is not None:
        return teacher
    return {**teacher, **weights(run.start, "fake")}  # the fake's file holds what it trained: not the position table


def _continue_branch(run: Run, fake: nn.Module) -> None:
    """Take the start's low-rank fake over where it has the same form; a fresh branch is zero."""
    assert run.start is not None
    if run.start.system.kind == "student" and run.start.system.lora == run.system.lora:
        Trainable(fake).load_state_dict(weights(run.start, "fake"))


def _reward(run: Run, method: Method, device: torch.device) -> Callable[[Tensor, Condition], Tensor]:
    """R of decoded latents. The step asks with or without a graph; frozen weights carry none either way."""
    judge, decode = build_reward(run, device), build_decoder(run, device)
    if any("reward" in force.value.reads for force in method.external) and not judge.differentiable:
        raise ValueError(
            f"systems/{run.system.name}.yaml: method '{run.system.method}' descends the reward's gradient, and domain "
            f"'{run.domain.name}' gives '{run.domain.reward.name}', which has none"
        )
    return lambda x, cond: judge(decode(x), cond)


def _judge(fake: Backbone, critic: nn.Module) -> Callable[[Tensor, Tensor, Condition], Tensor]:
    """The critic on the fake's features. Asked by the student (x_t has a graph), weights get no gradient."""
    moving = trainable(fake, critic)
    layers: tuple[int, ...] = critic.layers  # type: ignore[assignment]

    def logit(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        with frozen(moving) if x_t.requires_grad else nullcontext():
            return critic(fake.features(x_t, t, cond, layers))

    return logit


def _pairs(run: Run, teacher: Backbone, ranks: Ranks, state: Path | None, stop: Stop) -> Pairs:
    sizes = run.sizes
    if run.system.track != "class":
        raise ValueError(f"systems/{run.system.name}.yaml: method '{run.system.method}' tethers the class track alone")
    if state is None:
        raise ValueError(
            f"method '{run.system.method}' reads the teacher's ODE pairs: name a state folder to keep them in"
        )
    return make(
        teacher,
        teacher.null,
        Path(state) / "pairs",
        count=sizes.tether_pairs,
        chunk=sizes.sample_batch,
        shape=run.domain.latent_shape,
        classes=run.domain.classes,
        steps=sizes.teacher_steps,
        cfg_weight=run.cfg_weight,
        seed=run.seed,
        ranks=ranks,
        stop=stop,
    )


def _real_data(run: Run, asked: Conditions, device: torch.device) -> Callable[[Draws], tuple[Tensor, Condition]]:
    """Real images and what they show, drawn with replacement; encoded as they are drawn where there are latents. A real
    clip is told what it begins with itself."""
    data = run.domain.data
    if data is None:
        raise ValueError(
            f"domains/{run.domain.name}.yaml: method '{run.system.method}' trains a critic on real images: set data"
        )
    encode, latents, begin = build_encoder(run, device), run.domain.latent_shape, None
    if run.domain.begins:
        from amd.train.first_frame import begins  # pictures and their encoders are no business of other tracks

        begin = begins(run, device)
    if run.system.track in PROMPTED:
        shown = shown_by(run)
        said, count, take = conditions(run, device, shown.texts), len(shown), shown.take
        meant: Callable[[Tensor], Condition] = lambda index: said.of(shown.prompt[index].to(device))  # noqa: E731
    else:
        real = collection(data.source, data.assets, run.mirror, run.domain.pixels)
        count, take = len(real), real.take
        meant = lambda index: asked.of(real.label[index].to(device))  # noqa: E731

    def draw(noise: Draws) -> tuple[Tensor, Condition]:
        index = noise.integers("real", count).cpu()
        shows, cond = take(index).to(device), meant(index)
        told = cond if begin is None else {**cond, **begin(shows[:, :, 0])}
        return encode(shows, noise.normal("encode", latents)), told

    return draw
