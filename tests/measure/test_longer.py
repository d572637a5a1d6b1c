"""Clips longer than the training's: by a student that streams, in bounded memory, and never as scored samples."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amd.backbones.wan_streaming import Memory, StreamingWan
from amd.config.load import load
from amd.distill.types import Condition
from amd.measure.films import write_films, write_parts
from amd.measure.identity import check
from amd.measure.judge import to_uint8
from amd.measure.longer import longer, parts_of, streamed
from amd.measure.sample import Sampler, read_manifest
from amd.train.networks import blank
from amd.train.reward import build_decoder, build_parts_decoder

LIBRARY = load(Path(__file__).parents[2] / "config")
BENCHMARK = LIBRARY.benchmarks["ta-hard"]


@dataclass
class Words:
    """States of prompts, drawn."""

    width: int
    count: int = 5

    def of(self, index: Tensor) -> Condition:
        """(b,) -> a prompt's own states."""
        rows = [torch.randn(4, self.width, generator=torch.Generator().manual_seed(int(i))) for i in index]
        return {"prompt": index, "tokens": torch.stack(rows)}

    def null(self, cond: Condition) -> Condition:
        """None."""
        return {"prompt": torch.full_like(cond["prompt"], -1), "tokens": torch.zeros_like(cond["tokens"])}


def sampler_of(frames: int) -> Sampler:
    """Of clips so long, by a student with random weights."""
    run = longer(LIBRARY.run("wan-amd", "smoke", 0), frames)
    network = blank(run)
    torch.nn.init.normal_(network.network.proj_out.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    words, cpu = Words(run.video.network.context), torch.device("cpu")
    return Sampler(run, BENCHMARK, network.requires_grad_(False), words, build_decoder(run), cpu)


def drawn(frames: int, held: list[int]) -> Tensor:
    """Clips (2, 3, frames, H, W) made at once; `held`: the frames that were remembered, by chunk."""
    sampler = sampler_of(frames)
    network = sampler.network
    assert isinstance(network, StreamingWan)
    remember = network.remember

    def noted(x0: Tensor, cond: Condition, context: Memory) -> Memory:
        after = remember(x0, cond, context)
        held.append(after.blocks[0].keys.shape[1] // network.places)
        return after

    network.remember = noted  # type: ignore[method-assign]
    x, labels = sampler([0, 1])
    assert labels.tolist() == [0, 1]
    return x


def frames_of(times: int) -> int:
    """Frames of a clip that has so many times a training clip's latent frames."""
    clip = LIBRARY.run("wan-amd", "smoke", 0).domain.clip
    assert clip is not None
    each = (clip.frames - 1) // (clip.latent_frames - 1)
    return (times * clip.latent_frames - 1) * each + 1


def test_a_clip_of_ten_times_the_length_begins_as_the_short_one_and_remembers_no_more() -> None:
    short, long = list[int](), list[int]()
    x, y = drawn(frames_of(1), short), drawn(frames_of(10), long)
    assert y.shape[2] == frames_of(10) > 9 * x.shape[2]
    torch.testing.assert_close(y[:, :, : x.shape[2]], x, atol=1e-4, rtol=1e-4)
    assert bool(y.isfinite().all())
    assert len(long) > 10
    streaming = LIBRARY.run("wan-amd", "smoke", 0).video.streaming
    assert streaming is not None
    assert max(long) == long[-1] == streaming.window - streaming.chunk
    assert max(short) <= max(long)


def test_the_parts_of_a_clip_are_the_clip(tmp_path: Path) -> None:
    """The same numbers whether it is made and decoded at once or chunk by chunk, and the same bytes of film."""
    clip = LIBRARY.run("wan-amd", "smoke", 0).domain.clip
    assert clip is not None
    sampler = sampler_of(frames_of(2))
    whole, labels = sampler([0, 1, 2])
    parts = list(parts_of(sampler, build_parts_decoder(sampler.run), [0, 1, 2]))
    assert len(parts) > 2
    assert torch.equal(torch.cat(parts, 2), whole)
    assert len({part[0, 0, 0].sum().item() for part in parts}) == len(parts)  # no two are alike
    batches = [(wanted, torch.cat(list(pieces), 2)) for pieces, wanted in streamed(sampler, range(3), "", to_uint8)]
    assert torch.equal(torch.cat([wanted for wanted, _ in batches]), labels)
    assert torch.equal(torch.cat([frames for _, frames in batches]), to_uint8(whole))
    write_films(tmp_path / "whole", [(to_uint8(whole), labels)], 0, clip, {})
    write_parts(tmp_path / "parts", streamed(sampler, range(3), "", to_uint8), 0, clip, {})
    one, other = (read_manifest(tmp_path / name) for name in ("whole", "parts"))
    assert one == other  # the sha256 of each film among it


def test_a_part_is_made_when_it_is_asked_for_and_what_is_not_finite_is_named() -> None:
    sampler = sampler_of(frames_of(10))
    network = sampler.network
    assert isinstance(network, StreamingWan)
    parts = parts_of(sampler, build_parts_decoder(sampler.run), [0])
    first = next(parts)
    assert first.shape[2] == 1  # of a latent frame, the first
    network.network.proj_out.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="wan-amd seed 0: samples 0 to 0 are not all finite"):
        next(parts)


def test_wans_own_latents_are_counted_in_frames_of_pixels() -> None:
    run = LIBRARY.run("wan-amd", "paper", 0)  # 81 frames are 21 latent ones, of which a chunk has 3
    found = longer(run, 4 * (210 - 1) + 1)
    assert found.domain.latent_shape == (16, 210, 60, 104)
    assert found.digest == run.digest
    with pytest.raises(ValueError, match=r"--frames 810: wan-amd makes 3 latent frames .* next length is 813"):
        longer(run, 810)
    with pytest.raises(ValueError, match="next length is 9"):
        longer(run, 0)


@pytest.mark.parametrize(("system", "said"), [("wan-teacher", "wan"), ("sdxl-amd", "unet"), ("sit-amd", "sit")])
def test_who_makes_a_clip_at_once_is_refused_by_name(system: str, said: str) -> None:
    with pytest.raises(
        ValueError, match=rf"systems/{system}\.yaml: backbone '{said}' does not stream: .* wan-streaming"
    ):
        longer(LIBRARY.run(system, "smoke", 0), 90)


def test_clips_of_another_length_are_never_scored(tmp_path: Path) -> None:
    run = LIBRARY.run("wan-amd", "smoke", 0)
    with pytest.raises(ValueError, match="clips of 90 frames, drawn by --frames to be looked at"):
        check(run, BENCHMARK, tmp_path, {"frames": 90}, run.video.prompts["ta-hard"])
