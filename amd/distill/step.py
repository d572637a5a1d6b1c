"""One training step for every method: rollout, diagnose, renoise, look, compose, push; then the fake teacher's updates.

`step` is a generator of phases, so that whoever owns the optimisers updates between them:

    for phase in step(method, cast, batch, noise, progress=...):
        phase.loss.backward()
        if phase.last:
            update(phase.role)  # clip, check, step; zero the gradients of *all* roles: forces leak into the critic

B = rows of one rank's micro-batch, S = latent shape. Losses of an update's micro-batches add up to its mean loss.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from amd.distill.displacement import look
from amd.distill.force import Context
from amd.distill.methods import Method
from amd.distill.observe import observe_fake, observe_student
from amd.distill.operator import compose
from amd.distill.path import rows
from amd.distill.types import Cast, Conditioning, Diagnosis, Noise


@dataclass(frozen=True)
class Batch:
    """What a rollout is asked for."""

    draw: Callable[[Noise], Conditioning]
    shape: tuple[int, ...]  # S


@dataclass(frozen=True)
class Phase:
    """One backward pass."""

    role: Literal["student", "fake"]  # the fake's phase trains the critic's heads too
    loss: Tensor  # scalar
    last: bool  # the last micro-batch of this update: now the optimiser may move
    stats: dict[str, Tensor] = field(default_factory=dict)  # filled when asked for


@dataclass(frozen=True)
class Sample:
    """What a fake update is fitted to."""

    x: Tensor  # (B, *S), no graph
    t_g: Tensor  # (B,) at which the student was asked for it
    t: Tensor  # (B,)
    eps: Tensor  # (B, *S)
    conditioning: Conditioning
    reward: Tensor | None  # (rows of the part over all ranks,)


@torch.no_grad()
def rewards(cast: Cast, x: Tensor, conditioning: Conditioning) -> Tensor:
    """R of every row of the part over all ranks: a group may span ranks (Eq. 12's mean is the group's)."""
    assert cast.reward is not None
    return cast.gather(cast.reward(x.detach(), conditioning.cond))


def diagnose(method: Method, reward: Tensor, group: int, noise: Noise) -> Diagnosis:
    """Rewards of the whole part -> this rank's advantages (Eq. 12)."""
    advantage, sigma = method.advantage(reward, group)
    return Diagnosis(noise.own(reward), noise.own(advantage), noise.own(sigma))


def step(
    method: Method, cast: Cast, batch: Batch, noise: Noise, *, progress: float, micro: int = 1, stats: bool = False
) -> Iterator[Phase]:
    """One iteration: one student update and R fake updates (Algorithm 1, with the cadence a slot).

    Args:
        noise: the iteration's draws for this rank.
        progress: iteration / iterations, in [0, 1), for what anneals.
        micro: micro-batches per update; each holds whole groups over all ranks.
        stats: fill `Phase.stats` (costs reductions, no forward).
    """
    plan = method.cadence()
    pull = method.real(progress)
    if cast.set_pull is not None:
        cast.set_pull(pull)
    elif pull:
        raise ValueError(f"{method.real} moves the real teacher by the fake's low-rank branch, and the fake has none")
    seen: list[Sample] = []
    for part in range(micro):
        phase, sample = _student(method, cast, batch, noise.at("student", (part, micro)), progress, micro, stats)
        if plan.samples != "fresh":
            seen.append(sample)
        yield Phase("student", phase[0], part == micro - 1, phase[1])
    for update in range(plan.fake_updates):
        draws = [noise.at(f"fake{update}", (part, micro)) for part in range(micro)]
        if plan.samples == "same":
            samples = seen
        elif plan.samples == "reused":
            samples = [_again(method, sample, draw, progress) for sample, draw in zip(seen, draws, strict=True)]
        else:
            samples = [_roll(method, cast, batch, draw, progress) for draw in draws]
        yield from _fake(method, cast, draws, samples, update, stats)


