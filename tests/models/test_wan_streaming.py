"""The causal student: what it sees, what it remembers, and who gets a gradient."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from wans import SHAPE, SIZE, inputs, stirred

from amd.backbones.base import backbone
from amd.backbones.wan import WanBackbone
from amd.backbones.wan_streaming import Memory, StreamingWan
from amd.config.load import load
from amd.config.schema.sizes import Streaming

LONG = (4, 8, 4, 4)
CAUSAL = Streaming(chunk=2, window=5, sink=1)  # a chunk, the first frame, and two before it
EXACT = {"rtol": 0, "atol": 1e-10}  # float64


def streaming(
    setting: Streaming = CAUSAL, shape: tuple[int, int, int, int] = LONG, *, first_frame: bool = False
) -> StreamingWan:
    return stirred(StreamingWan(SIZE, shape, setting, first_frame=first_frame)).double()


def doubled(rows: int = 2, shape: tuple[int, ...] = LONG) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    x, eps, t, cond = inputs(rows, shape=shape)
    return x.double(), eps.double(), t, {k: v if v.dtype == torch.bool else v.double() for k, v in cond.items()}


def chunked(wan: StreamingWan, clean: Tensor, x_t: Tensor, t_frames: Tensor, cond: dict[str, Tensor]) -> Tensor:
    """Each chunk of x_t at its own time, after the clean chunks before it."""
    context, found = wan.empty(x_t.shape[0]), []
    for start in range(0, x_t.shape[2], wan.chunk):
        part = slice(start, start + wan.chunk)
        found.append(wan.predict(x_t[:, :, part], t_frames[:, start], cond, context))
        context = wan.remember(clean[:, :, part], cond, context)
    return torch.cat(found, 2)


def test_parameters_are_those_of_the_bidirectional_network():
    causal, plain = StreamingWan(SIZE, LONG, CAUSAL, seed=3), WanBackbone(SIZE, LONG, seed=3)
    assert list(causal.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(causal.parameters(), plain.parameters(), strict=True))
    assert backbone("wan-streaming") is StreamingWan


@pytest.mark.parametrize("setting", [Streaming(chunk=8, window=8, sink=0), Streaming(chunk=8, window=30, sink=3)])
def test_one_chunk_as_long_as_the_clip_is_the_bidirectional_network(setting):
    x, eps, t, cond = doubled()
    causal, plain = streaming(setting), stirred(WanBackbone(SIZE, LONG)).double()
    with torch.no_grad():
        expected = plain(x, t, cond)
        torch.testing.assert_close(causal.predict(x, t, cond, causal.empty(2)), expected, **EXACT)
        torch.testing.assert_close(causal(x, t, cond), expected, **EXACT)
        torch.testing.assert_close(causal.native_loss(x, eps, t, cond), plain.native_loss(x, eps, t, cond), **EXACT)
        for ours, theirs in zip(causal.features(x, t, cond, (2, 0)), plain.features(x, t, cond, (2, 0)), strict=True):
            torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize(
    ("chunk", "window", "sink"),
    [(2, 5, 1), (2, 8, 0), (2, 2, 0), (2, 4, 2), (1, 3, 1), (4, 7, 3), (2, 7, 3), (2, 6, 0), (8, 8, 0)],
)
@pytest.mark.parametrize("first_frame", [False, True])
def test_one_masked_pass_is_the_chunks_one_after_another(chunk, window, sink, first_frame):
    wan = streaming(Streaming(chunk=chunk, window=window, sink=sink), first_frame=first_frame)
    clean, x_t, _, cond = doubled()
    times = torch.rand(2, LONG[1] // chunk, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    t_frames = times.repeat_interleave(chunk, 1)
    with torch.no_grad():
        expected = chunked(wan, clean, x_t, t_frames, cond)
        torch.testing.assert_close(wan.masked(clean, x_t, t_frames, cond), expected, **EXACT)


PAPERS = load(Path(__file__).parents[2] / "config").scale("paper").video
ROLLING = (4, 18, 4, 4)  # six chunks of three: the window of 12 is left behind from the fifth on


@pytest.mark.parametrize("first_frame", [False, True])
def test_the_papers_window_rolls_alike_in_one_pass_and_chunk_by_chunk(first_frame):
    """Chunks of 3, window 12, sink 3, read from the scale."""
    assert PAPERS is not None
    setting = PAPERS.streaming
    assert setting is not None
    assert (setting.chunk, setting.window, setting.sink) == (3, 12, 3)
    wan = streaming(setting, ROLLING, first_frame=first_frame)
    clean, x_t, _, cond = doubled(1, ROLLING)
    chunks = ROLLING[1] // setting.chunk
    times = torch.rand(1, chunks, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    t_frames = times.repeat_interleave(setting.chunk, 1)
    with torch.no_grad():
        expected = chunked(wan, clean, x_t, t_frames, cond)
        torch.testing.assert_close(wan.masked(clean, x_t, t_frames, cond), expected, **EXACT)
        wider = streaming(setting.model_copy(update={"window": 30}), ROLLING, first_frame=first_frame)
        unrolled = wider.masked(clean, x_t, t_frames, cond)
        same = [torch.allclose(a, b, **EXACT) for a, b in zip(unrolled.split(3, 2), expected.split(3, 2), strict=True)]
    assert same == [True] * 4 + [False] * 2  # what the window forgets is felt from the fifth chunk on


def test_the_papers_window_holds_the_sink_and_the_six_frames_before_a_chunk():
    assert PAPERS is not None
    assert PAPERS.streaming is not None
    shallow = SIZE.model_copy(update={"depth": 1})
    wan = stirred(StreamingWan(shallow, ROLLING, PAPERS.streaming)).double()
    clean, x_t, t, cond = doubled(1, ROLLING)
    last = slice(15, 18)

    def prediction(given: Tensor) -> Tensor:
        with torch.no_grad():
            return chunked(wan, given, x_t, t[:, None].expand(-1, ROLLING[1]), cond)[:, :, last]

    before, seen = prediction(clean), []
    for frame in range(ROLLING[1]):
        given = clean.clone()
        given[:, :, frame] += 1
        if not torch.equal(prediction(given), before):
            seen.append(frame)
    assert seen == [0, 1, 2, 9, 10, 11, 12, 13, 14]


def test_the_loss_is_the_velocitys_error_after_the_clean_frames():
    wan = streaming()
    x, eps, t, cond = doubled()
    x_t = wan.path.add_noise(x, eps, t)
    with torch.no_grad():
        x0 = chunked(wan, x, x_t, t[:, None].expand(-1, LONG[1]), cond)
        v = (x0 - x_t) / (1 - t)[:, None, None, None, None]
        torch.testing.assert_close(wan.native_loss(x, eps, t, cond), (v - (x - eps)).square().mean((1, 2, 3, 4)))


def test_a_whole_clip_reads_its_own_predictions():
    wan = streaming()
    x_t, _, t, cond = doubled()
    with torch.no_grad():
        whole = wan(x_t, t, cond)
        torch.testing.assert_close(chunked(wan, whole, x_t, t[:, None].expand(-1, LONG[1]), cond), whole, **EXACT)
        assert not torch.allclose(chunked(wan, x_t, x_t, t[:, None].expand(-1, LONG[1]), cond), whole, atol=1e-3)


def test_a_chunk_sees_the_sink_and_the_window_and_no_other_frame():
    """chunk 2, window 5, sink 1: frames 6 and 7 read 0, 4 and 5, and themselves. One block: no frame has been told."""
    shallow = SIZE.model_copy(update={"depth": 1})
    wan = stirred(StreamingWan(shallow, LONG, CAUSAL)).double()
    clean, x_t, t, cond = doubled()
    t_frames = t[:, None].expand(-1, LONG[1])

    def changed(argument: str, frame: int) -> list[int]:
        """Frames of the prediction that a change in this frame changes."""
        given = {"clean": clean, "x_t": x_t}
        given[argument] = given[argument].clone()
        given[argument][:, :, frame] += 1
        with torch.no_grad():
            out = chunked(wan, given["clean"], given["x_t"], t_frames, cond)
            assert torch.allclose(wan.masked(given["clean"], given["x_t"], t_frames, cond), out, **EXACT)
        return [f for f in range(LONG[1]) if not torch.equal(out[:, :, f], before[:, :, f])]

    with torch.no_grad():
        before = chunked(wan, clean, x_t, t_frames, cond)
    seen = {frame: changed("clean", frame) for frame in range(LONG[1])}
    assert seen == {0: [2, 3, 4, 5, 6, 7], 1: [2, 3], 2: [4, 5], 3: [4, 5], 4: [6, 7], 5: [6, 7], 6: [], 7: []}
    assert [changed("x_t", frame) for frame in (0, 3, 6)] == [[0, 1], [2, 3], [6, 7]]


def test_what_is_remembered_stays_as_large_as_the_window():
    wan = streaming()
    x, _, _, cond = doubled(1)
    context, frames = wan.empty(1), []
    for index in range(40):
        assert context.start == 2 * index
        frames.append(context.blocks[0].keys.shape[1] / wan.places)
        context = wan.remember(x[:, :, :2], cond, context)
    assert frames[:4] == [0, 2, 3, 3]
    assert set(frames[2:]) == {3}
    assert {past.values.shape[1] for past in context.blocks} == {3 * wan.places}
    assert all(tensor.grad_fn is None and not tensor.requires_grad for past in context.blocks for tensor in past)


def test_contexts_are_values():
    """Remembering changes nothing that was remembered before: a chunk may be asked for again."""
    wan = streaming()
    x, _, t, cond = doubled()
    context = wan.remember(x[:, :, :2], cond, wan.empty(2))
    kept = [tensor.clone() for past in context.blocks for tensor in past]
    first = wan.predict(x[:, :, 2:4], t, cond, context)
    wan.remember(first, cond, wan.remember(first, cond, context))
    assert torch.equal(wan.predict(x[:, :, 2:4], t, cond, context), first)
    assert all(torch.equal(a, b) for a, b in zip(kept, [t for past in context.blocks for t in past], strict=True))


def test_the_place_of_a_frame_is_its_number():
    """The same frames later in the clip, with nothing before them: rotations are relative, so nothing changes; with a
    frame before them, its distance is felt."""
    wan = streaming(Streaming(chunk=2, window=8, sink=2))
    x, _, t, cond = doubled()
    part = x[:, :, :2]
    with torch.no_grad():
        alone = wan.predict(part, t, cond, wan.empty(2))
        late = wan.predict(part, t, cond, wan.empty(2)._replace(start=7000))
        torch.testing.assert_close(late, alone, rtol=0, atol=1e-9)  # sines of 7,000
        context = wan.remember(x[:, :, 2:4], cond, wan.empty(2))
        near, far = (wan.predict(part, t, cond, context._replace(start=start)) for start in (2, 9))
        assert not torch.allclose(near, far, atol=1e-4)


def test_no_gradient_reaches_an_earlier_chunk():
    """Self-forcing by hand: each chunk's own gradient, its past as constants, summed up. Nothing else is in it."""
    wan = streaming()
    z, weight, t, cond = doubled()
    z.requires_grad_()
    context, outs, pasts = wan.empty(2), [], []
    for start in range(0, LONG[1], 2):
        pasts.append(context)
        outs.append(wan.predict(z[:, :, start : start + 2], t, cond, context))
        context = wan.remember(outs[-1], cond, context)
    parameters = list(wan.parameters())
    last = (outs[-1] * weight[:, :, -2:]).sum()
    (through,) = torch.autograd.grad(last, z, retain_graph=True)
    assert torch.equal(through[:, :, :-2], torch.zeros_like(through[:, :, :-2]))
    assert bool(through[:, :, -2:].any())
    found = torch.autograd.grad((torch.cat(outs, 2) * weight).sum(), parameters)
    expected = [torch.zeros_like(p) for p in parameters]
    for index, past in enumerate(pasts):
        fixed = Memory(past.start, tuple(type(b)(*(t.detach().clone() for t in b)) for b in past.blocks))
        part = slice(2 * index, 2 * index + 2)
        out = wan.predict(z[:, :, part].detach(), t, cond, fixed)
        for total, own in zip(expected, torch.autograd.grad((out * weight[:, :, part]).sum(), parameters), strict=True):
            total += own
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    through_the_past = wan.masked(torch.cat(outs, 2).detach(), z, t[:, None].expand(-1, LONG[1]), cond)
    leaky = torch.autograd.grad((through_the_past * weight).sum(), parameters)
    assert not all(torch.allclose(a, b, atol=1e-3) for a, b in zip(leaky, expected, strict=True))


