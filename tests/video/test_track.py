"""The video track from real clips of sprites to its scores, at scale smoke; its numbers mean nothing there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from children import processes
from PIL import Image
from safetensors.torch import load_file

from amd.config import plan
from amd.config.schema.closed import VIDEO
from amd.distill.rollout import grid as times
from amd.distill.types import Conditioning
from amd.measure import longer
from amd.measure.films import read_films
from amd.measure.sample import IndexNoise, build_sampler, read_manifest, sample
from amd.measure.vbench import DIMENSIONS
from amd.report.gallery import CAPTIONS, grid
from amd.train import initial, journal
from amd.train.artifact import read_artifact
from amd.train.devices import alone
from amd.train.finished import weights
from amd.train.loop import distill
from amd.train.networks import network
from amd.train.ode import euler, states
from amd.train.stop import Stop

pytestmark = pytest.mark.slow
STUDENTS = ("wan-longlive", "wan-dmd2", "wan-amd", "wan-amd-140")


@pytest.mark.parametrize("system", STUDENTS)
def test_every_streaming_student_moves_from_the_first_weights(made, system: str) -> None:
    with made() as track:
        run = track.run(system)
        assert run.start is not None
        before, after = weights(run.start), weights(run)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())


def test_the_fake_teacher_is_bidirectional_and_the_student_streams(made) -> None:
    with made() as track:
        run = track.run("wan-amd")
        assert run.teacher is not None
        assert (run.system.backbone, run.teacher.system.backbone) == ("wan-streaming", "wan")
        fake = load_file(Path(plan.folder(run)) / "fake.safetensors")
        assert fake.keys() == weights(run.teacher).keys()


def test_states_of_the_ode_are_kept_at_the_students_times(made, tmp_path: Path) -> None:
    """The first is the noise itself, the last what the solver ends in; what is kept is not made again."""
    with made() as track:
        run = track.run("wan-initial")
        assert run.teacher is not None
        found = initial.trajectories(run, tmp_path / "kept", alone(), Stop())
        again = initial.trajectories(run, tmp_path / "kept", alone(), Stop())
        teacher = network(run.teacher, weights(run.teacher), torch.device("cpu")).eval().requires_grad_(False)
        asked = initial.known(run, torch.device("cpu"))
        cond = asked.of(found.prompt[:2])
        told = Conditioning(cond, asked.null(cond), 1)
        steps, shift = run.sizes.teacher_steps, run.domain.shift
        every = list(states(teacher, found.x_t[:2, 0], told, steps, run.cfg_weight, shift))
        solved = euler(teacher, found.x_t[:2, 0], told, steps, run.cfg_weight, shift)
    assert torch.equal(found.x_t, again.x_t)
    assert torch.equal(found.x, again.x)
    assert found.times.tolist() == times(4, shift)
    torch.testing.assert_close(found.x[:2], solved)
    torch.testing.assert_close(found.x_t[:2], torch.stack(every[:-1], 1)[:, :: steps // 4])
    spread = found.x_t[:, 0].std()
    assert 0.9 < spread < 1.1  # noise


def test_a_group_of_one_clip_per_rank_is_the_group_of_one_process(made) -> None:
    """K = 2 on two ranks: one prompt for both, rewards compared with each other, one exit step."""
    with made() as track:
        base, folder = track.run("wan-amd"), track.folder
        sizes = base.video.model_copy(update={"batch": 2, "group": 2, "micro_batch": 2})
        run = replace(base, scale=base.scale.model_copy(update={"video": sizes}), digest="ranks")
        distill(run, Path("one"), Path("one-state"))
        assert processes(run, folder, "two", 2) == [0, 0]
        assert run.start is not None
        start, one, two = weights(run.start), *(read_artifact(Path(name), "student") for name in ("one", "two"))
        seen = [journal.read(Path(f"{name}-state") / "journal.jsonl") for name in ("one", "two")]
    way, apart = (
        sum(float((one[key].double() - other[key].double()).square().sum()) for key in one) ** 0.5
        for other in (start, two)
    )
    assert way > 0
    assert apart < 1e-3 * way  # sums in float32 in another order, and Adam makes steps of small gradients too
    for alone_, both in zip(*seen, strict=True):
        for key in ("student/reward", "student/reward_sigma", "student/x_std"):
            assert both[key] == pytest.approx(alone_[key], abs=1e-4)


def test_first_weights_make_a_film_as_the_students_that_begin_at_them(made) -> None:
    """In their four steps, chunk by chunk, without guidance: it is in what they were taught."""
    with made() as track:
        first, student = track.run("wan-initial"), track.run("wan-longlive")
        tensors, benchmark = weights(first), track.library.benchmarks["ta-hard"]
        one, other = (build_sampler(run, benchmark, tensors)([0, 1])[0] for run in (first, student))
    assert torch.equal(one, other)


def test_first_weights_make_a_longer_film_a_chunk_at_a_time(made, tmp_path: Path, monkeypatch) -> None:
    made_of, parts_of = [], longer.parts_of

    def noted(*asked):
        for part in parts_of(*asked):
            made_of.append(part.shape[2])
            yield part

    monkeypatch.setattr(longer, "parts_of", noted)
    with made() as track:
        run = track.run("wan-initial")
        clip, chunk = run.domain.clip, run.video.streaming.chunk
        stride = (clip.frames - 1) // (clip.latent_frames - 1)
        frames = (2 * clip.latent_frames - 1) * stride + 1
        sample(run, track.library.benchmarks["ta-hard"], tmp_path / "films", frames=frames)
        films, _ = read_films(tmp_path / "films", read_manifest(tmp_path / "films"))
    assert films.take([0]).shape[2] == frames
    assert max(made_of) == chunk * stride


def test_films_are_scored_by_every_member_of_the_panel(made) -> None:
    with made() as track:
        said = json.loads(track.scored("wan-amd", "vbench").read_text())
        run = track.run("wan-amd")
        records = pd.read_parquet(plan.records("smoke", run.name, 0, "vbench", run.domain.judge.name))
        parts = json.loads(track.scored("wan-amd", "ta-hard").read_text())
    assert set(said["metrics"]) == {key for key in DIMENSIONS if key in run.domain.metrics} | {
        *("total", "quality", "semantic")
    }
    assert len(records) == said["n"] == 5 * run.video.prompts["vbench"]
    assert {"subject_consistency", "motion_smoothness"} <= set(records.columns)
    numbers = parts["metrics"]
    assert numbers["overall"] == pytest.approx(numbers["vq"] + numbers["mq"] + numbers["ta"], abs=1e-3)
    assert parts["floor"]["at_n"].keys() == numbers.keys()


def test_a_film_is_a_function_of_its_index_alone(made) -> None:
    """Neither the batch nor the system's other films change it."""
    with made() as track:
        run, benchmark = track.run("wan-amd"), track.library.benchmarks["ta-hard"]
        sampler = build_sampler(run, benchmark, weights(run))
        together, labels = sampler([0, 1, 3])
        alone_, _ = sampler([3])
    assert together.shape[1:] == run.domain.pixel_shape
    assert labels.tolist() == [0, 1, 3]
    torch.testing.assert_close(together[2:], alone_, atol=1e-5, rtol=1e-5)
    assert torch.equal(IndexNoise(0, (3,)).normal("z", (2,)), IndexNoise(0, (1, 3)).normal("z", (2,))[1:])


def test_a_grid_of_a_run_moves(made, tmp_path: Path) -> None:
    with made() as track:
        track.scored("wan-amd", "ta-hard")
        folder = Path(plan.samples("smoke", "wan-amd", 0, "ta-hard"))
        films, _ = read_films(folder, read_manifest(folder))
        grid(folder, tmp_path / "grid.png")
        first = films.take([0])
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.n_frames == first.shape[2]
        assert len(json.loads(picture.info[CAPTIONS])) == 5
        assert np.asarray(picture.convert("RGB")).std() > 0


def test_tracks_of_video_share_their_prompted_sizes(made) -> None:
    with made() as track:
        run = track.library.run("wan-teacher", "paper", 0)
    assert run.system.track in VIDEO
    assert run.domain.latent_shape == (16, 21, 60, 104)
    assert run.domain.pixel_shape == (3, 81, 480, 832)
