"""Publishing, and the short way: clone, pull, measure. All real at scale smoke, in fresh clones of one origin.

The tests of `reproducer` stand in the order of the story. One file, because a build of the origin serves them all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from amd.config import plan
from amd.config.load import load
from amd.config.published import read_meta, read_record, weights_of
from tests.dvc.conftest import KEY, ROOT, SCALE, SECRET, STUDENTS, TRAINED, Clone

pytestmark = pytest.mark.slow

SCORE = plan.score(SCALE, "sit-amd", 0, "class", "classifier")
TABLE = plan.table(SCALE, "table4")
METRICS = f"{plan.PUBLISHED}/{SCALE}/sit-amd/seed0/metrics.json"
TRAINING = {"distill", "pretrain"}


def folder(run: str) -> str:
    return plan.checkpoint(SCALE, run, 0)


def weights(clone: Clone, run: str) -> str:
    meta = read_meta(clone.folder / folder(run))
    assert meta is not None
    return str(weights_of(meta))


@pytest.fixture(scope="module")
def reproducer(origin: Clone, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A fresh clone that knows the store, and nothing else."""
    clone = origin.clone(tmp_path_factory.mktemp("reproducer") / "clone")
    clone.store(str(store))
    return clone


def test_every_checkpoint_of_the_main_job_is_tracked_and_in_git(origin):
    tracked = origin.git("ls-files", "checkpoints").split()
    assert set(tracked) == {"checkpoints/.gitignore", *(f"{folder(run)}.dvc" for run in TRAINED)}
    for run in TRAINED:
        record, resolved = read_record(origin.folder / folder(run)), load(origin.folder / "config").run(run, SCALE, 0)
        assert record is not None
        assert (record.digest, record.weights) == (resolved.digest, weights(origin, run))
        assert record.size > 10_000


def held(folder: Path, *places: str) -> int:
    """Bytes on the disk, as `du` counts them: a file with several names once."""
    files = [file for place in places for file in (folder / place).rglob("*") if file.is_file()]
    return sum({(about.st_dev, about.st_ino): about.st_size for about in (file.stat() for file in files)}.values())


def test_what_is_tracked_is_on_the_disk_once(origin):
    """The checkpoint, what is kept beside its state, and DVC's cache are the same files."""
    once = held(origin.folder, "checkpoints")
    assert held(origin.folder, "checkpoints", "state", ".dvc/cache") < 1.1 * once  # journals and listings besides
    student = origin.folder / folder("sit-amd") / "student.safetensors"
    (kept,) = origin.folder.glob(f"state/{SCALE}/sit-amd/seed0-*/made/student.safetensors")
    assert kept.samefile(student)
    assert student.stat().st_nlink == 3


def test_what_is_pulled_is_on_the_disk_once(origin, store, tmp_path):
    clone = origin.clone(tmp_path / "clone")
    clone.store(str(store))
    clone.amd("pull", "--scale", SCALE, "--system", "sit-amd", "--seed", "0")
    once = held(clone.folder, folder("sit-amd"))
    assert once > 10_000
    assert held(clone.folder, folder("sit-amd"), ".dvc/cache") < 1.1 * once
    assert "up to date" in clone.dvc("status", f"{folder('sit-amd')}.dvc").stdout
    weights(clone, "sit-amd")


def test_a_clone_holds_no_file_that_a_job_would_make(origin, reproducer):
    """Published results stand where no rule looks: a clone has everything still to do."""
    assert (reproducer.folder / plan.PUBLISHED / SCALE / "tables/table4.md").is_file()
    said = reproducer.snakemake(TABLE, options=("-n",))
    assert {"pretrain", "distill", "sample", "score", "table"} <= reproducer.rules(said)
    assert not (reproducer.folder / "results" / SCALE).exists()


def test_one_pulled_checkpoint_is_enough_for_its_score(origin, reproducer):
    """`dvc pull` of the student by hand; its judge and reward come through the workflow. No job trains."""
    reproducer.dvc("pull", folder("sit-amd"))
    said = reproducer.snakemake(SCORE, config="checkpoints=pull")
    assert reproducer.rules(said) == {"pull", "reference", "sample", "score"}
    ours, theirs = (json.loads((clone.folder / SCORE).read_text()) for clone in (reproducer, origin))
    assert ours["student_sha256"] == theirs["student_sha256"] == weights(origin, "sit-amd")
    assert ours["metrics"] == theirs["metrics"]
    assert not (reproducer.folder / folder("sit-dmd")).exists()