def test_recomputed_blocks_read_the_past_that_they_read_before():
    wan = streaming()
    z, weight, t, cond = doubled()

    def gradients(recompute: bool) -> list[Tensor]:
        wan.recompute = recompute
        loss = (wan(z, t, cond) * weight).sum() + wan.native_loss(z, weight, t, cond).sum()
        return list(torch.autograd.grad(loss, list(wan.parameters())))

    stored = gradients(False)
    assert all(torch.equal(a, b) for a, b in zip(stored, gradients(True), strict=True))


def test_rows_do_not_see_each_other_in_bfloat16_and_results_are_float32():
    wan = stirred(StreamingWan(SIZE, LONG, CAUSAL))
    wan.precision = "bfloat16"
    x, _, t, cond = inputs(2, shape=LONG)
    with torch.no_grad():
        whole = wan(x, t, cond)
        alone = wan(x[1:], t[1:], {key: value[1:] for key, value in cond.items()})
        context = wan.remember(x[:, :, :2], cond, wan.empty(2))
    assert whole.dtype == torch.float32
    assert context.blocks[0].keys.dtype == torch.bfloat16
    torch.testing.assert_close(alone[0], whole[1], rtol=0, atol=5e-2)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="8 latent frames are not whole chunks of 3"):
        StreamingWan(SIZE, LONG, Streaming(chunk=3, window=9, sink=3))
    wan = StreamingWan(SIZE, SHAPE, Streaming(chunk=3, window=9, sink=3))
    x, _, t, cond = inputs(2)
    with pytest.raises(ValueError, match=r"a chunk of 6 frames: streaming\.chunk is 3"):
        wan.predict(x, t, cond, wan.empty(2))
    with pytest.raises(ValueError, match=r"\(3,\).*0 \.\. 2"):
        wan.features(x, t, cond, (3,))
