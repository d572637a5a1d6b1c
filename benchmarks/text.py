"""What an AMD step of the tiny UNet costs, against the sum of the passes that it cannot do without.

    OMP_NUM_THREADS=1 python benchmarks/text.py            # some minutes; --rounds for more

Everything is the text track's at scale tiny (`config/systems/sdxl-amd.yaml`: four steps, five fresh fake updates): the
networks, the captions' states by MiniLM, the reward on decoded pixels. Weights are random; nothing is trained, nothing
fetched. CPU time, precisions and parts interleaved round by round, ratios within a round. A rollout stops at a step
that is drawn, so a round's step needs as many passes as its own draws say.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from clock import beside, seconds
from loop import Loop, wake, without_graph
from torch import Tensor, nn
from torch.optim import AdamW

from amd.backbones.unet import UNetBackbone
from amd.config.load import load
from amd.config.schema.closed import Precision
from amd.data.emoji import FAMILIES
from amd.distill.methods import row
from amd.distill.step import Batch
from amd.distill.types import Cast, Condition
from amd.rewards.emoji_align import AlignScorer, EmojiAlign
from amd.rewards.text import PromptReward
from amd.train.cast import BETAS, DECAY
from amd.train.conditions import Texts, encoder_of, grouped, prompts_for
from amd.train.networks import blank
from amd.train.reward import build_decoder
from amd.train.threads import threads

PROMPTS = 64  # of the training's; how many there are costs nothing
SPRITES = sum(max(len(colours), 1) for colours in FAMILIES.values())
CPU = torch.device("cpu")


class Setting:
    """Sizes of scale tiny, networks with random weights, everything that a step talks to."""

    def __init__(self, precision: Precision) -> None:
        run = load(Path(__file__).resolve().parents[1] / "config").run("sdxl-amd", "tiny", 0)
        self.sizes, (channels, side) = run.sizes, run.domain.latents
        self.shape = (channels, side, side)
        self.method = row("amd", run.system.numbers.model_dump(exclude_none=True))
        self.steps = int(self.method.numbers["steps"])
        self.updates = self.method.cadence().fake_updates
        self.student, self.real, self.fake = (network(blank(run), precision, seed) for seed in (0, 1, 2))
        self.real.requires_grad_(False)
        texts = prompts_for(run, "train").texts[:PROMPTS]
        encoder = encoder_of(run, CPU)
        self.asked = Texts(texts, encoder, encoder(texts), CPU)
        judge = PromptReward(AlignScorer(EmojiAlign("align-plain", SPRITES), encoder, "random"), texts)
        decode = build_decoder(run)
        self.reward: Callable[[Tensor, Condition], Tensor] = lambda x, cond: judge(decode(x), cond)
        cast = Cast(
            student=self.student,
            real=self.real,
            fake=self.fake,
            fake_loss=self.fake.native_loss,
            path=self.student.path,
            cfg_weight=run.cfg_weight,
            reward=self.reward,
        )
        optimisers = {
            role: AdamW(list(module.parameters()), 2e-4, BETAS, weight_decay=DECAY[role], fused=True)
            for role, module in (("student", self.student), ("fake", self.fake))
        }
        self.loop = Loop(cast, Batch(grouped(self.asked, self.sizes.group), self.shape), self.sizes.batch, optimisers)

    def counts(self, iteration: int) -> dict[str, int]:
        """How often an iteration needs each part."""
        noise = self.loop.noise(iteration)
        to_student = noise.at("student", (0, 1)).integer("exit", self.steps)
        to_fake = [noise.at(f"fake{update}", (0, 1)).integer("exit", self.steps) for update in range(self.updates)]
        return {
            "student forward and backward": 1,
            "student forward": to_student + sum(exit_step + 1 for exit_step in to_fake),
            "real teacher forward, 2B rows": 1,
            "fake teacher forward": 1,
            "fake teacher forward and backward": self.updates,
            "reward of decoded latents": 1 + self.updates,
            "clip, AdamW, zero": 1 + self.updates,
        }

    def parts(self) -> dict[str, Callable[[], object]]:
        """Name -> what to time."""
        rows = self.sizes.batch
        x, t = torch.randn(rows, *self.shape), torch.rand(rows, dtype=torch.float64)
        cond = self.asked.of(torch.arange(rows) % PROMPTS)
        null = self.asked.null(cond)
        twice: Condition = {key: torch.cat([value, null[key]]) for key, value in cond.items()}

        def student() -> None:
            self.student(x, t, cond).square().mean().backward()

        def fake() -> None:
            self.fake.native_loss(x, x, t, cond).mean().backward()

        return {
            "student forward and backward": student,
            "student forward": partial(without_graph, self.student, x, t, cond),
            "real teacher forward, 2B rows": partial(
                without_graph, self.real, torch.cat([x, x]), torch.cat([t, t]), twice
            ),
            "fake teacher forward": partial(without_graph, self.fake, x, t, cond),
            "fake teacher forward and backward": fake,
            "reward of decoded latents": partial(without_graph, self.reward, x, cond),
            "clip, AdamW, zero": self.loop.update_alone,
        }


def network(module: nn.Module, precision: Precision, seed: int) -> UNetBackbone:
    """With every weight counting, in `precision`."""
    assert isinstance(module, UNetBackbone)
    wake(module, seed)
    module.precision = precision
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds; medians over them (default 7)")
    rounds = parser.parse_args().rounds
    threads()
    settings = {precision: Setting(precision) for precision in ("float32", "bfloat16")}
    parts = {precision: setting.parts() for precision, setting in settings.items()}
    whole: dict[str, list[float]] = {precision: [] for precision in settings}
    counts = {precision: {name: [] for name in table} for precision, table in parts.items()}
    each = {precision: {name: [] for name in table} for precision, table in parts.items()}
    for index in range(rounds + 1):
        for precision, setting in settings.items():
            took = seconds(partial(setting.loop.iterate, setting.method, index))
            passes = {name: seconds(part) for name, part in parts[precision].items()}
            if index == 0:  # warms up
                continue
            whole[precision].append(took)
            for name, count in setting.counts(index).items():
                counts[precision][name].append(count)
                each[precision][name].append(passes[name])
    weights = sum(p.numel() for p in settings["float32"].student.parameters())
    sizes = settings["float32"].sizes
    print(f"torch {torch.__version__}, one thread, {rounds} rounds; {weights / 1e6:.2f} M weights, batch {sizes.batch}")
    for precision in settings:
        beside(f"an AMD step's necessary parts, {precision}", whole[precision], counts[precision], each[precision])


if __name__ == "__main__":
    main()
