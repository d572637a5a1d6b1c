"""Image to video from the text-to-video teacher to its scores, at scale smoke; its numbers mean nothing there."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from amd.config import plan
from amd.measure.sample import build_sampler
from amd.train.artifact import read_meta
from amd.train.finished import weights

pytestmark = pytest.mark.slow
STEM = "network.patch_embedding.weight"


def test_the_teacher_goes_on_from_text_to_video_and_learns_to_look(made) -> None:
    with made() as track:
        run = track.run("wan-i2v-teacher")
        assert run.start is not None
        before, after = weights(run.start)[STEM], weights(run)[STEM]
        meta = read_meta(Path(plan.folder(run)))
    own, told = before.shape[1], after.shape[1] - before.shape[1]
    assert (run.start.name, told) == ("wan-teacher", own + 4)
    assert bool(after[:, own:].any())
    assert meta["made_from"] == {"start": {**meta["made_from"]["start"], "digest": run.start.digest}}


@pytest.mark.parametrize("system", ["wan-i2v-dmd2", "wan-i2v-amd"])
def test_every_student_moves_from_its_teacher(made, system: str) -> None:
    with made() as track:
        run = track.run(system)
        assert run.start is not None
        before, after = weights(run.start), weights(run)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())


def test_films_are_compared_with_the_pictures_that_they_were_to_begin_with(made) -> None:
    with made() as track:
        said = json.loads(track.scored("wan-i2v-amd", "vbench-i2v").read_text())
        run = track.run("wan-i2v-amd")
        records = pd.read_parquet(plan.records("smoke", run.name, 0, "vbench-i2v", run.domain.judge.name))
        parts = json.loads(track.scored("wan-i2v-amd", "videoalign-vbench-i2v").read_text())["metrics"]
    wanted = {"i2v_subject", "subject_consistency", "motion_smoothness", "dynamic_degree"}
    assert set(said["metrics"]) == wanted
    assert len(records) == said["n"] == 5 * run.video.prompts["vbench-i2v"]
    assert records["i2v_subject"].notna().all()
    assert said["floor"]["at_n"]["i2v_subject"] > said["metrics"]["i2v_subject"]  # real clips keep to theirs
    assert parts["overall"] == pytest.approx(parts["vq"] + parts["mq"] + parts["ta"], abs=1e-3)


def test_a_student_is_told_its_prompts_own_picture(made) -> None:
    """The same noise and words, another prompt's picture: another clip."""
    with made() as track:
        run, benchmark = track.run("wan-i2v-amd"), track.library.benchmarks["videoalign-vbench-i2v"]
        sampler = build_sampler(run, benchmark, weights(run))
        own, _ = sampler([0])
        sampler.asked.begun.pictures = type(sampler.asked.begun.pictures)(sampler.asked.begun.pictures.makes[::-1])
        sampler.asked.begun.known = {}
        other, _ = sampler([0])
    assert own.shape[1:] == run.domain.pixel_shape
    assert not torch.equal(own, other)
