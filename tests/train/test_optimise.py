"""A track's own optimiser: what it says reaches AdamW, the clipping and the average; who says nothing keeps DMDR's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from smoke_run import Case, library

from amd.config import plan
from amd.config.digest import run_digest
from amd.config.load import Run
from amd.config.schema.sizes import Optimiser
from amd.distill.step import Phase
from amd.train.artifact import write_artifact
from amd.train.cast import BETAS, DECAY, Company, build_cast
from amd.train.devices import alone
from amd.train.networks import blank
from amd.train.optimise import CLIP, Optimise, averaging, clip_of
from amd.train.weights import rising

OWN = Optimiser(betas=(0.0, 0.9), decay=0.03, clip=10.0, averaged_from=0.5)


def video(own: Optimiser | None) -> Run:
    run = library().run("wan-longlive", "smoke", 0)
    sizes = run.video.model_copy(update={"optimiser": own})
    return replace(run, scale=run.scale.model_copy(update={"video": sizes}))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh networks where a streaming student looks for its teacher and its first weights."""
    monkeypatch.chdir(tmp_path)
    run = video(None)
    for read in (run.teacher, run.start):
        assert read is not None
        about = {"kind": read.system.kind, "digest": read.digest}
        write_artifact(Path(plan.folder(read)), {read.system.kind: blank(read).state_dict()}, about)


def settings(company: Company) -> dict[str, tuple[object, object]]:
    groups = {role: optimiser.param_groups[0] for role, optimiser in company.optimisers.items()}
    return {role: (group["betas"], group["weight_decay"]) for role, group in groups.items()}


def test_a_tracks_own_numbers_reach_the_optimisers(made: None) -> None:
    assert settings(build_cast(video(None))) == {role: (BETAS, DECAY[role]) for role in ("student", "fake")}
    assert settings(build_cast(video(OWN))) == dict.fromkeys(("student", "fake"), ((0.0, 0.9), 0.03))
    assert (clip_of(video(None)), clip_of(video(OWN))) == (CLIP, 10.0)


@pytest.mark.parametrize("own", [None, OWN])
def test_a_gradient_is_clipped_at_the_tracks_norm(made: None, own: Optimiser | None) -> None:
    """What Adam's first moment takes in is (1 - beta1) times the clipped gradient."""
    run = video(own)
    company = build_cast(run)
    optimise = Optimise(company, alone(), clip_of(run))
    parameters = optimise.parameters("student")
    loss = 1e3 * torch.stack([p.sum() for p in parameters]).sum()
    seen = optimise(Phase("student", loss, last=True, stats={}))
    assert seen["gradient"] > 1e3
    moments = [company.optimisers["student"].state[p]["exp_avg"] for p in parameters]
    taken = torch.stack([m.norm() for m in moments]).norm() / (1 - (own.betas if own else BETAS)[0])
    assert float(taken) == pytest.approx(clip_of(run), rel=1e-4)


def test_an_average_begins_where_its_track_says() -> None:
    """LongLive: at step 200 of 700, in both readings of A.4; before that the average is the student."""
    for name, begins in (("wan-longlive", 200), ("wan-amd-140", 40)):
        run = library().run(name, "paper", 0)
        assert [averaging(run, done) for done in (0, begins - 1, begins, begins + 1)] == [0, 0, 0.99, 0.99]
    plain = Case(ema=0.9).run()
    assert [averaging(plain, done) for done in (0, 5, 500)] == [rising(0.9, 0), rising(0.9, 5), 0.9]


def test_another_optimiser_is_another_student_and_none_is_what_there_was() -> None:
    def digest(own: Optimiser | None) -> str:
        run = video(own)
        return run_digest(run.system, run.scale, run.domain, 2, "start", "teacher", "reward")

    assert len({digest(own) for own in (None, OWN, OWN.model_copy(update={"clip": 1.0}))}) == 3
    assert library().run("wan-longlive", "smoke", 0).video.optimiser is None


def test_the_papers_scale_has_longlives() -> None:
    """Betas (0, 0.999), weight decay 0.01, gradients clipped at 10; of the streaming track alone."""
    scale = library().scale("paper")
    assert scale.video is not None
    assert scale.i2v is not None
    assert scale.video.optimiser == Optimiser(betas=(0.0, 0.999), decay=0.01, clip=10.0, averaged_from=0.286)
    assert scale.i2v.optimiser is None
