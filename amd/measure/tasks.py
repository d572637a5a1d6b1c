"""GenEval's six tasks as a member of a panel: detections are recorded per image, the rules applied to the record."""

import json
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from amd.config.served import TASKS, Part
from amd.measure.geneval import GENEVAL, Rules, aggregate, evaluate
from amd.measure.judge import batches, to_float
from amd.measure.panel import Asked, Columns
from amd.rewards.detection import Detection


class Detector(Protocol):
    """Whoever says what is on an image."""

    def __call__(self, pixels: Tensor, texts: Sequence[str]) -> list[list[Detection]]:
        """pixels (B, 3, H, W) in [-1, 1], what was asked for -> per image, what is there."""
        ...


class Tasks:
    """A detector and the rules."""

    def __init__(
        self,
        detector: Detector,
        sha256: str,
        preprocessing: str,
        batch: int,
        device: torch.device,
        rules: Rules = GENEVAL,
    ) -> None:
        self.detector, self.sha256, self.preprocessing = detector, sha256, preprocessing
        self.batch, self.device, self.rules = batch, device, rules

    @torch.inference_mode()
    def look(self, images: Tensor, asked: Asked) -> Columns:
        """{"correct", "reason", "detections" (JSON)}."""
        texts, seen = asked.texts, list[list[Detection]]()
        for part in batches(images, self.batch):
            seen += self.detector(to_float(part.to(self.device)), texts[len(seen) : len(seen) + len(part)])
        verdicts = [evaluate(row, found, self.rules) for row, found in zip(asked.rows, seen, strict=True)]
        return {
            "correct": [verdict.correct for verdict in verdicts],
            "reason": [verdict.reason for verdict in verdicts],
            "detections": [json.dumps([each._asdict() for each in found]) for found in seen],
        }

    def number(self, part: Part, columns: Columns, chosen: Sequence[int], asked: Asked) -> float:
        """A task's share of correct images, or the mean of the six."""
        tags = [row["tag"] for row in asked.rows]
        numbers = aggregate(
            [tags[i] for i in chosen],
            [columns["correct"][i] for i in chosen],
            [int(asked.index[i]) for i in chosen],
        )
        return numbers[TASKS[part.key]]