def test_what_the_plan_lists_is_enough_for_the_table(origin, reproducer):
    listed = reproducer.amd("plan", "--scale", SCALE, "--table", "4", "--checkpoints")
    assert set(listed.stdout.split()) == {folder(run) for run in (*STUDENTS, "digits-judge", "digits-reward")}
    assert not listed.stderr
    reproducer.dvc("pull", *listed.stdout.split())
    said = reproducer.snakemake(TABLE, config="checkpoints=pull")
    assert reproducer.rules(said) == {"sample", "score", "table"}
    assert not (reproducer.folder / folder("sit-teacher")).exists()
    assert not list((reproducer.folder / "state").glob("**/journal.jsonl"))  # of a training that began


def test_the_table_says_what_was_pulled_and_the_hashes(origin, reproducer):
    text = (reproducer.folder / TABLE).read_text()
    for run in (*STUDENTS, "digits-judge", "digits-reward"):
        digest = load(origin.folder / "config").run(run, SCALE, 0).digest
        said = f"Pulled, not trained here: {run} (digest {digest}): seed 0 {weights(origin, run)[:12]}"
        assert said in text
    found = json.loads((reproducer.folder / TABLE).with_suffix(".json").read_text())["pulled"]
    assert {each["run"]: each["weights"] for each in found} == {
        run: weights(origin, run) for run in (*STUDENTS, "digits-judge", "digits-reward")
    }
    assert "Pulled" not in (origin.folder / TABLE).read_text()  # there they were trained


def test_the_same_numbers_as_published(reproducer):
    """Every cell of the table in the clone is the published one's."""
    file = f"{SCALE}/tables/table4.json"
    theirs, ours = (json.loads((reproducer.folder / base / file).read_text()) for base in (plan.PUBLISHED, "results"))
    assert [row["cells"] for row in ours["rows"]] == [row["cells"] for row in theirs["rows"]]


@pytest.mark.parametrize("choice", ["train", "pull"])
def test_what_was_pulled_is_trained_under_neither_choice(reproducer, choice):
    """Nothing is to be done, however young or old the files and whoever is asked to make what is missing."""
    said = reproducer.snakemake(TABLE, config=f"checkpoints={choice}", options=("-n",))
    assert not reproducer.rules(said)


def test_under_train_a_new_student_is_made_from_pulled_ones(reproducer):
    """The choice is about what is not there: the missing ones are trained, the pulled ones stay."""
    said = reproducer.snakemake(folder("sit-dmdr"), config="checkpoints=train", options=("-n",))
    assert reproducer.rules(said) == {"pretrain", "distill"}
    made = set(re.findall(r"(?:Distill|Pretrain) (\S+), seed 0", said.stdout + said.stderr))
    assert made == {"sit-teacher", "sit-warm-short", "sit-dmdr"}  # its reward, digits-reward, was pulled


def test_under_pull_what_was_trained_here_stays_too(origin):
    said = origin.snakemake(TABLE, config="checkpoints=pull", options=("-n",))
    assert not origin.rules(said)


# --- tracking and publishing ----------------------------------------------------------------------------------------


@pytest.fixture
def unpublished(origin: Clone, tmp_path: Path) -> Clone:
    """A clone of the origin's first commit with the checkpoints beside it: made, and not tracked yet."""
    clone = origin.clone(tmp_path / "clone")
    clone.git("checkout", "-q", origin.git("rev-list", "--max-parents=0", "HEAD").strip())
    for run in TRAINED:
        target = clone.folder / folder(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-rp", str(origin.folder / folder(run)), str(target)], check=True)
    return clone


def test_many_at_once_are_all_tracked_and_what_they_track_is_not_touched(unpublished):
    """Twelve at a time, each checkpoint twice, and `dvc` typed by hand among them."""
    files = [file for run in TRAINED for file in (unpublished.folder / folder(run)).rglob("*.safetensors")]
    before = {file: (file.stat().st_ino, file.stat().st_mtime_ns, file.parent.stat().st_ino) for file in files}
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "amd", "track", "--scale", SCALE, "--seed", "0", "--system"]
    jobs = [
        subprocess.Popen(
            [*command, run], cwd=unpublished.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for run in (*TRAINED, *TRAINED)
    ]
    unpublished.dvc("status", check=False)
    for job in jobs:
        _, stderr = job.communicate(timeout=600)
        assert job.returncode == 0, stderr.decode()
    assert {run for run in TRAINED if read_record(unpublished.folder / folder(run)) is None} == set()
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns, file.parent.stat().st_ino) for file in files} == before
    assert "up to date" in unpublished.dvc("status").stdout


