"""The flags of `amd new`: what each is for, and what they say. Nothing but argparse: `--help` loads no more."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from amd.config.methods import DATA_READERS, REWARDED, TAKES, TETHERED, TEXT_REWARDS

EPILOG = """\
The flags are written down as a configuration in OUT/config, and OUT/README.md says how to repeat or edit it with
the other verbs. Kill it at any time: the same command goes on from the last checkpoint and ends in the same student.
Several GPUs: `torchrun --nproc-per-node=8 -m amd new ...` shares the networks out.

  amd new --teacher stable-diffusion-v1-5 --prompts prompts.txt --reward hpsv2 --out my-student
  amd new --teacher stable-diffusion-xl-base-1.0 --prompts prompts.txt --reward hpsv2 --lora 64 --out my-lora
  amd new --teacher my-finetune --prompts prompts.txt --method d-dmd --out no-reward --dry-run
"""


@dataclass(frozen=True)
class Flags:
    """What was asked, files aside. None: as the preset has it."""

    method: str = "amd"
    reward: str | None = None
    steps: int = 4
    iterations: int = 4000  # ours, for one GPU; DMD2's SDXL has 19,000
    batch: int = 32  # ours, for one GPU; DMD2's SDXL has 128
    micro_batch: int | None = None
    group: int | None = None
    lr: float | None = None
    cfg: float | None = None
    lora: int | None = None  # rank
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    seed: int = 0
    samples: int = 4  # prompts of the preview
    reward_setting: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, asked: argparse.Namespace) -> "Flags":
        """Of a parsed command line."""
        given = {field.name: getattr(asked, field.name) for field in fields(cls)}
        return cls(**given | {"reward_setting": tuple(asked.reward_setting)})


def add(entry: argparse.ArgumentParser) -> None:
    """The flags onto a verb."""
    entry.formatter_class = argparse.RawDescriptionHelpFormatter
    entry.epilog = EPILOG
    free = ", ".join(name for name in TAKES if name not in REWARDED | TETHERED | DATA_READERS)
    what = entry.add_argument_group("what is distilled")
    what.add_argument(
        "--teacher",
        required=True,
        type=Path,
        help="a local folder of Stable Diffusion 1.5 or XL's kind, as diffusers saves it (save_pretrained)",
    )
    what.add_argument(
        "--prompts", required=True, type=Path, help="a text file, one prompt a line; no images are needed"
    )
    what.add_argument("--out", required=True, type=Path, help="a new folder, or one that this command began before")
    what.add_argument("--lora", type=_positive, metavar="RANK", help=(
        "train low-rank branches of student and fake teacher instead of whole networks: SDXL then fits on one GPU "
        "(default: whole networks)"
    ))  # fmt: skip
    what.add_argument(
        "--steps", type=_positive, default=Flags.steps, help="of the student: 4, or 1, or a few (default: %(default)s)"
    )

    how = entry.add_argument_group("how")
    how.add_argument(
        "--method", default=Flags.method, help=f"one of {', '.join(TAKES)} (default: amd). Without a reward: {free}"
    )
    how.add_argument("--reward", help=f"what judges an image and its prompt: one of {', '.join(TEXT_REWARDS)}")
    how.add_argument("--reward-weights", type=Path, metavar="PATH", help=(
        "the reward's file, or the folder of its files; else they are looked for in the folder that config.yaml names "
        "as mirror and in the cache, then fetched"
    ))  # fmt: skip
    how.add_argument("--reward-setting", type=_setting, action="append", default=[], metavar="KEY=VALUE", help=(
        "of the reward, e.g. precision=bfloat16; architecture=ViT-g-14 of clip-score, beside --reward-weights"
    ))  # fmt: skip
    how.add_argument("--images", type=Path, metavar="FILE", help=(
        f"captions.jsonl beside real pictures; method {', '.join(sorted(DATA_READERS))} alone reads them"
    ))  # fmt: skip
    how.add_argument("--cfg", type=_guidance, help="guidance of the teacher, which the student takes in (default: 8)")
    how.add_argument(
        "--iterations", type=_positive, default=Flags.iterations, help="updates of the student (default: %(default)s)"
    )
    how.add_argument("--lr", type=_rate, help=(
        "of student and fake teacher (default: SD1.5 1e-5, SDXL 5e-7, low-rank 5e-5)"
    ))  # fmt: skip
    how.add_argument("--group", type=_positive, metavar="K", help=(
        "images of one prompt that are compared with each other (default: 8 where the method compares, else 1)"
    ))  # fmt: skip
    how.add_argument("--seed", type=int, default=Flags.seed, help="of the training (default: %(default)s)")

    fit = entry.add_argument_group("to fit the machine")
    fit.add_argument(
        "--batch", type=_positive, default=Flags.batch, help="images per update, over all GPUs (default: %(default)s)"
    )
    fit.add_argument("--micro-batch", type=_positive, metavar="ROWS", help=(
        "images per GPU at a time; the rest is accumulated, and the student is the same (default: as few as hold a "
        "group, at least 4)"
    ))  # fmt: skip
    fit.add_argument(
        "--precision",
        choices=("bfloat16", "float32"),
        default=Flags.precision,
        help="of the training (default: %(default)s)",
    )
    fit.add_argument(
        "--samples",
        type=_positive,
        default=Flags.samples,
        help="prompts shown in samples.png (default: the first %(default)s)",
    )
    fit.add_argument("--budget", type=float, metavar="SECONDS", help="after which to save and exit 75")
    fit.add_argument("--dry-run", action="store_true", help="write and print the configuration and what it takes; stop")
    fit.add_argument(
        "--config",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "config",
        help="the configuration that the presets are taken from (default: this package's)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no learning rate, e.g. 1e-5")
    return value


def _guidance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text!r} will not do: uncond + w (cond - uncond), 1 is no guidance, 8 is usual"
        )
    return value


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE, e.g. version=v2.1")
    return key, value
