"""The one path grammar, and what a table or figure takes."""

import subprocess
import sys

import pytest

from amd.config import plan
from amd.config.jobs import ORDER, Job, jobs
from amd.config.load import ConfigError, Library

SCALES = ["smoke", "tiny", "paper"]


def test_the_path_grammar():
    place = ("tiny", "sit-amd", 1)
    assert plan.checkpoint(*place) == "checkpoints/tiny/sit-amd/seed1"
    assert plan.state(*place, "abc") == "state/tiny/sit-amd/seed1-abc"
    assert plan.samples(*place, "class") == "results/tiny/sit-amd/seed1/samples/class"
    assert plan.records(*place, "class", "j") == "results/tiny/sit-amd/seed1/records/class/j.parquet"
    assert plan.score(*place, "class", "j") == "results/tiny/sit-amd/seed1/scores/class/j.json"
    assert plan.trace(*place, "class") == "results/tiny/sit-amd/seed1/trace/class.json"
    assert plan.grid(*place) == "results/tiny/sit-amd/seed1/grid.png"
    assert plan.plane("tiny", "ring") == "results/tiny/plane/ring"
    assert plan.table("tiny", "table4") == "results/tiny/tables/table4.md"
    assert plan.figure("tiny", "law", "json") == "results/tiny/figures/law.json"


def test_a_table_reads_one_score_per_system_and_seed(library: Library):
    files = plan.table_inputs(library, "table4", "tiny")
    assert len(files) == 1 + 6 * 3  # the teacher once, the students with three seeds each
    assert files[0] == "results/tiny/sit-teacher/seed0/scores/class/classifier.json"
    assert "results/tiny/sit-amd/seed2/scores/class/classifier.json" in files
    assert plan.table_inputs(library, "table4", "paper")[0].endswith("/scores/class/adm-inception.json")


def test_cells_are_rows_times_measured_columns(library: Library):
    cells = plan.cells(library, "table4", "tiny")
    table = library.tables["table4"]
    assert [(c.row, c.column) for c in cells] == [(i, c.key) for i in range(7) for c in table.columns]
    assert {c.metric for c in cells} == set(library.domain("tiny", "class").metrics)
    assert cells[-1].seeds == (0, 1, 2)
    assert len(cells[-1].scores) == 3


def test_a_column_that_nobody_judges_at_a_scale_is_left_out(library: Library):
    shown = [c.key for c in plan.columns(library, library.tables["table4"], "paper")]
    assert shown == ["fid", "sfid", "is", "precision", "recall", "reward"]  # ADM's network has other classes


def test_a_figure_reads_traces_of_its_own_stage(library: Library):
    assert (
        plan.figure_inputs(library, "figure5", "paper")[0] == "results/paper/sit-dmd--ablation/seed0/trace/class.json"
    )
    assert plan.figure_inputs(library, "figure5", "tiny")[0] == "results/tiny/sit-dmd/seed0/trace/class.json"
    assert set(plan.figure_inputs(library, "figure6", "tiny")) <= set(plan.figure_inputs(library, "figure5", "tiny"))


def test_dose_reads_scores_and_grids_read_grids(library: Library):
    assert len(plan.figure_inputs(library, "dose", "tiny")) == 6 * 3
    assert all("/scores/" in path for path in plan.figure_inputs(library, "dose", "tiny"))
    assert all(path.endswith("/seed0/grid.png") for path in plan.figure_inputs(library, "grids", "tiny"))


def test_training_reads_the_reward_only_where_the_method_has_one(library: Library):
    assert plan.training_inputs(library.run("sit-dmd", "tiny", 1)) == [
        "checkpoints/tiny/sit-warm-short/seed1",
        "checkpoints/tiny/sit-teacher/seed0",
    ]
    assert plan.training_inputs(library.run("sit-amd", "tiny", 1))[-1] == "checkpoints/tiny/digits-reward/seed0"
    assert plan.training_inputs(library.run("sit-amd", "paper", 1))[1:] == ["checkpoints/paper/sit-teacher/seed0"]
    assert plan.training_inputs(library.run("sit-warm-short", "tiny", 1)) == ["checkpoints/tiny/sit-teacher/seed0"]