def test_publishing_again_changes_nothing(origin):
    before = {file: origin.folder.joinpath(file).read_bytes() for file in origin.git("ls-files").split()}
    began = time.time()
    said = origin.amd("publish", "--scale", SCALE).stdout
    assert "left out" not in said
    assert {file: origin.folder.joinpath(file).read_bytes() for file in before} == before
    assert not origin.git("status", "--short")
    assert origin.folder.joinpath("dvc.yaml").stat().st_mtime >= began - 1  # written anew, and the same


def test_a_changed_configuration_is_not_published_as_what_it_is_not(origin, tmp_path):
    clone = origin.clone(tmp_path / "clone")
    subprocess.run(
        ["cp", "-rp", str(origin.folder / "checkpoints" / SCALE), str(clone.folder / "checkpoints")], check=True
    )
    (clone.folder / "results" / SCALE).mkdir()
    subprocess.run(
        ["cp", "-rp", *map(str, (origin.folder / "results" / SCALE).iterdir()), str(clone.folder / "results" / SCALE)],
        check=True,
    )
    clone.edit("config/systems/sit-amd.yaml", "  s: 0.5\n", "  s: 0.7\n")
    said = clone.amd("publish", "--scale", SCALE).stdout
    assert f"left out: {folder('sit-amd')}: of config digest" in said
    assert f"left out: {plan.table(SCALE, 'table4', 'json')}: row 'AMD (Ours)'" in said
    refused = clone.amd("track", "--scale", SCALE, "--system", "sit-amd", "--seed", "0", check=False)
    assert refused.returncode == 2
    assert "not published as what it is not" in refused.stderr


def test_dvc_lists_artifacts_metrics_params_and_plots(origin, tmp_path):
    listed = yaml.safe_load((origin.folder / "dvc.yaml").read_text())
    assert set(listed["artifacts"]) == {f"{SCALE}-{run}-seed0" for run in TRAINED}
    student = listed["artifacts"][f"{SCALE}-sit-amd-seed0"]
    assert (student["path"], student["type"]) == (folder("sit-amd"), "model")
    assert {"smoke", "student", "amd", "digits"} <= set(student["labels"])
    assert "AMD; seed 0; config digest" in student["desc"]

    shown = json.loads(origin.dvc("metrics", "show", "--json").stdout)[""]["data"]
    assert set(shown) == {f"{plan.PUBLISHED}/{SCALE}/{run}/seed0/metrics.json" for run in STUDENTS}
    score = json.loads((origin.folder / plan.score(SCALE, "sit-amd", 0, "class", "classifier")).read_text())
    assert shown[METRICS]["data"]["class"] == {**score["metrics"], "n": score["n"]}

    clone = origin.clone(tmp_path / "clone")
    numbers = json.loads((clone.folder / METRICS).read_text())
    numbers["class"]["fid"] += 1.5
    (clone.folder / METRICS).write_text(json.dumps(numbers))
    diff = json.loads(clone.dvc("metrics", "diff", "--json").stdout)
    assert diff[METRICS]["class.fid"]["diff"] == pytest.approx(1.5)

    clone.edit("config/systems/sit-amd.yaml", "  s: 0.5\n", "  s: 0.7\n")
    params = json.loads(clone.dvc("params", "diff", "--json").stdout)
    changed = params["config/systems/sit-amd.yaml"]["numbers.s"]
    assert (changed["old"], changed["new"]) == (0.5, 0.7)

    clone.dvc("plots", "show", "-o", "drawn")
    page = (clone.folder / "drawn/index.html").read_text()
    for name in ("smoke: student/loss", "smoke: fake/loss"):
        assert name in page
    for run in STUDENTS:  # DVC names the curves by what their paths do not share
        assert f"{run}/seed0/journal.csv" in page


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_record_of_another_configuration_is_refused_before_a_byte_is_fetched(origin, store, tmp_path):
    clone = origin.clone(tmp_path / "clone")
    clone.store(str(store))
    was = load(clone.folder / "config").run("sit-amd", SCALE, 0).digest
    clone.edit("config/systems/sit-amd.yaml", "  s: 0.5\n", "  s: 0.7\n")
    now = load(clone.folder / "config").run("sit-amd", SCALE, 0).digest
    assert was != now
    for refused in (
        clone.snakemake(SCORE, config="checkpoints=pull", options=("-n",), check=False),
        clone.amd("pull", "--scale", SCALE, "--system", "sit-amd", "--seed", "0", check=False),
    ):
        said = refused.stdout + refused.stderr
        assert refused.returncode != 0
        assert was in said
        assert now in said
        for way_out in ("take back the change in config/", "git checkout COMMIT", "checkpoints=train"):
            assert way_out in said
    assert not (clone.folder / folder("sit-amd")).exists()


