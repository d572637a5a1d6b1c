"""Which of student and fake steps when: one iteration is one student update, then R fake updates."""

from dataclasses import dataclass
from typing import Literal

from amd.distill.slot import slot


@dataclass(frozen=True)
class Plan:
    """What one iteration does after its student update."""

    fake_updates: int
    same_samples: bool  # the fake fits the student update's samples, times and noise, instead of fresh rollouts


@slot()
def two_time_scales(*, ratio: int = 5, samples: Literal["fresh", "same"] = "fresh") -> Plan:
    """R fake updates to exactly one student update (DMD2's rule, train_sd.py:364: 1 : R, not 1 : R - 1).

    `samples="same"` is Algorithm 1: the fake sees what the student update saw, same t and noise.
    """
    return Plan(ratio, samples == "same")
