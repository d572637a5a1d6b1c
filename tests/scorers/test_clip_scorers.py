"""What scorers of the video tracks are trained on: frames of clips whose content is known, clips and their twins."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from amd.config.load import load
from amd.config.schema.assets import Clip, Data
from amd.config.schema.sizes import Pretraining, VideoSizes
from amd.data.captioned import captioned
from amd.data.emoji import COLOURS, VOCABULARY
from amd.distill.noise import Noise
from amd.rewards.sprite_detector import DetectorTraining
from amd.train.pretrain_tasks import scorer_task
from amd.train.scorers import TIMES, frames, of_frames, scorer_training

CLIP = Clip(frames=6, width=32, latent_frames=6, latent_width=16, fps=8)
PER = {"clip-plain": 1, "clip-residual": 1, "detector": TIMES}  # pictures or pairs of a clip


@pytest.fixture(scope="module")
def clips():
    return captioned("emoji-clips", pixels=(3, 32), count=12, clip=CLIP)


def test_a_clip_s_frames_are_its_own_with_what_is_where(clips):
    pictures = frames(clips)
    assert pictures.pixels.shape == (12 * TIMES, 3, 32, 32)
    assert len(pictures) == len(pictures.scenes) == len(pictures.prompt) == 12 * TIMES
    for place in range(12 * TIMES):
        clip = place // TIMES
        time = next(t for t in range(6) if torch.equal(pictures.pixels[place], clips.pixels[clip, :, t]))
        boxes = [it.box for it in pictures.scenes[place].objects]
        known = [[tuple(it.boxes[t].tolist()) for it in clips.filmed[clip].objects] for t in range(6)]
        still = torch.equal(clips.pixels[clip, :, 0], clips.pixels[clip, :, 5])
        assert boxes in known if still else boxes == known[time]
        assert pictures.captions[place] == clips.captions[clip]


def test_frames_of_a_half_are_of_its_clips():
    assert of_frames(torch.tensor([0, 2])).tolist() == [0, 1, 2, 6, 7, 8]


def test_a_detector_is_trained_on_frames(clips):
    pictures, place = frames(clips), torch.arange(12)
    own, other = of_frames(place[::2]), of_frames(place[1::2])
    task = DetectorTraining(pictures.pixels, pictures.scenes, own, other, VOCABULARY, COLOURS)
    optimiser, losses = torch.optim.AdamW(task.module.parameters(), 3e-3), []
    for step in range(12):
        loss = task.loss(Noise(0, step, 8))
        losses.append(float(loss.detach()))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


@pytest.mark.parametrize("architecture", ["clip-plain", "clip-residual", "detector"])
def test_a_run_of_the_video_track_trains_its_scorer_on_its_half(architecture, tmp_path, monkeypatch):
    """From configuration to loss; the first and the last clip are of different halves."""
    monkeypatch.chdir(tmp_path)  # the states of prompts are kept under state/
    text = load(Path(__file__).parents[2] / "config").run("emoji-align-a", "smoke", 0)
    sizes = VideoSizes.model_construct(clips=12, scorers={architecture: Pretraining(iterations=1, batch=4, lr=1e-3)})
    run = replace(
        text,
        system=text.system.model_copy(update={"track": "video", "architecture": architecture}),
        scale=text.scale.model_copy(update={"video": sizes}),
        domain=text.domain.model_copy(update={"track": "video", "data": Data(source="emoji-clips"), "clip": CLIP}),
    )
    task = scorer_task(run, torch.device("cpu"))
    task.loss(Noise(0, 0, 4)).backward()
    task.finish()
    assert task.sizes.batch == 4
    assert {"own half", "other half"} == set(task.report()["accuracy"])
    again = scorer_training(run, torch.device("cpu"))[0]
    assert set(again.own.tolist()) == {
        place for place in range(len(again.pixels)) if place // PER[architecture] % 2 == 0
    }
    assert torch.equal(torch.cat((again.own, again.other)).sort().values, torch.arange(len(again.pixels)))
