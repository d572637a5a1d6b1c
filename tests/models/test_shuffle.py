"""Pixels in squares become channels and come back."""

import pytest
import torch

from amd.backbones.shuffle import PixelShuffleCodec


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_every_byte_comes_back_bit_for_bit(factor):
    codec = PixelShuffleCodec(factor)
    bytes_ = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    pixels = bytes_.float() / 127.5 - 1
    latents = codec.encode(pixels)
    assert latents.shape == (1, 3 * factor**2, 16 // factor, 16 // factor)
    assert torch.equal(codec.decode(latents), pixels)


@pytest.mark.parametrize(("scaling", "shift"), [(2.0, 0.5), (2.9, 0.6), (0.37, -0.1)])
def test_every_byte_comes_back_whatever_the_scaling_and_shift(scaling, shift):
    bytes_ = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    codec = PixelShuffleCodec(2, scaling, shift)
    pixels = codec.decode(codec.encode(bytes_.float() / 127.5 - 1))
    assert torch.equal(((pixels + 1) * 127.5).round().to(torch.uint8), bytes_)


def test_scaling_and_shift_make_latents_of_unit_variance_and_no_mean():
    pixels = 0.6 + 0.35 * torch.randn(8, 3, 16, 16)
    latents = PixelShuffleCodec(2, 1 / 0.35, 0.6).encode(pixels)
    assert latents.mean().abs() < 0.05  # of 6,144 draws
    assert latents.std() == pytest.approx(1, abs=0.05)


def test_a_place_holds_its_square_of_each_colour_in_turn():
    pixels = torch.arange(48.0).reshape(1, 3, 4, 4)
    latents = PixelShuffleCodec(2, 1.0).encode(pixels)
    assert latents[0, :, 1, 0].tolist() == [8, 9, 12, 13, 24, 25, 28, 29, 40, 41, 44, 45]


def test_scaling_multiplies_latents_and_gradients_flow_back():
    latents = torch.randn(2, 12, 4, 4, requires_grad=True)
    pixels = PixelShuffleCodec(2, 0.5).decode(latents)
    torch.testing.assert_close(pixels.std(), 2 * latents.std())
    pixels.sum().backward()
    assert torch.equal(latents.grad, torch.full_like(latents, 2.0))


def test_clips_are_rearranged_frame_by_frame():
    codec, clips = PixelShuffleCodec(2, 2.9, 0.6), torch.randn(2, 3, 5, 4, 6)
    latents = codec.encode(clips)
    assert latents.shape == (2, 12, 5, 2, 3)
    for frame in range(5):
        assert torch.equal(latents[:, :, frame], codec.encode(clips[:, :, frame]))
        assert torch.equal(codec.decode(latents)[:, :, frame], codec.decode(latents[:, :, frame]))


@pytest.mark.parametrize("frames", [2, 4])
def test_frames_become_channels_and_come_back_the_first_alone(frames):
    bytes_ = torch.randint(256, (2, 3, 2 * frames + 1, 4, 6), generator=torch.Generator().manual_seed(0))
    codec = PixelShuffleCodec(2, 2.9, 0.6, frames)
    pixels = bytes_.float() / 127.5 - 1
    latents = codec.encode(pixels)
    assert latents.shape == (2, 12 * frames, 3, 2, 3)
    assert torch.equal(((codec.decode(latents) + 1) * 127.5).round().long(), bytes_)
    alone = PixelShuffleCodec(2, 2.9, 0.6)
    for place in range(frames):  # of a latent frame: its channels are those of its frames, in order
        channels = slice(12 * place, 12 * (place + 1))
        assert torch.equal(latents[:, channels, 0], alone.encode(pixels[:, :, 0]))
        assert torch.equal(latents[:, channels, 2], alone.encode(pixels[:, :, 1 + frames + place]))


def test_what_a_frame_is_does_not_depend_on_those_after_it():
    codec, clips = PixelShuffleCodec(2, 2.9, 0.6, 4), torch.randn(2, 3, 9, 4, 6)
    latents = codec.encode(clips)
    assert torch.equal(codec.encode(clips[:, :, :5]), latents[:, :, :2])
    assert torch.equal(codec.decode(latents[:, :, :2]), codec.decode(latents)[:, :, :5])
    assert torch.equal(codec.encode(clips[:, :, 0]), latents[:, :, 0])  # a picture is a clip's first frame
    assert torch.equal(codec.decode(latents[:, :, 0]), codec.decode(latents)[:, :, 0])


@pytest.mark.parametrize("parts", [(1, 1, 1, 1), (2, 2), (1, 3), (4,)])
@pytest.mark.parametrize("frames", [1, 4])
def test_a_clip_decoded_part_by_part_is_the_clip_decoded_at_once(frames, parts):
    codec = PixelShuffleCodec(2, 2.9, 0.6, frames)
    latents = torch.randn(2, 12 * frames, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    shown = list(codec.decoded(latents.split(parts, 2)))
    assert [part.shape[2] for part in shown] == [
        frames * n - (frames - 1) * (place == 0) for place, n in enumerate(parts)
    ]
    assert torch.equal(torch.cat(shown, 2), codec.decode(latents))


def test_the_first_frame_is_the_mean_of_what_its_channels_say():
    latents = torch.randn(1, 48, 1, 2, 2)
    codec = PixelShuffleCodec(2, 2.9, 0.6, 4)
    said = torch.stack([PixelShuffleCodec(2, 2.9, 0.6).decode(part) for part in latents[:, :, 0].chunk(4, 1)])
    torch.testing.assert_close(codec.decode(latents)[:, :, 0], said.mean(0))


def test_noise_is_not_read():
    pixels = torch.randn(1, 3, 4, 4)
    codec = PixelShuffleCodec(2)
    assert torch.equal(codec.encode(pixels, torch.randn(1, 12, 2, 2)), codec.encode(pixels))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="factor 0"):
        PixelShuffleCodec(0)
    with pytest.raises(ValueError, match=r"scaling -1\.0"):
        PixelShuffleCodec(2, -1.0)
    with pytest.raises(ValueError, match="factor 2, frames 0"):
        PixelShuffleCodec(2, frames=0)
    with pytest.raises(ValueError, match=r"7 frames: with 4 in a latent one a clip has 1, 5, 9, \.\.\. of them"):
        PixelShuffleCodec(2, frames=4).encode(torch.zeros(1, 3, 7, 4, 4))
