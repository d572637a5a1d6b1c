# The configuration, what this call is about, and what rules match: first of what the Snakefile includes. What rules then
# ask of the configuration stands in inputs.smk, parameters.smk and resources.smk.
import gc
import inspect
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError

from amd.config import plan, published as records
from amd.config.load import ABLATION, ConfigError, load

# `python` in a rule is the one that runs Snakemake, whether or not its environment was activated.
# An own prefix replaces Snakemake's, so its strict mode is said again.
shell.prefix(f"set -euo pipefail; export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; ")

if unknown_keys := set(config) - {"scale", "checkpoints"}:
    raise WorkflowError(
        f"--config {', '.join(sorted(unknown_keys))}: only `scale` and `checkpoints` may be set here; the rest stands in "
        "config/*.yaml, where the jobs read it as well"
    )
try:
    LIBRARY = load(Path("config"))
    SCALE = LIBRARY.scale(config.get("scale", LIBRARY.choice.scale)).name
    CHECKPOINTS = records.chosen(LIBRARY, config.get("checkpoints"))
except ConfigError as error:
    raise WorkflowError(str(error)) from error

# The scales that this call may be about: the chosen one, and any other whose name stands in a word of the command.
# Where it is one, what depends on the scale is a number in the rules, not a function that Snakemake asks time and again.
SCALES = [name for name in LIBRARY.scales if name == SCALE or any(name in word for word in sys.argv[1:])]
DRY = not {"-n", "--dry-run", "--dryrun"}.isdisjoint(sys.argv)  # then there is no second attempt
# A graph of thousands of jobs is millions of objects that stay. By default Python looks through the young ones after each
# 700, and through all of them again and again: a tenth of the time. What a dry run throws away, its end throws away.
gc.set_threshold(100_000, 10, 10)
if DRY:
    gc.disable()
PULLED, TRAINED = records.origins()
KINDS = ("teacher", "initial", "classifier", "scorer")  # that `pretrain` makes
PRETRAINED = [n for n, system in LIBRARY.systems.items() if system.kind in KINDS]
ENVIRONMENTS = [path.parent.name for path in sorted(Path("workflow/envs").glob("*/requirements.txt"))]
RELEASED = [name for name, system in LIBRARY.systems.items() if system.kind == "released"]
STUDENTS = [
    name + stage for name, system in LIBRARY.systems.items() if system.kind == "student" for stage in ("", ABLATION)
]


def either(names):
    """A wildcard constraint: one of the names, or nothing at all when there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def trained_here(names):
    """A wildcard constraint of the rules that train, and of the one that tracks what was trained."""
    return either(names if CHECKPOINTS == "train" else [])


def pulled_here(names):
    """A wildcard constraint of the rule that pulls."""
    return either(names if CHECKPOINTS == "pull" else [])


def scale_apart_from(folders):
    """A constraint of the wildcard `scale` by which a rule makes none of these checkpoints.

    For Snakemake they are then sources, which no job replaces: the choice is about who makes what is not there. Without
    it, a changed choice would be a changed rule, hence a reason to train what was pulled, or to pull over what was trained.
    """
    listed = "|".join(re.escape(folder.removeprefix("checkpoints/")) for folder in folders)
    return f"(?!(?:{listed})$)(?:{either(SCALES)})" if listed else either(SCALES)


def goal(name):
    """The files of a goal of config/config.yaml at this scale, listed when it is asked for."""

    def listed(wildcards):
        return plan.goal_targets(LIBRARY, SCALE, name)

    return listed


def log_of(verb):
    """A job's log, beside what is measured from its run; kept per attempt (the training's journal is in its state)."""
    return f"{plan.results('{scale}', '{run}', '{seed}')}/logs/{verb}.log"


def run_of(wildcards):
    """The resolved run of a job."""
    return LIBRARY.run(wildcards.run, wildcards.scale, int(wildcards.seed))


def known(function):
    """The same function with its parameters at hand: Snakemake asks for them many times a job, and is slow to find them."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function
