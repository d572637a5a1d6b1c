"""Which files a verb runs, and how little the verbs load before they begin."""

import subprocess
import sys
from pathlib import Path

import pytest

from amd.__main__ import parser
from amd.status.reach import PACKAGE, entries, reach

ROOT = Path(__file__).parents[2]
VERBS = set(next(action for action in parser()._actions if action.choices).choices)
TENSORS = {
    "pretrain",
    "distill",
    "fetch",
    "plane",
    "reference",
    "sample",
    "gather",
    "score",
    "trace",
    "plan",
    "export",
    "environment",
    "new",
}
TRIED = sorted((VERBS - TENSORS) | {"distill", "score"})  # a few seconds each
HEAVY = {"torch", "torchvision", "matplotlib", "scipy.stats", "diffusers", "transformers", "accelerate", "pandas"}
MAY = {"distill": {"torch", "accelerate"}, "score": {"torch"}, "figure": {"matplotlib"}}  # its work may load more


@pytest.mark.parametrize("verb", TRIED)
def test_what_a_verb_really_loads_is_within_its_reach(verb):
    """Imported in a process of its own; and nothing heavier than the verb needs is loaded before it begins."""
    code = "; ".join([f"import {module}" for module in sorted(entries(verb))] + ["import sys", "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.split(".")[0] == PACKAGE.name}
    files = {ROOT.joinpath(*name.split(".")) for name in ours}
    paths = {f if (f := path.with_suffix(".py")).is_file() else path / "__init__.py" for path in files}
    assert {path.relative_to(ROOT).as_posix() for path in paths} <= reach(verb)
    assert HEAVY & loaded <= MAY.get(verb, set())


def test_a_table_does_not_run_training_code_and_a_student_does_not_run_reports():
    assert "amd/report/table.py" in reach("table")
    assert not [file for file in reach("table") if file.startswith("amd/train/")]
    assert "amd/train/loop.py" in reach("distill")
    assert "amd/distill/operator.py" in reach("distill")
    assert not [file for file in reach("distill") if file.startswith(("amd/report/", "amd/status/"))]


def test_backbones_that_are_imported_by_name_are_within_reach():
    assert {f"amd/backbones/{file.name}" for file in (ROOT / "amd/backbones").glob("*.py")} <= reach("distill")


def test_an_unknown_verb_is_refused():
    with pytest.raises(ValueError, match="'distil' is no verb"):
        reach("distil")
