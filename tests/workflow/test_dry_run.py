"""What Snakemake would do, at every scale: job counts, resources, what it reads, and that it loads no torch."""

from collections import Counter
from functools import cache

import pytest

from amd.config import plan
from amd.config.load import Library, load

SCALES = ("smoke", "tiny", "paper")


def closure(library: Library, scale: str, goal: str) -> Counter:
    """Jobs of a goal, counted from the tables and figures without Snakemake: who needs whom, each once."""
    tables, figures = plan.runnable(library, goal)
    score_of, traced, grids, problems = set(), set(), set(), set()
    for table in tables:
        for cell in plan.cells(library, table, scale):
            score_of |= {(cell.system, seed, cell.benchmark) for seed in cell.seeds}
    for figure in figures:
        for path in plan.figure_inputs(library, figure, scale):
            parts = path.split("/")
            if parts[2] == "plane":
                problems.add(parts[3])
            elif parts[4] == "trace":
                traced.add((parts[2], int(parts[3][4:]), parts[5].removesuffix(".json")))
            elif parts[4] in ("scores", "records"):  # a score job makes both
                score_of.add((parts[2], int(parts[3][4:]), parts[5]))
    for target in [*plan.goal_targets(library, scale, goal), *_grids(library, figures, scale)]:
        if target.endswith("grid.png"):
            grids.add((target.split("/")[2], int(target.split("/")[3][4:])))
    shown = {(s, seed, plan.grid_benchmark(library, library.system(s).track)) for s, seed in grids}
    sampled = score_of | shown
    todo = [library.run(system, scale, seed) for system, seed, _ in sampled | traced]
    measured = [(library.run(system, scale, seed), benchmark) for system, seed, benchmark in score_of | traced]
    references = {plan.reference_of(run, benchmark) for run, benchmark in measured}
    packages = {name for run, what in measured for name in plan.environments(run, library.benchmarks[what])}
    todo += [other for run, _ in measured for other in (run.judge, run.reward, *run.panel) if other]
    trained = {}
    while todo:
        run = todo.pop()
        if (run.name, run.seed) not in trained:
            trained[run.name, run.seed] = run.system.kind
            todo += run.reads
    kinds = Counter(trained.values())
    shards = sum(len(plan.shards(library.run(s, scale, seed), benchmark)) for s, seed, benchmark in sampled)
    return +Counter(
        {
            "pretrain": kinds["teacher"] + kinds["classifier"] + kinds["scorer"] + kinds["initial"],
            "distill": kinds["student"],
            "fetch": kinds["released"],
            "reference": len(references),
            "environment": len(packages),
            "sample": len(sampled) * (shards == 0),
            "shard": shards,
            "gather": len(sampled) * (shards > 0),
            "score": len(score_of),
            "trace": len(traced),
            "grid": len(grids),
            "plane": len(problems),
            "table": len(tables),
            "figure": len(figures),
            goal: 1,
        }
    )


def _grids(library: Library, figures: list[str], scale: str) -> list[str]:
    return [
        path for figure in figures for path in plan.figure_inputs(library, figure, scale) if path.endswith("grid.png")
    ]


@pytest.fixture(scope="module")
def whole(checkout):
    """(goal, scale) -> its dry run, made once."""
    return cache(lambda goal, scale: checkout.dry(goal, scale=scale))


