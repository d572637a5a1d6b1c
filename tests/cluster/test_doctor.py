"""`amd doctor --cluster`: what it says of a cluster that works, and that it notices one that does not."""

import json
from pathlib import Path

from lab import SCALE, Site


def doctor(site: Site) -> tuple[int, dict[str, list[str]]]:
    """Its exit code, and what it says: what -> the lines about it, each with its mark."""
    done = site.call("amd", "doctor", "--cluster", "--scale", SCALE, check=False, **site.environment())
    lines: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line[2:4] in ("ok", "--", "!!"):
            lines.setdefault(line[6:20].strip(), []).append(line[2:4] + " " + line[21:])
    assert lines, done.stdout + done.stderr
    return done.returncode, lines


def test_two_nodes_with_eight_ranks_each_meet_and_everything_else_is_tried(bare: Site) -> None:
    bare.smoke("distill: {", "distill: {nodes: 2, gpus: 8, gpu_model: h100, cpus: 4, ")
    bare.smoke("  default: {", "  sample: {gpus: 2, gpu_model: h100}\n  default: {")
    code, said = doctor(bare)
    (ranks,) = said["ranks"]
    assert ranks.startswith("ok 16 ranks on n01, n02 met by gloo")
    met = json.loads((bare.folder / f"state/selftest/{SCALE}/ranks.json").read_text())
    for node in ("n01", "n02"):
        assert sum(rank["node"] == node for rank in met["ranks"]) == 8
    assert all(len(rank["visible"]) == 8 for rank in met["ranks"])

    (checkpoint,) = said["checkpoint"]
    assert checkpoint.startswith("ok written on n0")
    (requeue,) = said["requeue"]
    assert "heard SIGTERM" in requeue
    assert said["devices apart"][0].startswith("ok")
    # These GPUs are copies of /dev/null. Slurm gave two to each job; that torch sees none of them must not pass.
    assert len(said["devices"]) == 2
    for line in said["devices"]:
        assert line.startswith("!! job ")
        assert "torch sees 0 of 2; the node has no NVIDIA driver" in line
    assert code == 1


def test_one_node_with_eight_ranks_and_without_gpus_elsewhere_nothing_is_wrong(bare: Site) -> None:
    bare.smoke("distill: {", "distill: {nodes: 1, gpus: 8, gpu_model: h100, cpus: 4, sharding: fsdp2, ")
    code, said = doctor(bare)
    assert code == 0, said
    (ranks,) = said["ranks"]
    assert ranks.startswith("ok 8 ranks on n0")
    assert said["sharding"] == ["ok fsdp2 over 8 ranks: the gradients of one process"]


def test_a_profile_that_asks_for_what_is_not_there_is_found_out(bare: Site) -> None:
    profile = "workflow/profiles/slurm/profile.yaml"
    bare.edit(profile, "retries: 3 ", "retries: 0 ")
    bare.edit(profile, "  # slurm_partition: gpu  ", "  slurm_partition: nowhere  ")
    code, said = doctor(bare)
    assert code == 1
    for what in ("devices", "ranks", "checkpoint", "requeue"):
        assert all(line.startswith("!! no report") for line in said[what])


def test_without_sbatch_it_says_where_it_runs(bare: Site, tmp_path: Path) -> None:
    done = bare.call("amd", "doctor", "--cluster", "--scale", SCALE, check=False, PATH=str(tmp_path))
    assert done.returncode == 1
    assert "login node" in done.stdout