def test_scoring_reads_samples_and_both_classifiers(library: Library):
    assert plan.score_inputs(library.run("sit-teacher", "tiny", 0), "class") == [
        "results/tiny/sit-teacher/seed0/samples/class",
        "results/tiny/reference/seed0/class/classifier",
        "checkpoints/tiny/digits-judge/seed0",
        "checkpoints/tiny/digits-reward/seed0",
    ]
    assert plan.score_inputs(library.run("sit-amd", "paper", 0), "class") == [
        "results/paper/sit-amd/seed0/samples/class",
        "results/paper/reference/seed0/class/adm-inception",
    ]


def test_tables_without_systems_say_why(library: Library):
    assert {plan.reason_not_runnable(library, table) for table in library.tables.values()} == {None}
    rows = [row.model_copy(update={"system": None}) for row in library.tables["table7"].rows]
    quoted = library.tables["table7"].model_copy(update={"rows": rows})
    assert plan.reason_not_runnable(library, quoted) == "none of its rows names a system"


def test_goals(library: Library):
    everything = {name for name, table in library.tables.items() if any(row.system for row in table.rows)}
    assert set(plan.runnable(library, "all")[0]) == everything >= {"table4", "table4-starts"}
    tables, figures = plan.runnable(library, "main")
    assert tables == ["table4"]
    assert {"figure5", "figure6"} <= set(figures)
    with pytest.raises(ConfigError, match="'man' is no goal; did you mean 'main'"):
        plan.runnable(library, "man")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("goal", ["main", "all"])
def test_jobs_make_what_a_goal_asks_for_and_what_they_read(library: Library, scale: str, goal: str):
    found = jobs(library, scale, *plan.runnable(library, goal))
    outputs = [job.output for job in found]
    assert len(set(outputs)) == len(outputs)
    assert set(plan.goal_targets(library, scale, goal)) <= set(outputs)
    made: set[str] = set()
    for job in found:
        if job.rule in ("pretrain", "distill"):
            assert job.run is not None
            reads = plan.training_inputs(job.run)
        elif job.rule in ("score", "trace"):
            assert job.run is not None
            assert job.benchmark is not None
            inputs = plan.score_inputs if job.rule == "score" else plan.trace_inputs
            reads = inputs(job.run, job.benchmark)
        elif job.rule == "sample":
            assert job.run is not None
            assert job.benchmark is not None
            reads = [plan.folder(job.run), *plan.shards(job.run, job.benchmark)]
        elif job.rule == "reference":
            assert job.run is not None
            reads = plan.scorers(job.run)
        elif job.rule == "table":
            reads = plan.table_inputs(library, job.what, scale)
        elif job.rule == "figure":
            reads = plan.figure_inputs(library, job.what, scale)
        else:
            reads = []
        assert set(reads) <= made, job.output
        made |= {job.output} | records_of(job)


def records_of(job: Job) -> set[str]:
    """What a score makes besides its numbers."""
    if job.rule != "score":
        return set()
    assert job.run is not None
    assert job.benchmark is not None
    run = job.run
    return {plan.records(run.scale.name, run.name, run.seed, job.benchmark, run.domain.judge.name)}


def test_main_trains_each_thing_once(library: Library):
    """Teacher, two classifiers, the start, and five second stages of three seeds."""
    found = jobs(library, "tiny", *plan.runnable(library, "main"))
    count = {rule: sum(job.rule == rule for job in found) for rule in ORDER}
    assert (count["pretrain"], count["distill"]) == (3, 3 + 5 * 3)


def test_a_table_is_known_by_its_number(library: Library):
    assert plan.known_table(library, "4").name == "table4"
    with pytest.raises(ConfigError, match="'12' is no table"):
        plan.known_table(library, "12")


def test_a_digest_that_lacks_an_argument_says_which(library: Library):
    with pytest.raises(ConfigError, match="rule 'sample' needs benchmark"):
        plan.job_digest(library, "sample", "tiny", system="sit-amd")


def test_planning_imports_no_torch_and_little_else():
    """A dry run pays for pydantic and yaml, and for less than half a second of ours."""
    code = (
        "import pydantic, yaml, time, sys; start = time.process_time();"
        "from amd.config import plan, jobs; from amd.config.load import load; took = time.process_time() - start;"
        "library = load(); plan.goal_targets(library, 'paper', 'all');"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'diffusers'} & set(sys.modules);"
        "print(took, sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    took, heavy = out.strip().split(" ", 1)
    assert heavy == "[]"
    assert float(took) < 0.5
