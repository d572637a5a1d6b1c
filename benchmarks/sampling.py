"""What a student's image costs: our sampler against diffusers' own pipeline on the same exported student.

    OMP_NUM_THREADS=1 python benchmarks/sampling.py        # a minute; --rounds for more

The student is an SDXL in small: the UNet of scale tiny, two text encoders of two layers, an autoencoder, all with
random weights. `amd.export` writes it as a folder, DiffusionPipeline.from_pretrained loads that, and LCMScheduler takes
the four steps that our rollout takes. Both go from prompts to pixels, and are checked to make the same pictures from
the same noise. CPU time per image, alternating; the ratio is the median of the rounds' own.
"""

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path

import diffusers
import torch
import transformers
from clock import seconds
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from amd.backbones.pipeline import read_pipeline
from amd.backbones.unet import FIRST, LAST, settings
from amd.config.load import load
from amd.distill.rollout import backward_simulation
from amd.distill.types import Cast, Conditioning
from amd.export import export
from amd.measure.sample import IndexNoise
from amd.train.threads import threads

STEPS = 4
LATENTS, SIDE = 4, 16  # of scale tiny's text track, which has more channels and no text encoder of SDXL's
WIDTHS, POOLED = (64, 128), 64  # of the two text encoders; of the second one's pooled text
BATCHES = (1, 16, 64)
WORDS = ("a", "red", "apple", "left", "of", "two", "green", "hearts", "under", "one", "blue", "umbrella")


def tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer without a merge: a letter is a token."""
    letters = [chr(c) for c in range(33, 127)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def tower(kind: type, width: int, tokens: CLIPTokenizer) -> torch.nn.Module:
    """A text encoder of two layers."""
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=POOLED,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
        )
    ).eval()


def teacher(folder: Path) -> Path:
    """A folder as diffusers writes it, every weight drawn."""
    torch.manual_seed(0)
    size = load(Path(__file__).resolve().parents[1] / "config").run("sdxl-amd", "tiny", 0).text.network
    size = size.model_copy(update={"context": sum(WIDTHS), "pooled": POOLED})
    unet = UNet2DConditionModel(**settings(size, LATENTS, SIDE))
    for parameter in unet.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        scaling_factor=0.3,
    )
    tokens = tokenizer(folder / "letters")
    StableDiffusionXLPipeline(
        vae,
        tower(CLIPTextModel, WIDTHS[0], tokens),
        tower(CLIPTextModelWithProjection, WIDTHS[1], tokens),
        tokens,
        tokens,
        unet,
        EulerDiscreteScheduler(beta_start=FIRST, beta_end=LAST, beta_schedule="scaled_linear"),
    ).save_pretrained(folder / "teacher")
    return folder / "teacher"


class Ours:
    """The exported folder's parts in our sampler."""

    def __init__(self, folder: Path) -> None:
        pipeline = read_pipeline(folder)
        self.student = pipeline.backbone().eval().requires_grad_(False)
        self.encode, self.codec = pipeline.encoder(), pipeline.autoencoder()
        self.shape = (pipeline.channels, pipeline.side, pipeline.side)
        self.roll = backward_simulation(steps=STEPS)

    @torch.inference_mode()
    def __call__(self, prompts: list[str], noise: "IndexNoise | InOrder") -> Tensor:
        """Pictures (B, 3, H, H) in [0, 1]."""
        cond, student = self.encode(prompts), self.student
        cast = Cast(student, student, student, student.native_loss, student.path, 1.0)
        x = self.roll(cast, Conditioning(cond, cond, 1), self.shape, noise, False, True).x
        return (self.codec.decode(x) / 2 + 0.5).clamp(0, 1)


class InOrder:
    """Normal draws one after the other from one generator, as a pipeline draws its own."""

    def __init__(self, rows: int) -> None:
        self.rows, self.generator = rows, torch.Generator().manual_seed(11)

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """(rows, *shape)."""
        return torch.randn(self.rows, *shape, generator=self.generator)


def theirs(pipe: DiffusionPipeline, prompts: list[str]) -> Tensor:
    """Pictures (B, 3, H, H) in [0, 1] of a stock pipeline."""
    generator = torch.Generator().manual_seed(11)
    return pipe(prompts, num_inference_steps=STEPS, guidance_scale=1, generator=generator, output_type="pt").images


def prompts(rows: int) -> list[str]:
    """So many different ones."""
    return [" ".join(WORDS[: 3 + index % (len(WORDS) - 2)]) for index in range(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds; medians over them (default 7)")
    rounds = parser.parse_args().rounds
    threads()
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="amd-sampling-") as place:
        folder = teacher(Path(place))
        export(read_pipeline(folder).backbone().state_dict(), folder, Path(place) / "student", steps=STEPS)
        ours = Ours(Path(place) / "student")
        pipe = DiffusionPipeline.from_pretrained(Path(place) / "student")
    pipe.set_progress_bar_config(disable=True)
    apart = float((ours(prompts(4), InOrder(4)) - theirs(pipe, prompts(4))).abs().max())
    weights = sum(p.numel() for p in ours.student.parameters())
    print(f"torch {torch.__version__}, one thread, {rounds} rounds; {weights / 1e6:.2f} M weights, {STEPS} steps")
    print(f"the same noise gives the same pictures: no value in [0, 1] differs by more than {apart:.1e}")
    print(f"\n{'CPU ms per image':<26}{'ours':>8}{'diffusers':>11}{'ratio':>8}")
    for rows in BATCHES:
        spent: dict[str, list[float]] = {"ours": [], "diffusers": []}
        for index in range(rounds + 1):
            noise = IndexNoise(index, tuple(range(rows)))
            took = seconds(partial(ours, prompts(rows), noise)), seconds(partial(theirs, pipe, prompts(rows)))
            if index:  # the first round warms up
                for name, each in zip(spent, took, strict=True):
                    spent[name].append(1e3 * each / rows)
        ratio = statistics.median(a / b for a, b in zip(*spent.values(), strict=True))
        mine, stock = map(statistics.median, spent.values())
        print(f"{f'{rows} at a time':<26}{mine:>8.1f}{stock:>11.1f}{ratio:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