def _student(
    method: Method, cast: Cast, batch: Batch, noise: Noise, progress: float, micro: int, stats: bool
) -> tuple[tuple[Tensor, dict[str, Tensor]], Sample]:
    conditioning = batch.draw(noise)
    trajectory = method.rollout(cast, conditioning, batch.shape, noise, True, False)
    x = trajectory.x
    reads = "advantage" in method.operator.reads or (
        method.cadence().samples != "fresh" and "advantage" in method.fake.reads
    )
    reward = rewards(cast, x, conditioning) if reads else None
    diagnosis = None if reward is None else diagnose(method, reward, conditioning.group, noise)
    levels = method.renoise(noise, trajectory.t_g, conditioning.group, progress)
    wants_uncond = levels.split is None or not bool(levels.split.all())
    d, eps = look(cast, x, conditioning, levels, noise, wants_uncond)
    with torch.no_grad():
        advantage = None if diagnosis is None else diagnosis.advantage
        g = compose(method, d, advantage, cast.cfg_weight) / method.normaliser(d, cast.cfg_weight)
        target = x - g.to(x.dtype)
    loss = 0.5 * (x - target).square().mean()  # d loss / dx = g / (B numel(S)): Eq. 2 as a regression
    if method.external:
        context = Context(cast, noise, x, conditioning.cond)
        loss = loss + sum(force.value(context).mean() for force in method.external)
    seen = observe_student(x, d, g, diagnosis, method, cast.cfg_weight) if stats else {}
    return (loss / micro, seen), Sample(x.detach(), trajectory.t_g, levels.t_dm, eps, conditioning, reward)


@torch.no_grad()
def _roll(method: Method, cast: Cast, batch: Batch, noise: Noise, progress: float) -> Sample:
    """A fresh rollout for a fake update; its reward is asked for only where W reads it."""
    conditioning = batch.draw(noise)
    trajectory = method.rollout(cast, conditioning, batch.shape, noise, False, False)
    t = method.renoise(noise, trajectory.t_g, conditioning.group, progress).t_dm
    eps = noise.normal("eps", tuple(trajectory.x.shape[1:]))
    reward = rewards(cast, trajectory.x, conditioning) if "advantage" in method.fake.reads else None
    return Sample(trajectory.x, trajectory.t_g, t, eps, conditioning, reward)


def _again(method: Method, sample: Sample, noise: Noise, progress: float) -> Sample:
    """The student update's samples at new times and noise."""
    t = method.renoise(noise, sample.t_g, sample.conditioning.group, progress).t_dm
    return replace(sample, t=t, eps=noise.normal("eps", tuple(sample.x.shape[1:])))


def _fake(
    method: Method, cast: Cast, draws: list[Noise], samples: list[Sample], update: int, stats: bool
) -> Iterator[Phase]:
    """L_psi = mean W(a) L_diff (Eq. 14), W over the global batch; then the critics' losses, in the same update."""
    weights: list[Tensor] | None = None
    group = samples[0].conditioning.group
    if "advantage" in method.fake.reads:
        everyone = [method.advantage(sample.reward, group)[0] for sample in samples]
        whole = method.fake(torch.cat(everyone), group)  # the parts are consecutive: this is the global batch, in order
        weights = [draw.own(chunk) for draw, chunk in zip(draws, whole.split([len(a) for a in everyone]), strict=True)]
    for part, (draw, sample) in enumerate(zip(draws, samples, strict=True)):
        cond = sample.conditioning.cond
        each = cast.fake_loss(sample.x, sample.eps, sample.t, cond)
        loss = (each if weights is None else rows(weights[part], each) * each).mean()
        context = Context(cast, draw, sample.x, cond)
        critics = [force.critic(context).mean() for force in method.external if force.critic is not None]
        seen = observe_fake(each, sample.t, critics) if stats and update == 0 else {}
        yield Phase("fake", (loss + sum(critics)) / len(samples), part == len(samples) - 1, seen)
