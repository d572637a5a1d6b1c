"""What an AMD step of the tiny SiT costs: against the straightforward float32 step, and against the sum of its parts.

    OMP_NUM_THREADS=1 python benchmarks/step.py            # a minute or two; --rounds for more

CPU time, variants interleaved round by round, medians, and ratios within a round: wall time and single runs say little
on a shared machine. First it checks that both steps are the same method: after one float32 iteration from the same
weights on the same draws, the students and the fakes agree.

The straightforward step has a process of its own, because how malloc treats freed memory is a setting of a process and
part of what ours does (`amd.train.threads`); a second row runs it beside ours, with that setting, for comparison.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from clock import beside, seconds
from loop import Loop, wake, without_graph
from straightforward import Straightforward
from torch.optim import AdamW

from amd.backbones.sit import SiTBackbone
from amd.config.load import load
from amd.config.schema.closed import Precision
from amd.distill.methods import row
from amd.distill.noise import Noise
from amd.distill.step import Batch
from amd.distill.types import Cast, Condition, Conditioning
from amd.rewards.classifier import Classifier, ClassifierReward
from amd.train.networks import compiled
from amd.train.threads import threads

S, K_SHARP, RATIO = 0.5, 1.0, 5


class Setting:
    """Sizes of scale tiny, networks with random weights, everything that a step talks to."""

    def __init__(self, precision: Precision, *, fused: bool = False) -> None:
        root = Path(__file__).resolve().parent.parent / "config"
        run = load(root).run("sit-amd", "tiny", 0)
        self.sizes, self.domain = run.klass, run.domain
        channels, side = run.domain.latents
        self.shape = (channels, side, side)
        self.w = run.system.cfg_weight
        self.student, self.real, self.fake = (
            SiTBackbone(self.sizes.network, run.domain.classes, channels, side, seed=seed) for seed in (0, 1, 2)
        )
        for network in (self.student, self.real, self.fake):
            wake(network)  # the published initialisation has zero gates
            network.precision = precision
            network.network.pos_embed.requires_grad_(False)
        self.real.requires_grad_(False)
        if fused:
            klass = run.klass.model_copy(update={"compiled": True})
            run = replace(run, scale=run.scale.model_copy(update={"klass": klass}))
            compiled(run, self.student, self.real, self.fake)
        torch.manual_seed(0)
        self.reward = ClassifierReward(Classifier("conv", run.domain.classes, channels).eval().requires_grad_(False))
        cast = Cast(
            student=self.student,
            real=self.real,
            fake=self.fake,
            fake_loss=self.fake.native_loss,
            path=self.student.path,
            cfg_weight=self.w,
            reward=self.reward,
        )
        groups = {
            "student": [p for p in self.student.parameters() if p.requires_grad],
            "fake": [p for p in self.fake.parameters() if p.requires_grad],
        }
        decay = {"student": 0.01, "fake": 0.0}
        optimisers = {r: AdamW(g, 2e-4, weight_decay=decay[r], fused=True) for r, g in groups.items()}
        self.loop = Loop(cast, Batch(self.draw, self.shape), self.sizes.batch, optimisers)

    def draw(self, noise: Noise) -> Conditioning:
        """Labels in groups of K."""
        label = noise.integers("label", self.domain.classes, shared=self.sizes.group)
        return Conditioning({"label": label}, {"label": torch.full_like(label, self.domain.classes)}, self.sizes.group)

    def plain(self) -> Straightforward:
        """The straightforward step on copies of the same networks."""
        return Straightforward(self.student, self.real, self.fake, self.reward, w=self.w)

    def parts(self) -> dict[str, tuple[int, Callable[[], None]]]:
        """Name -> (how often an iteration needs it, what to time)."""
        batch = self.sizes.batch
        x = torch.randn(batch, *self.shape)
        t = torch.rand(batch, dtype=torch.float64)
        cond: Condition = {"label": torch.arange(batch) % self.domain.classes}
        twice: Condition = {"label": cond["label"].repeat(2)}

        def student() -> None:
            self.student(x, t, cond).square().mean().backward()

        def fake() -> None:
            self.fake.native_loss(x, x, t, cond).mean().backward()

        return {
            "student forward and backward": (1, student),
            "student forward": (RATIO, partial(without_graph, self.student, x, t, cond)),
            "real teacher forward, 2B rows": (
                1,
                partial(without_graph, self.real, x.repeat(2, 1, 1, 1), t.repeat(2), twice),
            ),
            "fake teacher forward": (1, partial(without_graph, self.fake, x, t, cond)),
            "fake teacher forward and backward": (RATIO, fake),
            "reward": (1 + RATIO, partial(without_graph, self.reward, x, cond)),
            "clip, AdamW, zero": (1 + RATIO, self.loop.update_alone),
        }


def agreement() -> float:
    """Largest difference of any weight after one float32 iteration of both, over the largest weight change."""
    ours = Setting("float32")
    plain = ours.plain()
    before = {name: p.clone() for name, p in plain.student.state_dict().items()}
    for optimiser in (*ours.loop.optimisers.values(), plain.optimiser_student, plain.optimiser_fake):
        for group in optimiser.param_groups:
            group["eps"] = 1e-3  # with the usual 1e-8 Adam's first step is a sign, which rounding may flip
    ours.loop.iterate(row("amd"), 0)
    plain.iterate(ours.loop.noise(0), ours.shape, ours.sizes.group, S, K_SHARP, RATIO)
    worst, moved = 0.0, 0.0
    for module, twin in ((ours.student.network, plain.student), (ours.fake.network, plain.fake)):
        theirs = twin.state_dict()
        for name, value in module.state_dict().items():
            worst = max(worst, float((value - theirs[name]).abs().max()))
            moved = max(moved, float((value - before[name]).abs().max()) if module is ours.student.network else 0.0)
    return worst / moved


def straightforwardly(setting: Setting, plain: Straightforward, index: int) -> None:
    """One iteration of the straightforward step on the draws that ours gets."""
    plain.iterate(setting.loop.noise(index), setting.shape, setting.sizes.group, S, K_SHARP, RATIO)


def apart(asked: Connection) -> None:
    """A process with the system's malloc as it is: receives iterations, answers with the CPU seconds of each."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    setting = Setting("float32")
    plain = setting.plain()
    while (index := asked.recv()) is not None:
        asked.send(seconds(partial(straightforwardly, setting, plain, index)))


