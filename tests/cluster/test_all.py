"""`snakemake --profile slurm all --config scale=smoke`, from a fresh checkout to the end."""

import re
from pathlib import Path

from lab import SCALE, Site, Slurm
from training import same_student

from amd.config import plan
from amd.config.load import load


def test_everything_that_all_names_is_there_and_whole(built: Site) -> None:
    for target in plan.goal_targets(load(built.folder / "config"), SCALE, "all"):
        assert (built.folder / target).stat().st_size > 0, target
    assert not list(built.folder.glob("**/*.part"))


def test_the_scale_of_the_command_line_wins_over_the_profiles(built: Site) -> None:
    assert "scale=paper" in (built.folder / "slurm/profile.yaml").read_text()
    for folder in ("checkpoints", "results"):
        scales = {made.name for made in (built.folder / folder).iterdir() if made.is_dir() and not made.is_symlink()}
        assert scales - {"published"} == {SCALE}


def test_the_jobs_ran_on_two_nodes(built: Site, slurm: Slurm) -> None:
    assert {task.node for task in slurm.tasks(since=built.began)} == {"n01", "n02"}


def test_short_cpu_rules_are_no_jobs_of_their_own(built: Site, slurm: Slurm) -> None:
    """Tables, figures and grids run beside Snakemake; measuring goes in groups; trainings go alone."""
    submitted = re.findall(r"has been submitted with SLURM jobid \d+ \(log: \S+/logs/slurm/(\w+?)/", built.said)
    students = len({path.parent for path in built.folder.glob(f"checkpoints/{SCALE}/*/seed*/student.safetensors")})
    sampled = len(list(built.folder.glob(f"results/{SCALE}/*/seed*/samples/*/manifest.json")))
    assert submitted.count("rule_distill") == students
    assert not set(submitted) & {f"rule_{name}" for name in ("grid", "table", "figure", "sample", "score", "trace")}
    groups = [rule for rule in submitted if rule.startswith("group_measured")]
    assert 0 < len(groups) <= sampled / 2


def test_said_again_there_is_nothing_to_be_done(built: Site) -> None:
    assert "Nothing to be done" in built.snakemake("all")


def test_slurm_changes_no_bit_of_a_student(built: Site) -> None:
    assert same_student(built, "sit-amd", 0)


def test_every_job_has_a_log_with_its_number(built: Site) -> None:
    """Slurm's own is found by rule and wildcards; its name is the job's number."""
    logs = list((built.folder / f"logs/slurm/rule_distill/{SCALE}_sit-amd_0").iterdir())
    assert [Path(log.name).suffix for log in logs] == [".log"]
    assert logs[0].stem.isdigit()