@pytest.mark.parametrize("choice", ["train", "pull"])
def test_a_foreign_checkpoint_that_is_there_is_refused_where_it_is_read(origin, store, tmp_path, choice):
    """Pulled by hand, then the configuration changes: nothing is sampled from it, and nobody deletes it."""
    clone = origin.clone(tmp_path / "clone")
    clone.store(str(store))
    clone.dvc("pull", folder("sit-amd"))
    was = load(clone.folder / "config").run("sit-amd", SCALE, 0).digest
    clone.edit("config/systems/sit-amd.yaml", "  s: 0.5\n", "  s: 0.7\n")
    now = load(clone.folder / "config").run("sit-amd", SCALE, 0).digest
    samples = plan.samples(SCALE, "sit-amd", 0, "class")
    if choice == "pull":  # its record is foreign as well, so already the plan is refused
        refused = clone.snakemake(samples, config="checkpoints=pull", check=False)
        said = refused.stdout + refused.stderr
    else:
        refused = clone.snakemake(samples, check=False)
        assert clone.rules(refused) == {"sample"}
        said = "".join(file.read_text() for file in clone.folder.glob("results/smoke/sit-amd/seed0/logs/*.log"))
    assert refused.returncode != 0
    assert was in said
    assert now in said
    assert "Ways out" in said
    assert weights(clone, "sit-amd") == weights(origin, "sit-amd")


def test_what_is_not_published_is_named_with_the_ways_out(origin, tmp_path):
    clone = origin.clone(tmp_path / "clone")
    said = clone.snakemake(folder("sit-dmdr"), config="checkpoints=pull", options=("-n",), check=False)
    assert said.returncode != 0
    assert f"{folder('sit-dmdr')}.dvc: not there" in said.stdout + said.stderr
    assert "checkpoints=train" in said.stdout + said.stderr


def test_a_misspelt_choice_is_refused(origin):
    said = origin.snakemake(TABLE, config="checkpoints=pul", options=("-n",), check=False)
    assert said.returncode != 0
    assert "did you mean 'pull'" in said.stdout + said.stderr


def test_without_a_store_a_pull_says_how_to_name_one(origin, tmp_path):
    clone = origin.clone(tmp_path / "clone")
    refused = clone.amd("pull", "--scale", SCALE, "--system", "sit-amd", "--seed", "0", check=False)
    assert refused.returncode != 0
    assert "dvc remote add --local --default" in refused.stderr
    assert "Traceback" not in refused.stderr


# --- S3 ---------------------------------------------------------------------------------------------------------------


def test_push_and_pull_by_s3_and_no_log_shows_the_credentials(origin, s3, tmp_path):
    """Keys in .dvc/config.local on one side and in the environment on the other."""
    keys = {"access_key_id": KEY, "secret_access_key": SECRET}
    origin.store("s3://checkpoints/amd", "cloud", endpointurl=s3, region="us-east-1", **keys)
    pushed = origin.dvc("push", "-v", folder("sit-amd"), folder("digits-judge"))
    assert re.search(r"\d+ files? pushed", pushed.stdout)

    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    clone = origin.clone(tmp_path / "clone", **keys)
    clone.store("s3://checkpoints/amd", "cloud", endpointurl=s3)
    clone.dvc("pull", "-v", folder("sit-amd"))
    said = clone.snakemake(folder("digits-judge"), config="checkpoints=pull", options=("-p",))
    assert clone.rules(said) == {"pull"}
    for run in ("sit-amd", "digits-judge"):
        assert weights(clone, run) == weights(origin, run)

    shutil.rmtree(clone.folder / ".dvc/cache")  # a store that is gone, asked with the keys
    shutil.rmtree(clone.folder / folder("digits-judge"))
    clone.store("s3://no-such-bucket/amd", "cloud", endpointurl=s3)
    refused = clone.snakemake(folder("digits-judge"), config="checkpoints=pull", check=False)
    assert refused.returncode != 0

    for each in (origin, clone):
        logs = [*each.folder.glob("results/**/*.log"), *each.folder.glob(".snakemake/log/*"), *_tmp_logs(each)]
        assert logs
        text = "\n".join([*each.said, *(file.read_text(errors="replace") for file in logs)])
        assert SECRET not in text
        assert KEY not in text
        assert SECRET not in each.git("log", "-p", "--all")
        assert ".dvc/config.local" not in each.git("status", "--short", "-uall")


def _tmp_logs(clone: Clone) -> list[Path]:
    return [file for file in (clone.folder / ".dvc/tmp").rglob("*") if file.is_file()]
