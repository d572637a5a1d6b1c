"""Labels of a batch: groups of K, whatever the number of ranks."""

import torch

from amd.data.labels import labels
from amd.distill.noise import Noise


def test_k_consecutive_rows_share_a_label():
    drawn = labels(Noise(0, 3, 64), 10, 8)
    assert (drawn.view(8, 8) == drawn[::8, None]).all()
    assert drawn.dtype == torch.int64


def test_ranks_hold_slices_of_one_draw():
    whole = labels(Noise(0, 3, 64), 10, 8)
    parts = [labels(Noise(0, 3, 64, rank=rank, world=4), 10, 8) for rank in range(4)]
    assert torch.equal(torch.cat(parts), whole)


def test_every_class_is_drawn_alike_and_the_null_label_never():
    drawn = torch.cat([labels(Noise(0, i, 512), 10, 1) for i in range(20)])
    counts = drawn.bincount(minlength=10)
    assert len(counts) == 10
    assert (counts - 1024).abs().max() < 5 * (1024 * 0.9) ** 0.5  # five standard deviations


def test_iterations_draw_anew():
    assert not torch.equal(labels(Noise(0, 1, 64), 10, 1), labels(Noise(0, 2, 64), 10, 1))
