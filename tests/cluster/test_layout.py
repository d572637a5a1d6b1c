"""A site whose partitions are others changes the profile alone."""

from collections.abc import Iterator

import pytest
from lab import SCALE, Site, Slurm, ask

from amd.config import plan

PARTITIONS = """partitions:
  quick: {max_runtime: 120, max_gpu: 0}
  h100: {max_runtime: 2880, max_gpu: 8, available_gpu_models: [h100], max_nodes: 2}
"""


@pytest.fixture
def other_layout(slurm: Slurm) -> Iterator[None]:
    """No default partition; one for short jobs without GPUs, one for GPUs."""
    ask("scontrol", "update", "PartitionName=main", "Default=NO", "State=DOWN")
    ask("scontrol", "create", "PartitionName=quick", "Nodes=ALL", "MaxTime=120", "State=UP", "MaxCPUsPerNode=4")
    ask("scontrol", "create", "PartitionName=h100", "Nodes=ALL", "MaxTime=2880", "State=UP", "MaxCPUsPerNode=4")
    yield
    ask("scontrol", "update", "PartitionName=main", "Default=YES", "State=UP")
    for name in ("quick", "h100"):
        ask("scontrol", "delete", f"PartitionName={name}")


def test_each_job_takes_the_partition_that_fits_it(students: Site, slurm: Slurm, other_layout: None) -> None:
    students.smoke("  default: {", "  trace: {gpus: 1, gpu_model: h100}\n  default: {")
    samples, trace = plan.samples(SCALE, "sit-amd", 0, "class"), plan.trace(SCALE, "sit-dmd", 0, "class")
    refused = students.snakemake(samples, trace, "--retries", "0", check=False)
    assert "No partition specified or system default partition" in refused

    students.edit(
        "workflow/profiles/slurm/profile.yaml",
        "# slurm-partition-config: workflow/profiles/slurm/partitions.yaml",
        "slurm-partition-config: workflow/profiles/slurm/partitions.yaml",
    )
    (students.folder / "workflow/profiles/slurm/partitions.yaml").write_text(PARTITIONS)
    students.snakemake(samples, trace)
    jobs = slurm.jobs(students.folder).values()
    taken = {known["comment"].split("_wildcards")[0]: known["partition"] for known in jobs}
    assert taken == {"rule_measured_sample": "quick", "rule_reference": "quick", "rule_trace": "h100"}


def test_one_partition_and_more_time_are_two_lines_of_the_profile(students: Site, slurm: Slurm) -> None:
    profile = "workflow/profiles/slurm/profile.yaml"
    students.edit(profile, "  # slurm_partition: gpu  ", "  slurm_partition: paper  ")
    students.edit(profile, "set-resources:\n", "set-resources:\n  sample:\n    runtime: 33\n")
    students.snakemake(plan.samples(SCALE, "sit-amd", 0, "class"))
    (job,) = slurm.jobs(students.folder)
    assert slurm.jobs(students.folder)[job]["partition"] == "paper"
    assert "TimeLimit=00:33:00" in ask("scontrol", "show", "job", str(job))
