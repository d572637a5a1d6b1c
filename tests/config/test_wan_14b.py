"""The configuration of Wan2.1-T2V-14B that docs/wan-14b offers, copied as its page says."""

import shutil
from pathlib import Path

import pytest

from amd.config.jobs import footprint, jobs
from amd.config.load import Library, load
from amd.train.cost import size
from amd.train.estimate import LIGHT, estimate

OFFERED = Path(__file__).parents[2] / "docs" / "wan-14b"
GIB = {"h100": 80, "h200": 140, "b300": 288}
STUDENTS = ("wan-bidirectional-dmd", "wan-bidirectional-dmd2", "wan-bidirectional-amd")


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("wan-14b") / "config"
    shutil.copytree(OFFERED.parents[1] / "config", root)
    for folder in ("domains", "scales"):
        shutil.copytree(OFFERED / folder, root / folder, dirs_exist_ok=True)
    return load(root)


def test_its_students_have_a_4_s_numbers_and_the_published_size(larger: Library):
    for name in STUDENTS:
        run = larger.run(name, "paper-14b", 0)
        assert (run.stage_iterations, run.sizes.lr, run.batch, run.video.optimiser) == (800, 5e-7, 8, None)
        assert run.start == run.teacher
        assert size(run) == 57_153_966_336 // 4  # bytes of the published weights, in float32
    small, large = (larger.domain(scale, "video") for scale in ("paper", "paper-14b"))
    assert large.prompts == small.prompts
    assert large.shift == small.shift == 5


def test_a_shard_of_the_teacher_is_named_once(larger: Library):
    teacher = larger.domain("paper-14b", "video").teacher
    assert teacher is not None
    addresses = {asset.file: asset.url for asset in (teacher.asset, *teacher.shards)}
    assert len(addresses) == 12
    for file, url in addresses.items():
        assert url == f"https://huggingface.co/Wan-AI/{file.replace('/', '/resolve/main/', 1)}"


def test_its_jobs_fit_where_its_footprints_send_them(larger: Library):
    found = jobs(larger, "paper-14b", ["bidirectional"], [])
    assert {job.what for job in found if job.rule == "distill"} == {*STUDENTS}
    for job in found:
        if job.rule in LIGHT:
            continue
        one, asked = estimate(larger, job), footprint(larger, "paper-14b", job.rule, "video")
        room = GIB[asked.gpu_model or ""] * 2**30 if one.devices else asked.mem_mb * 2**20
        assert one.memory < room, (job.rule, job.what)
        assert one.device_hours < max(one.devices, 1) * asked.runtime_min / 60, (job.rule, job.what)
