"""The command line: every verb of `amd.verbs` with its options, and how a job begins and ends."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from amd import verbs
from amd.verbs import Arguments

if TYPE_CHECKING:
    from amd.status.attempt import Ending


def main(arguments: list[str] | None = None) -> int:
    """Carry out one verb; returns the exit code (75: stopped and saved, the same command goes on from there)."""
    asked = parser().parse_args(arguments)
    with _recorded(asked) as ending:
        from amd.config.load import ConfigError  # after --help, which needs nothing of it

        try:
            ending.code = int(asked.function(asked) or 0)
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            ending.code = 2
        except BrokenPipeError:  # the reader of our output left, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ending.code = 1
    return ending.code


def _recorded(asked: Arguments) -> "AbstractContextManager[Ending]":
    """Jobs of the workflow begin their log with who they are, and record how they end; other verbs do not."""
    from amd.status.attempt import Ending, attempt

    verb = asked.function.__name__
    if verb in ("export", "new"):  # no jobs of the workflow
        return nullcontext(Ending())
    if hasattr(asked, "out"):
        return attempt(verb, asked.out.as_posix())
    if verb == "track":  # puts away what another job made
        return attempt(verb, "")
    if verb not in ("table", "figure", "pull") or asked.scale is None:
        return nullcontext(Ending())
    from amd.config import plan  # these outputs have no option

    if verb == "pull":
        return attempt(verb, plan.checkpoint(asked.scale, asked.system, asked.seed))
    return attempt(verb, {"table": plan.table, "figure": plan.figure}[verb](asked.scale, asked.name))


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    return int(part), int(parts)


def parser() -> argparse.ArgumentParser:
    """The command line, verb by verb in the order of the work."""
    from amd.config import flags

    root = argparse.ArgumentParser(
        prog="amd",
        description="Adaptive Matching Distillation and its family, from real data to tables and figures.",
        epilog="To distil a pipeline of your own: `amd new`. For the paper's experiments begin with `amd doctor`, then "
        "`amd plan`; `amd build main` (or `make tiny`) does the main job. The other verbs are single jobs: Snakemake "
        "calls them, and any of them can be typed by hand. Run from the repository's root.",
    )
    entries = root.add_subparsers(title="verbs", metavar="VERB", required=True)

    def bare(function: Callable[[Arguments], int | None]) -> argparse.ArgumentParser:
        text = (function.__doc__ or "").strip()
        entry = entries.add_parser(function.__name__, help=text[0].lower() + text[1:].rstrip("."), description=text)
        entry.set_defaults(function=function)
        return entry

    def verb(function: Callable[[Arguments], int | None], *options: str) -> argparse.ArgumentParser:
        entry = bare(function)
        entry.add_argument("--config", type=Path, default=Path("config"), help="the folder with the YAML files")
        entry.add_argument("--scale", help="smoke, tiny or paper; without it, the scale of config/config.yaml")
        for option in options:
            entry.add_argument(f"--{option}", **OPTIONS[option])  # type: ignore[arg-type]
        return entry

    flags.add(bare(verbs.new))
    verb(verbs.doctor).add_argument(
        "--cluster",
        action="store_true",
        help="submit jobs of seconds through the profile `slurm`, and say how they went",
    )
    verb(verbs.plan, "table", "checkpoints")
    verb(verbs.build, "cores").add_argument("goal", help="a goal of config/config.yaml: main, or all")
    entry = verb(verbs.status, "failed")
    entry.add_argument("goal", nargs="?", help="a goal of config/config.yaml; every goal without it")
    entry.add_argument(
        "--checkpoints", dest="by", choices=("train", "pull"), help="as Snakemake was told; else as config.yaml says"
    )
    verb(verbs.stale)
    verb(verbs.pretrain, "system", "seed", "out", "state", "budget")
    verb(verbs.distill, "system", "seed", "stage", "out", "state", "budget")
    verb(verbs.fetch, "system", "seed", "out")
    verb(verbs.sample, "system", "seed", "benchmark", "shard", "frames", "out")
    verb(verbs.gather, "shards", "out")
    verb(verbs.reference, "seed", "benchmark", "out")
    verb(verbs.score, "system", "seed", "benchmark", "samples", "reference", "out", "records")
    verb(verbs.trace, "system", "seed", "benchmark", "reference", "out")
    verb(verbs.grid, "samples", "out")
    verb(verbs.plane, "problem", "out", "state", "budget")
    verb(verbs.track, "system", "seed")
    verb(verbs.pull, "system", "seed")
    verb(verbs.publish)
    verb(verbs.environment).add_argument("name", help="a folder of workflow/envs")
    exported = verb(verbs.export, "system", "seed", "out")
    exported.add_argument("--teacher", required=True, type=Path, help="the diffusers folder of the teacher's pipeline")
    exported.add_argument("--lora", action="store_true", help="the low-rank branches alone, for load_lora_weights")
    verb(verbs.table).add_argument("name", help="a file of config/tables, without .yaml")
    verb(verbs.figure).add_argument("name", help="a file of config/figures, without .yaml")
    return root


OPTIONS: dict[str, dict[str, object]] = {
    "system": {
        "required": True,
        "help": "a file of config/systems, without .yaml (or a run's name, sit-amd--ablation)",
    },
    "seed": {"required": True, "type": int, "help": "training seed"},
    "stage": {"choices": ("short", "long", "finetune", "ablation"), "help": "train as long as this stage, not the own"},
    "benchmark": {"required": True, "help": "a file of config/benchmarks, without .yaml"},
    "problem": {"required": True, "help": "a file of config/problems, without .yaml"},
    "shard": {"type": _shard, "default": (0, 1), "help": "0/4 to 3/4: draw a quarter of the samples"},
    "frames": {"type": int, "help": "of each clip, any number of chunks: of a streaming student, to be looked at"},
    "shards": {"required": True, "type": Path, "nargs": "+", "help": "every folder that `amd sample --shard` wrote"},
    "samples": {"required": True, "type": Path, "help": "folder that `amd sample` wrote"},
    "reference": {"required": True, "type": Path, "help": "folder that `amd reference` wrote"},
    "records": {"required": True, "type": Path, "help": "where the per-sample records go (parquet)"},
    "out": {"required": True, "type": Path, "help": "what is made; it appears when it is complete"},
    "state": {"required": True, "type": Path, "help": "folder that a stopped training resumes from"},
    "budget": {"type": float, "help": "seconds after which to save and exit 75"},
    "table": {"help": "only this table"},
    "checkpoints": {"action": "store_true", "help": "only the folders to pull so that nothing is trained, one a line"},
    "failed": {"action": "store_true", "help": "only the failed jobs, with the end of each log"},
    "cores": {"type": int, "default": os.cpu_count() or 1, "help": "how many at a time; all cores without it"},
}


if __name__ == "__main__":
    sys.exit(main())
