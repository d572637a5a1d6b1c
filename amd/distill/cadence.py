"""Which of student and fake steps when: one iteration is one student update, then R fake updates."""

from dataclasses import dataclass
from typing import Literal

from amd.distill.slot import slot

Samples = Literal["fresh", "reused", "same"]


@dataclass(frozen=True)
class Plan:
    """What one iteration does after its student update."""

    fake_updates: int
    samples: Samples  # what the fake is fitted to


@slot()
def two_time_scales(*, ratio: int = 5, samples: Samples = "fresh") -> Plan:
    """R fake updates to exactly one student update (DMD2's rule, train_sd.py:364: 1 : R, not 1 : R - 1).

    `samples` of a fake update: "fresh" rolls the student anew; "reused" takes the student update's samples and rewards
    at new times and noise, which saves R rollouts and rewards; "same" is Algorithm 1, with the same times and noise.
    """
    return Plan(ratio, samples)