@pytest.mark.parametrize("goal", ["main", "all"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_goal_has_the_jobs_that_its_tables_and_figures_need(whole, scale, goal):
    assert whole(goal, scale).count() == closure(load(), scale, goal)


def test_the_main_job_at_tiny_counted_by_hand(whole):
    count = whole("main", "tiny").count()
    assert count["pretrain"] == 3  # teacher, reward, judge
    assert count["distill"] == 3 * (1 + 5)  # 3 seeds of a start and of DMD, DMDR, AMD, and AMD without each component
    assert count["sample"] == count["score"] == 1 + 3 * (1 + 5)  # the teacher besides
    assert count["trace"] == 3 * 4  # Figures 5 and 6 share DMD and AMD
    assert count["table"] == 1
    assert count["figure"] == 4


@pytest.mark.parametrize("scale", SCALES)
def test_all_has_every_text_student_its_benchmarks_and_who_judges_them(whole, scale):
    """Counted by hand: Tables 2, 3, 7, 8 and 9 and Figure 9, three seeds (smoke: two)."""
    library, dry = load(), whole("all", scale)
    students = {s.name for s in library.systems.values() if (s.kind, s.track) == ("student", "text")}
    named = {row.system for table in library.tables.values() if table.track == "text" for row in table.rows}
    shown = named | {
        s for figure in library.figures.values() if figure.track == "text" for s in figure.systems.values()
    }
    assert {run for run in dry.runs("distill") if run.startswith("sdxl-")} == students & shown
    scorers = {"emoji-align-a", "emoji-align-b", "sprite-detector"}
    assert dry.runs("pretrain") & (scorers | {"sdxl-teacher"}) == (scorers if scale != "paper" else set()) | {
        "sdxl-teacher"
    }
    scored = {(job["wildcards"]["run"], job["wildcards"]["benchmark"]) for job in dry.of("score")}
    for benchmark in ("geneval", "coco10k", "hpdv2", "drawbench"):
        assert {("sdxl-dmd2", benchmark), ("sdxl-amd", benchmark)} <= scored
    judges = {job["wildcards"]["benchmark"]: job["wildcards"]["judge"] for job in dry.of("reference")}
    assert judges["geneval"] == library.domain(scale, "text").judge.name
    assert judges["class"] == library.domain(scale, "class").judge.name


@pytest.mark.parametrize("scale", SCALES)
def test_a_dry_run_loads_no_torch(whole, scale):
    imported = whole("all", scale).imported
    assert "amd.config.plan" in imported  # so the list is what we think it is
    assert not {name for name in imported if name.split(".")[0] in ("torch", "matplotlib", "scipy", "diffusers")}


def test_released_systems_are_fetched_sampled_and_scored_at_paper_scale_and_nowhere_else(whole):
    released = {name for name, system in load().systems.items() if system.kind == "released"}
    count = {scale: whole("all", scale).count() for scale in SCALES}
    assert (count["smoke"].get("fetch"), count["tiny"].get("fetch")) == (None, None)
    paper = whole("all", "paper")
    assert paper.runs("fetch") == released
    asked = {"geneval": {"sdxl", "flux", "lcm", "turbo", "lightning", "dmd2"}}
    asked["coco10k"] = asked["geneval"] - {"flux"} | {"flash", "pcm"}
    for rule in ("shard", "gather", "score"):
        jobs = [job["wildcards"] for job in paper.of(rule) if job["wildcards"]["run"] in released]
        found = {name: {job["run"] for job in jobs if job["benchmark"] == name} for name in asked}
        assert found == {name: {f"released-{each}" for each in systems} for name, systems in asked.items()}
        assert {job["seed"] for job in jobs} == {"0"}
    assert not released & (paper.runs("distill") | paper.runs("pretrain"))


def test_a_narrow_target_brings_only_its_own_chain(checkout):
    dry = checkout.dry("results/tiny/sit-amd/seed1/scores/class/classifier.json", scale="tiny")
    assert dry.count() == {"pretrain": 3, "distill": 2, "reference": 1, "sample": 1, "score": 1}
    assert dry.runs("distill") == {"sit-warm-short", "sit-amd"}


def test_a_figure_of_the_plane_needs_no_teacher(checkout):
    count = checkout.dry("results/tiny/figures/figure7.png", scale="tiny").count()
    assert set(count) == {"plane", "figure"}
    assert count["figure"] == 1


def test_paper_jobs_ask_for_gpus_and_small_ones_do_not(checkout):
    student = checkout.dry("checkpoints/paper/sit-amd/seed0", scale="paper").of("distill")[0]
    footprint = load().scales["paper"].footprints["distill"]
    assert student["resources"]["gres"] == f"gpu:{footprint.gpu_model}:{footprint.gpus}"
    assert student["resources"]["nodes"] == footprint.nodes
    assert student["resources"]["mem_mb"] == footprint.mem_mb
    assert student["resources"]["runtime"] == footprint.runtime_min
    small = checkout.dry("checkpoints/tiny/sit-amd/seed0", scale="tiny").of("distill")[0]
    assert "gres" not in small["resources"]
    assert small["threads"] == 1


def test_jobs_of_the_text_track_ask_for_its_own_footprint(checkout):
    known = load().scales["paper"].footprints
    student = checkout.dry("-p", "checkpoints/paper/sdxl-dmd2/seed0", scale="paper")
    asked, (job,) = known["distill.text"], student.of("distill")
    assert asked != known["distill"]
    assert job["resources"]["gres"] == f"gpu:{asked.gpu_model}:{asked.gpus}"
    assert (job["resources"]["mem_mb"], job["resources"]["runtime"]) == (asked.mem_mb, asked.runtime_min)
    assert f"--budget {asked.runtime_min * 60 - 120} " in student.text
    assert f"workflow/launch.sh {asked.nodes} {asked.gpus} {asked.cpus} -m amd distill" in student.text
    dry = checkout.dry("results/paper/reference/seed0/drawbench/published", scale="paper")
    (job,) = dry.of("reference")  # it has a benchmark and no run
    assert job["resources"]["mem_mb"] == known["reference.text"].mem_mb != known["reference"].mem_mb


def test_training_state_is_keyed_by_the_digest_and_no_output(checkout):
    run = load().run("sit-amd", "tiny", 0)
    dry = checkout.dry("-p", plan.folder(run), scale="tiny")
    assert f"--state state/tiny/sit-amd/seed0-{run.digest}" in dry.text
    assert not [file for job in dry.jobs for file in job["output"] + job["input"] if file.startswith("state/")]


def test_the_time_limit_leaves_two_minutes_to_save(checkout):
    minutes = load().scales["tiny"].footprints["distill"].runtime_min
    assert f"--budget {minutes * 60 - 120} " in checkout.dry("-p", "checkpoints/tiny/sit-amd/seed0", scale="tiny").text


def test_the_slurm_profile_is_found_and_means_the_papers_scale(checkout):
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the extra `cluster` is not installed")
    done = checkout.call("snakemake", "--profile", "slurm", "-n", "--quiet", "rules", "--", "main")
    assert "Job stats" in done.stdout + done.stderr
    assert checkout.dry("results/paper/tables/table4.md", scale="paper").count()["table"] == 1


def test_a_mistake_in_config_is_named_before_anything_runs(checkout, tmp_path):
    file = checkout.folder / "config/tables/table4.yaml"
    before = file.read_text()
    try:
        checkout.edit("config/tables/table4.yaml", "group: Second stage, system: sit-dmd,", "system: sit-dmdd,")
        done = checkout.call("snakemake", "-n", check=False)
    finally:
        file.write_text(before)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "tables/table4.yaml" in said
    assert "sit-dmdd" in said
    assert "did you mean" in said


def test_other_keys_than_these_two_are_refused_on_the_command_line(checkout):
    done = checkout.call("snakemake", "-n", "--config", "batch=3", check=False)
    assert done.returncode == 1
    assert "only `scale` and `checkpoints` may be set here" in done.stdout + done.stderr
