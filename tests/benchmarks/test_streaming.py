"""What benchmarks/streaming.py counts: bytes that are alive, and the passes that a chunk cannot do without."""

from collections import Counter
from functools import partial

import live
import pytest
import streaming
import torch
from torch import Tensor

from amd.backbones import wan_block

MIB = 2**20


@pytest.fixture(scope="module")
def setting() -> streaming.Setting:
    return streaming.Setting("float32", rows=1)


def test_bytes_are_counted_once_while_somebody_holds_them() -> None:
    with live.Live() as seen:
        x = torch.zeros(MIB)  # 4 MiB
        view = x[5:].view(-1, 1)
        assert seen.now == 4 * MIB
        x.add_(1)
        assert seen.now == 4 * MIB
        y = x + 1
        assert seen.now == 8 * MIB
        del x, y
        assert seen.now == 4 * MIB  # by the view
        del view
        assert seen.now == 0
    assert seen.peak == 8 * MIB
    assert live.peak(lambda: [torch.ones(MIB).sum() for _ in range(3)]) < 5 * MIB


def test_the_necessary_passes_read_the_keys_that_a_chunk_reads(
    setting: streaming.Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries x keys of every attention: a chunk's are those of `counts` times `parts`, no more and no fewer."""
    asked: Counter[tuple[int, int]] = Counter()
    attend = wan_block.attend

    def noted(query: Tensor, key: Tensor, *rest: object) -> Tensor:
        asked[query.shape[1], key.shape[1]] += 1
        return attend(query, key, *rest)  # type: ignore[arg-type]

    for module in (wan_block, streaming):
        monkeypatch.setattr(module, "attend", noted)

    def reads() -> int:
        """Of all that was asked since the last time."""
        total = sum(queries * keys * count for (queries, keys), count in asked.items())
        asked.clear()
        return total

    with torch.no_grad():
        made, needed = setting.full(), 0
        asked.clear()
        next(made)
        chunk = reads()
        for name, part in setting.parts().items():
            part()
            needed += setting.counts()[name] * reads()
    assert setting.counts()["plain forward"] == setting.run.system.numbers.steps + 1
    assert chunk == needed


def test_memory_of_a_stream_does_not_grow_with_its_length(setting: streaming.Setting) -> None:
    """From the length on at which the window is full."""
    twice, tenfold = (times * setting.frames for times in (2, 10))
    assert live.peak(partial(setting.watched, twice)) == live.peak(partial(setting.watched, tenfold))


def test_memory_of_a_sampling_does_not_grow_with_its_length(setting: streaming.Setting) -> None:
    """Made, decoded and stored chunk by chunk; the rollout of the whole clip is what would grow."""
    twice, tenfold = (times * setting.frames for times in (2, 10))
    short, long = (live.peak(partial(setting.sampled, frames)) for frames in (twice, tenfold))
    assert 0 < short == long
    assert live.peak(partial(setting.rolled, tenfold)) > live.peak(partial(setting.rolled, twice))
