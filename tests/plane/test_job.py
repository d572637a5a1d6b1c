"""The job end to end at the smoke scale: its files, its survival, and the figures drawn from them."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from amd.config import plan
from amd.report import plane as report
from amd.report.plane_words import law_rows
from amd.train.plane import Job, evaluations, finished, plane
from amd.train.stop import Stop

ROOT = Path(__file__).parents[2]
FIGURES = ["figure7", "figure8", "law", "zone", "plane-variants"]


@pytest.fixture(scope="module")
def made(library, tmp_path_factory):
    """Every problem of the configuration at smoke, in a folder that looks like a repository's root."""
    root = tmp_path_factory.mktemp("plane")
    for problem in library.problems:
        plane(library, problem, "smoke", root / plan.plane("smoke", problem), root / "state" / problem)
    return root


@pytest.mark.parametrize("problem", ["selective", "global", "lower-left", "split2", "selective-doses", "mlp-teacher"])
def test_a_problem_is_measured_in_every_run_at_every_evaluation(library, made, problem):
    folder, entry, scale = made / plan.plane("smoke", problem), library.problems[problem], library.scales["smoke"]
    content = json.loads((folder / "measurements.json").read_text())
    runs = [(run["title"], run["seed"]) for run in content["runs"]]
    assert runs == [(title, seed) for title in entry.methods for seed in scale.seeds]
    steps = evaluations(scale.plane.iterations, scale.plane.evaluations)
    for run in content["runs"]:
        assert [point["iteration"] for point in run["curve"]] == steps
        assert run["system"] == entry.methods[run["title"]]
        assert all(0 <= point["off"] <= 1 and point["covered"] <= len(content["modes"]) for point in run["curve"])
    with np.load(folder / "samples.npz", allow_pickle=False) as arrays:
        assert arrays["snapshots"].shape == (len(runs), len(steps), scale.plane.samples, 2)
        assert np.isfinite(arrays["snapshots"]).all()
        assert arrays["titles"].tolist() == [title for title, _ in runs]
        assert arrays["density"].min() >= 0
        # seeds are paired: at the start two methods of one seed are one student
        assert np.array_equal(arrays["snapshots"][0, 0], arrays["snapshots"][len(scale.seeds), 0])
        assert not np.array_equal(arrays["snapshots"][0, 0], arrays["snapshots"][1, 0])
    assert not list(folder.parent.glob("*.part"))
    assert list((made / "state" / problem).glob("stack*")) == []


def test_what_a_run_is_stacked_with_does_not_show_in_the_result(library, made, with_problem, tmp_path):
    """DMD's first seed out of the whole problem, and alone."""
    alone = with_problem(library, "selective", methods={"DMD": "plane-dmd"}, seeds=[0])
    plane(alone, "selective", "smoke", tmp_path / "out", tmp_path / "state")
    with (
        np.load(tmp_path / "out/samples.npz") as one,
        np.load(made / plan.plane("smoke", "selective") / "samples.npz") as all_,
    ):
        assert all_["titles"][0] == "DMD"
        np.testing.assert_allclose(one["snapshots"][0], all_["snapshots"][0], atol=1e-4)  # float32 over 120 updates


def test_a_stopped_job_ends_in_the_same_bits(library, made, tmp_path, monkeypatch):
    """Stopped after 5, 10, 15 ... iterations of each stack, as a time limit would."""

    class Impatient(Stop):
        def reason(self, reserve_s=0.0):
            self.asked = getattr(self, "asked", 0) + 1
            return "the test's patience" if self.asked == 5 else None

    monkeypatch.setattr("amd.train.plane.Stop", Impatient)
    out, attempts = tmp_path / "out", 1
    with pytest.raises(SystemExit) as stopped:
        plane(library, "selective-doses", "smoke", out, tmp_path / "state")
    assert stopped.value.code == 75
    while not out.exists():
        assert attempts < 40
        attempts += 1
        with suppress(SystemExit):
            plane(library, "selective-doses", "smoke", out, tmp_path / "state")
    assert attempts > 10  # three stacks of 20 iterations, 5 at a time
    whole = made / plan.plane("smoke", "selective-doses")
    with np.load(out / "samples.npz") as parts, np.load(whole / "samples.npz") as straight:
        assert np.array_equal(parts["snapshots"], straight["snapshots"])
    ours, theirs = (json.loads((folder / "measurements.json").read_text()) for folder in (out, whole))
    assert ours["runs"] == theirs["runs"]


def test_a_finished_folder_is_left_alone(library, made, capsys):
    folder = made / plan.plane("smoke", "global")
    before = (folder / "samples.npz").stat().st_mtime_ns
    plane(library, "global", "smoke", folder, made / "state" / "global")
    assert (folder / "samples.npz").stat().st_mtime_ns == before
    assert "finished already" in capsys.readouterr().err
    assert not finished(folder, "another")