class Apart:
    """The straightforward step in a process of its own."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.ask, answer = context.Pipe()
        self.process = context.Process(target=apart, args=(answer,), daemon=True)
        self.process.start()

    def seconds(self, index: int) -> float:
        """CPU seconds of one iteration there; EOFError where that process died."""
        self.ask.send(index)
        return self.ask.recv()

    def close(self) -> None:
        """End it."""
        self.ask.send(None)
        self.process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds; medians over them (default 7)")
    rounds = parser.parse_args().rounds
    threads()
    print(f"torch {torch.__version__}, one thread, {rounds} rounds; same method: weights differ by {agreement():.1e} "
          "of what one iteration moves them")  # fmt: skip
    settings = {"float32": Setting("float32"), "bfloat16": Setting("bfloat16")}
    plain = settings["float32"].plain()
    reused = row("amd", {"samples": "reused"})
    first = Apart()
    here: dict[str, Callable[[int], None]] = {
        "the same, freed memory kept": partial(straightforwardly, settings["float32"], plain),
        "ours, float32": partial(settings["float32"].loop.iterate, row("amd")),
        "ours, bfloat16": partial(settings["bfloat16"].loop.iterate, row("amd")),
        "ours, bfloat16, samples reused": partial(settings["bfloat16"].loop.iterate, reused),
    }
    if shutil.which(os.environ.get("CXX", "g++")):  # `compiled: true` in the scale; its first round takes a minute
        for precision in settings:
            here[f"ours, {precision}, compiled"] = partial(Setting(precision, fused=True).loop.iterate, row("amd"))
    variants: dict[str, Callable[[int], float]] = {"straightforward, float32": first.seconds} | {
        name: lambda index, run=run: seconds(partial(run, index)) for name, run in here.items()
    }
    parts = {precision: setting.parts() for precision, setting in settings.items()}
    spent: dict[str, list[float]] = {name: [] for name in variants}
    needed: dict[str, dict[str, list[float]]] = {p: {name: [] for name in parts[p]} for p in parts}
    for index in range(rounds + 1):
        for name, variant in variants.items():
            took = variant(index)
            if index:  # the first round warms up
                spent[name].append(took)
        for precision, table in parts.items():
            for name, (_, part) in table.items():
                took = seconds(part)
                if index:
                    needed[precision][name].append(took)
    first.close()
    base = spent["straightforward, float32"]
    print(f"\n{'step':<34}{'ms':>8}{'x faster':>10}")
    for name, times in spent.items():
        ratio = statistics.median(b / t for b, t in zip(base, times, strict=True))
        print(f"{name:<34}{1e3 * statistics.median(times):>8.0f}{ratio:>10.2f}")
    for precision, table in parts.items():
        counts = {name: [count] * rounds for name, (count, _) in table.items()}
        beside(f"necessary parts, {precision}", spent[f"ours, {precision}"], counts, needed[precision])


if __name__ == "__main__":
    main()
