"""What a streaming student's clip costs: memory over its length, and a chunk against the sum of its necessary passes.

    OMP_NUM_THREADS=1 python benchmarks/streaming.py       # two minutes; --rounds for more

The student is the video track's at scale tiny (`config/systems/wan-longlive.yaml`, with the sizes of
`config/scales/tiny.yaml`), with random weights. Memory: the most bytes of tensors alive at once, weights aside,
in clips as long as the training's, twice and ten times as long: where every chunk is dropped when the next one is made;
as `amd sample --frames` makes, decodes and stores them; and by the rollout of a training, which returns the clip and
the student's inputs. Between twice and ten times the first two must not differ.

Cost: a chunk that reads a full window is as many denoising passes as the student has steps, and one over the clean
chunk, which is remembered. It cannot do without so many forward passes of the bidirectional network over the chunk's
tokens, and without attention from these to the remembered keys, in every block of each pass; both are measured by
themselves. CPU time, interleaved.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from clock import beside, seconds
from live import peak, resident
from loop import wake
from torch import Tensor

from amd.backbones.wan import WanBackbone
from amd.backbones.wan_block import attend
from amd.backbones.wan_streaming import StreamingWan
from amd.config.load import load
from amd.config.schema.closed import Precision
from amd.distill.methods import row
from amd.distill.noise import Noise
from amd.distill.rollout import chunks, grid
from amd.distill.types import Cast, Condition, Conditioning, Trajectory
from amd.measure.films import Film
from amd.measure.judge import to_uint8
from amd.measure.longer import longer, parts_of
from amd.measure.sample import Sampler
from amd.train.networks import blank
from amd.train.reward import build_decoder, build_parts_decoder
from amd.train.threads import threads

TIMES = (1, 2, 10)  # as long as the training's clips
EACH = 3  # of everything in a round


class Setting:
    """A student and the bidirectional network of the same weights, what they are asked, and the rollout."""

    def __init__(self, precision: Precision, rows: int | None = None) -> None:
        library = load(Path(__file__).resolve().parents[1] / "config")
        run = library.run("wan-longlive", "tiny", 0)
        assert run.domain.encoder is not None
        self.run, self.benchmark = run, library.benchmarks["ta-hard"]
        student = blank(run)
        assert isinstance(student, StreamingWan)
        wake(student)
        self.student = student.eval().requires_grad_(False)
        self.shape, self.rows = run.domain.latent_shape, rows or run.sizes.batch
        self.method = row("dmd-pure", run.numbers)
        self.steps = int(self.method.numbers["steps"])
        self.times = grid(self.steps, float(self.method.numbers["shift"]))
        self.plain = WanBackbone(run.video.network, (self.shape[0], student.chunk, *self.shape[2:]))
        self.plain.requires_grad_(False)
        self.plain.load_state_dict(student.state_dict())
        student.precision = self.plain.precision = precision
        draw = torch.Generator().manual_seed(5)
        words = run.domain.encoder.length or 77
        self.cond = {
            "tokens": torch.randn(self.rows, words, run.video.network.context, generator=draw),
            "mask": torch.arange(words).expand(self.rows, -1) < words // 2,
        }

    @property
    def frames(self) -> int:
        """Of a training's clip, latent ones."""
        return self.shape[1]

    def stream(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """A clip without end, chunk after chunk."""
        noise = Noise(0, 0, self.rows)
        return chunks(self.student, self.student.path, self.cond, self.shape, noise, self.times)

    def watched(self, frames: int) -> None:
        """A clip of so many latent frames, of which nothing is kept."""
        for _ in islice(self.stream(), frames // self.student.chunk):
            pass

    def sampled(self, frames: int) -> None:
        """The same as `amd sample --frames` has it: made, decoded and stored as films, a chunk at a time."""
        clip = self.run.domain.clip
        assert clip is not None
        each = (clip.frames - 1) // (clip.latent_frames - 1)
        run = longer(self.run, (frames - 1) * each + 1)
        words = Words(self.cond, self.rows)
        sampler = Sampler(run, self.benchmark, self.student, words, build_decoder(run), torch.device("cpu"))
        indices = [index * self.benchmark.per_prompt for index in range(self.rows)]
        with TemporaryDirectory() as folder, ExitStack() as stack:
            files = [Film(Path(folder) / f"{index}.mp4", clip.fps, clip.stored) for index in indices]
            films = [stack.enter_context(film) for film in files]
            for part in parts_of(sampler, build_parts_decoder(run), indices):
                for film, shown in zip(films, to_uint8(part), strict=True):
                    film.add(shown)

    def rolled(self, frames: int) -> Trajectory:
        """The same clip by the method's rollout, to its last step."""
        it = self.student
        cast = Cast(it, it, it, it.native_loss, it.path, 1.0, stream=it)
        channels, _, *sides = self.shape
        noise = Noise(0, 0, self.rows)
        return self.method.rollout(
            cast, Conditioning(self.cond, self.cond, 1), (channels, frames, *sides), noise, False, True
        )

    def full(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """The stream, gone on until a chunk reads a whole window."""
        made = self.stream()
        for _ in islice(made, -(-self.student.streaming.window // self.student.chunk)):
            pass
        return made

    def counts(self) -> dict[str, int]:
        """How often a chunk needs each part: its denoising passes, and one that remembers it."""
        return dict.fromkeys(("plain forward", "attention to the past, every block"), self.steps + 1)

    def parts(self) -> dict[str, Callable[[], object]]:
        """Name -> what to time, on the tokens of one chunk."""
        net, own = self.student, self.student.places * self.student.chunk
        past = self.student.places * (self.student.streaming.window - self.student.chunk)
        x, t = torch.randn(self.rows, *self.plain.shape), torch.rand(self.rows, dtype=torch.float64)
        dtype = torch.bfloat16 if net.precision == "bfloat16" else torch.float32
        query, key, value = (torch.randn(self.rows, n, net.width).to(dtype) for n in (own, past, past))

        def attention() -> None:
            for _ in range(net.depth):
                attend(query, key, value, net.size.heads)

        return dict(zip(self.counts(), (partial(self.plain, x, t, self.cond), attention), strict=True))


@dataclass(frozen=True)
class Words:
    """The setting's prompts, as a sampler asks for them."""

    cond: Condition
    count: int

    def of(self, index: Tensor) -> Condition:
        """(b,) -> states of prompts."""
        return {name: states[index] for name, states in self.cond.items()}

    def null(self, cond: Condition) -> Condition:
        """Nobody reads it: a student samples without guidance."""
        return cond


def again(run: Callable[[], object]) -> None:
    """EACH times."""
    for _ in range(EACH):
        run()


def grown(run: Callable[[int], None], lengths: list[int]) -> list[int]:
    """Bytes that the process has after a clip of each length, over what it had after one of the middle length.

    What malloc keeps of what was freed is among them, in pieces that do not always fit: it levels off.
    """
    run(lengths[1])  # libraries take their own at first
    base, found = resident(), []
    for frames in lengths:
        run(frames)
        found.append(resident() - base)
    return found


def memory(setting: Setting) -> None:
    """Print what is alive at most, by length."""
    lengths = [times * setting.frames for times in TIMES]
    mib = 1 / 2**20
    print(f"\n{'MiB alive at most, latent frames':<52}" + "".join(f"{n:>9}" for n in lengths))
    after = {name: grown(run, lengths) for name, run in (("made", setting.watched), ("sampled", setting.sampled))}
    rolled = [setting.rolled(frames) for frames in lengths]
    returned = [sum(x.nbytes for x in (it.x, it.t_g, *it.states)) for it in rolled]
    del rolled
    for name, values in {
        "chunk by chunk, nothing kept": [peak(partial(setting.watched, n)) for n in lengths],
        "the process after it, over that after a first one": after["made"],
        "made, decoded, stored chunk by chunk": [peak(partial(setting.sampled, n)) for n in lengths],
        "the process after that, over the same": after["sampled"],
        "by the rollout": [peak(partial(setting.rolled, n)) for n in lengths],
        "of which it returns: the clip, the student's inputs": returned,
    }.items():
        print(f"{name:<52}" + "".join(f"{value * mib:>9.2f}" for value in values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds; medians over them (default 7)")
    rounds = parser.parse_args().rounds
    threads()
    settings = {precision: Setting(precision) for precision in ("float32", "bfloat16")}
    about = settings["float32"]
    weights = sum(p.numel() for p in about.student.parameters())
    print(f"torch {torch.__version__}, one thread, {rounds} rounds; {weights / 1e6:.2f} M weights, batch {about.rows}")
    print(f"{about.steps} steps, {about.student.streaming}, clips of {about.shape}")
    memory(about)
    streams = {precision: setting.full() for precision, setting in settings.items()}
    parts = {precision: setting.parts() for precision, setting in settings.items()}
    whole: dict[str, list[float]] = {precision: [] for precision in settings}
    each = {precision: {name: [] for name in table} for precision, table in parts.items()}
    with torch.no_grad():
        for index in range(rounds + 1):
            for precision, made in streams.items():
                took = seconds(partial(again, partial(next, made))) / EACH
                passes = {name: seconds(partial(again, part)) / EACH for name, part in parts[precision].items()}
                if index == 0:  # warms up
                    continue
                whole[precision].append(took)
                for name, one in passes.items():
                    each[precision][name].append(one)
    for precision, setting in settings.items():
        counts = {name: [count] * rounds for name, count in setting.counts().items()}
        beside(f"a chunk's necessary passes, {precision}", whole[precision], counts, each[precision], "the chunk")


if __name__ == "__main__":
    main()