def test_the_command_line_runs_the_job(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "amd", "plane", "--scale", "smoke", "--problem", "global"]
    where = ["--out", out, "--state", tmp_path / "state"]
    subprocess.run([*command, *where], cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert (out / "measurements.json").is_file()


def test_the_law_stands_beside_every_run_that_it_speaks_of(library, made):
    by_problem = {
        problem: json.loads((made / plan.plane("smoke", problem) / "measurements.json").read_text())
        for problem in library.problems
    }
    selective = {run["title"]: run["law"] for run in by_problem["selective"]["runs"]}
    assert selective["DMD"]["p"] == pytest.approx(0.5)
    assert selective["AMD"]["p"] == pytest.approx(0.8142, abs=1e-4)
    assert selective["AMD"]["K"] == library.scales["smoke"].plane.batch
    assert selective["Naive"] is None
    assert {run["law"]["p0"] for run in by_problem["law-p25"]["runs"]} == {0.25}
    assert {run["law"]["p0"] for run in by_problem["law-p75"]["runs"]} == {0.75}
    assert by_problem["split2"]["group"] == library.scales["smoke"].plane.batch // 2
    assert all(run["law"] is None for run in by_problem["global"]["runs"])
    assert next(run["law"] for run in by_problem["lower-left"]["runs"] if run["title"] == "AMD")["p"] > 0.6


def test_k_of_a_problem_is_a_config_number(library, with_problem, tmp_path):
    grouped = with_problem(library, "selective", group=8, methods={"AMD": "plane-amd"}, seeds=[0])
    content, _ = Job(grouped, grouped.problems["selective"], "smoke", tmp_path, Stop(None)).run()
    law = content["runs"][0]["law"]
    assert law["K"] == content["group"] == 8
    assert law["p_at_K"] < law["p"] - 0.01
    wrong = with_problem(library, "selective", group=7)
    with pytest.raises(ValueError, match=r"plane\.batch 32 does not split into groups of 7"):
        Job(wrong, wrong.problems["selective"], "smoke", tmp_path, Stop(None))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_picture_numbers_and_words(library, made, name):
    out = made / plan.figure("smoke", name).removesuffix(".png")
    report.build(library, name, "smoke", out, root=made)
    assert out.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    content = json.loads(out.with_suffix(".json").read_text())
    assert [problem["problem"] for problem in content["problems"]] == library.figures[name].problems
    words = out.with_suffix(".md").read_text()
    assert library.scales["smoke"].banner in words
    assert " ".join(library.figures[name].caption.split()) in words
    for problem in content["problems"]:
        assert problem["run_digest"] in words
    assert "nan" not in words.lower().split()


def test_the_law_s_table_is_the_measurement(library, made):
    """The words under Figure 7 and the numbers of the law's figure say the same."""
    out = made / plan.figure("smoke", "law").removesuffix(".png")
    report.build(library, "law", "smoke", out, root=made)
    rows = json.loads(out.with_suffix(".json").read_text())["rows"]
    row = next(row for row in rows if (row["problem"], row["method"]) == ("selective", "AMD"))
    assert row["median"] == pytest.approx(np.median(row["measured"]))
    assert row["difference"] == pytest.approx(row["median"] - row["expected"])
    assert row["expected"] == row["predicted_at_K"] != row["predicted"]
    assert len(row["measured"]) == len(library.scales["smoke"].seeds)
    figure7 = made / plan.figure("smoke", "figure7").removesuffix(".png")
    report.build(library, "figure7", "smoke", figure7, root=made)
    line = next(
        li for li in figure7.with_suffix(".md").read_text().splitlines() if li.startswith("| AMD | 0.500 | 1 |")
    )
    assert "| 0.814 |" in line
    assert f"| {row['median']:.3f} |" in line
    contents = [json.loads((made / plan.plane("smoke", "selective") / "measurements.json").read_text())]
    assert law_rows(library.figures["law"], contents)[1]["measured"] == row["measured"]


def test_a_figure_refuses_what_is_missing_or_stale(library, made, with_problem, tmp_path):
    with pytest.raises(ValueError, match=r"measurements.json: not there yet; make it: python -m amd plane"):
        report.build(library, "figure8", "smoke", tmp_path / "figure8", root=tmp_path)
    changed = with_problem(library, "lower-left", radius=1.3)
    with pytest.raises(ValueError, match="made from another configuration"):
        report.build(changed, "figure8", "smoke", tmp_path / "figure8", root=made)
    assert not list(tmp_path.glob("figure8*"))
