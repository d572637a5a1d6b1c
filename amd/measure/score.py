"""Samples -> raw records per sample -> numbers, and beside them the floor: what real images score themselves.

The records (parquet) are written first: whoever doubts a mean can look at what it is the mean of. A score says how many
samples it is of, and refuses any other number than the benchmark's at this scale.
"""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from amd.config.load import Run
from amd.config.schema.closed import PROMPTED
from amd.config.schema.tables import Benchmark
from amd.measure.fidelity import finite
from amd.measure.identity import check, identity
from amd.measure.judge import Seen, build_judge
from amd.measure.metrics import Evidence, measure, rewards, wanted
from amd.measure.reference import read_reference
from amd.measure.sample import device, read_samples
from amd.rewards.classifier import log_probability
from amd.train.artifact import write_json
from amd.train.reward import build_reward
from amd.train.threads import threads


def score(run: Run, benchmark: Benchmark, samples: Path, reference: Path, out: Path, records: Path) -> None:
    """Judge a folder of samples against a folder of `amd reference`; write `records` (parquet), then `out` (JSON).

    Raises ValueError where the samples are of another run, weights, benchmark or number than the score would say.
    """
    if run.system.track in PROMPTED:
        from amd.measure import text  # the panels of scorers are no business of the class track

        text.score(run, benchmark, samples, reference, out, records)
        return
    threads()
    images, labels, manifest = read_samples(samples)
    check(run, benchmark, Path(samples), manifest, len(images))
    judge = build_judge(run, device())
    metrics = wanted(run, benchmark, judge)
    whole, floor = read_reference(Path(reference), run, benchmark, judge)
    reward = build_reward(run, device()) if "reward" in metrics else None
    seen = judge.look(images)
    given = None if reward is None else rewards(run, reward, images, labels)
    for name, values in (("features", seen.pool), ("logits", seen.logits), ("reward", given)):
        if values is not None:
            finite(values, f"{name} of {samples}")
    write_records(Path(records), run, seen, labels, given)
    content = {
        "metrics": measure(metrics, Evidence(seen, labels, given, whole, benchmark.splits)),
        "floor": floor,
        "n": len(labels),
        **identity(run, benchmark, judge.sha256),
        "student_sha256": manifest["weights_sha256"],
        "samples_sha256": manifest["sha256"],
    }
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(out), content)


def write_records(out: Path, run: Run, seen: Seen, labels: Tensor, reward: Tensor | None) -> None:
    """A row per sample: index, label, predicted, log_p of the label under the judge, reward. Atomic.

    log_p is null where the judge's outputs are not the domain's classes, reward where there is none.
    """
    same = seen.logits.shape[1] == run.domain.classes
    log_p = log_probability(seen.logits, labels).tolist() if same else [None] * len(labels)
    table = pa.table(
        {
            "index": pa.array(range(len(labels)), pa.int64()),
            "label": pa.array(labels.tolist(), pa.int64()),
            "predicted": pa.array(seen.logits.argmax(1).tolist(), pa.int64()),
            "log_p": pa.array(log_p, pa.float32()),
            "reward": pa.array([None] * len(labels) if reward is None else reward.tolist(), pa.float32()),
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    pq.write_table(table, part)
    os.replace(part, out)
