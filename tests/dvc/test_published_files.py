"""What git keeps and what a folder says of itself: dvc.yaml in step, no committed result, origins, secrets masked."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from amd.config import plan
from amd.config.published import STAMP, origins, pulled, record_file
from amd.config.read import ConfigError
from amd.publish import ROWS, as_csv, dvc_yaml
from amd.storage import mark, masked

ROOT = Path(__file__).parents[2]


def test_dvc_yaml_is_in_step_with_what_is_tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    published = [path for path in listed if path.endswith(".dvc") or path.startswith(f"{plan.PUBLISHED}/")]
    if missing := [path for path in published if not (ROOT / path).exists()]:
        raise AssertionError(f"tracked by git, but not there: {missing}")
    assert (ROOT / "dvc.yaml").read_text() == dvc_yaml(ROOT), "run: python -m amd publish"


def test_no_committed_file_is_what_a_job_makes():
    """Else a clone would take a committed result for a finished job."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    results = [path for path in listed if path.startswith(("results/", "state/"))]
    assert all(path.startswith(f"{plan.PUBLISHED}/") for path in results), results
    for path in listed:
        if path.startswith("checkpoints/"):
            assert path.endswith((".dvc", ".gitignore")), path


def test_a_journal_is_thinned_and_keeps_its_last_step():
    lines = [{"step": i, "loss": 1.0 / i, "note": "x", "student/loss": float(i)} for i in range(1, 1001)]
    text = as_csv(lines).splitlines()
    assert text[0] == "step,loss,student/loss"
    assert 100 <= len(text) - 1 <= ROWS
    assert text[-1] == "1000,0.001,1000.0"
    assert as_csv([]) == ""


def test_a_journal_whose_lines_differ_keeps_every_column():
    text = as_csv([{"step": 1, "a": 1.5}, {"step": 2, "b": 2.5}])
    assert text == "step,a,b\n1,1.5,\n2,,2.5\n"


def test_masked_hides_every_secret_and_nothing_else():
    assert masked("key AKIA1234 and AKIA12345, end", ["AKIA1234", "AKIA12345"]) == "key *** and ***, end"
    assert masked("nothing here", []) == "nothing here"


# --- where a checkpoint came from ------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A finished checkpoint's folder and its record, as far as they are read without weights."""
    folder = tmp_path / "checkpoints/smoke/sit-amd/seed0"
    folder.mkdir(parents=True)
    meta = {"kind": "student", "digest": "d" * 12, "files": {"student.safetensors": "a" * 64}}
    (folder / "meta.json").write_text(json.dumps(meta))
    outs = [{"md5": "0.dir", "size": 5, "path": "seed0"}]
    record = {"outs": outs, "meta": {"digest": "d" * 12, "weights": "a" * 64}}
    record_file(folder).write_text(yaml.safe_dump(record))
    return folder


def test_the_published_weights_without_a_trace_of_a_job_were_pulled(finished):
    """As `dvc pull`, typed by hand, leaves a folder."""
    assert pulled(finished)
    record_file(finished).unlink()
    assert not pulled(finished)


def test_a_job_of_this_checkout_leaves_its_stamp(finished):
    (finished / STAMP).touch()
    assert not pulled(finished)


def test_other_weights_than_the_published_were_not_pulled(finished):
    file = finished / "meta.json"
    file.write_text(file.read_text().replace("a" * 64, "b" * 64))
    assert not pulled(finished)


@pytest.mark.parametrize("came", [True, False])
def test_the_mark_says_it_whatever_else_is_there_and_leaves_the_folders_time(finished, came):
    """Else Snakemake would find the folder younger than what was made from it."""
    before = finished.stat().st_mtime_ns
    mark(finished, {"kind": "student", "files": {}}, pulled=came)
    assert finished.stat().st_mtime_ns == before
    assert pulled(finished) == came
    (finished / STAMP).touch()
    assert pulled(finished) == came


def test_a_torn_record_is_named(finished):
    record_file(finished).write_text("outs: [\n")
    with pytest.raises(ConfigError, match=r"seed0\.dvc: not a DVC record"):
        pulled(finished)


def test_origins_tells_them_apart(finished, tmp_path):
    made = tmp_path / "checkpoints/smoke/sit-dmd/seed1"
    made.mkdir(parents=True)
    (made / "meta.json").write_text((finished / "meta.json").read_text())
    half = tmp_path / "checkpoints/smoke/sit-dmd/seed2"
    half.mkdir()
    assert origins(tmp_path) == (["checkpoints/smoke/sit-amd/seed0"], ["checkpoints/smoke/sit-dmd/seed1"])
