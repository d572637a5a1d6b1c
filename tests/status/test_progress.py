"""How many iterations a job has, and what is said of a job by its journal."""

import json
from pathlib import Path

import pytest

from amd.config.jobs import Job
from amd.config.load import Library, load
from amd.status.attempt import Attempt
from amd.status.progress import iterations, progress

ROOT = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def library() -> Library:
    return load(ROOT)


def job(library: Library, rule: str, system: str, scale: str = "tiny") -> Job:
    return Job(rule, f"checkpoints/{scale}/{system}/seed0", "", library.run(system, scale, 0))


def test_every_kind_of_training_knows_how_long_it_is(library: Library):
    tiny = library.scales["tiny"]
    assert tiny.text is not None
    assert tiny.klass.teacher is not None
    assert tiny.klass.classifier is not None
    assert tiny.text.teacher is not None
    expected = {
        ("pretrain", "sit-teacher"): tiny.klass.teacher.iterations,
        ("pretrain", "digits-judge"): tiny.klass.classifier.iterations,
        ("pretrain", "sdxl-teacher"): tiny.text.teacher.iterations,
        ("pretrain", "emoji-align-a"): tiny.text.scorers["align-plain"].iterations,
        ("pretrain", "sprite-detector"): tiny.text.scorers["detector"].iterations,
        ("distill", "sit-amd"): tiny.klass.iterations["finetune"],
        ("distill", "sdxl-amd"): tiny.text.iterations["long"],
    }
    for (rule, system), count in expected.items():
        assert iterations(job(library, rule, system)) == count, system


def test_what_is_fetched_or_measured_counts_nothing(library: Library):
    assert iterations(job(library, "pretrain", "sdxl-teacher", "paper")) is None
    assert iterations(job(library, "pretrain", "sit-teacher", "paper")) is None
    assert iterations(job(library, "score", "sdxl-amd")) is None
    assert iterations(Job("table", "results/tiny/tables/table7.md", "", name="table7")) is None


def test_a_text_students_journal_says_how_far_it_is(library: Library, tmp_path: Path):
    run = job(library, "distill", "sdxl-amd")
    total = iterations(run)
    journal = tmp_path / "journal.jsonl"
    journal.write_text(json.dumps({"step": 3, "s_per_iteration": 2.0, "fake/loss": 0.5}) + "\n")
    attempt = Attempt(number=1, verb="distill", host="here", pid=1, born="", began=0.0, commit="")
    said = progress(tmp_path / "no.log", journal, run, attempt)
    assert said.words == f"step 3 of {total}: fake/loss 0.5"
    assert total is not None
    assert said.left_s == (total - 3) * 2.0
