"""Scores: records and numbers agree, real images score as real, and what is not what it says it is is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from amd.config.load import load
from amd.measure.fidelity import inception_score
from amd.measure.judge import build_judge, to_float, to_uint8
from amd.measure.metrics import DRAWN, METRICS, wanted
from amd.measure.reference import read_reference, reference
from amd.measure.sample import read_samples, sample, write_samples
from amd.measure.score import score
from amd.measure.trace import trace
from amd.train.artifact import Refused, artifact_sha
from amd.train.reward import build_reward

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scored(world, tmp_path_factory) -> dict[str, Any]:
    """A run that was sampled and scored, with its files."""
    folder, run = tmp_path_factory.mktemp("scored"), world.run("sit-amd")
    sample(run, world.benchmark, folder / "samples")
    reference(world.run("sit-teacher"), world.benchmark, folder / "real")
    score(run, world.benchmark, folder / "samples", folder / "real", folder / "score.json", folder / "records.parquet")
    return {
        "folder": folder,
        "real": folder / "real",
        "run": run,
        "score": json.loads((folder / "score.json").read_text()),
    }


def resampled(scored: dict[str, Any], folder: Path, images: torch.Tensor, labels: torch.Tensor) -> Path:
    """Other images under the manifest of the run's own."""
    *_, manifest = read_samples(scored["folder"] / "samples")
    write_samples(folder, images, labels, manifest)
    return folder


def test_every_metric_of_every_benchmark_is_known() -> None:
    library = load(ROOT / "config")
    asked = {
        key for benchmark in library.benchmarks.values() if benchmark.track == "class" for key in benchmark.metrics
    }
    assert asked <= METRICS.keys()
    assert set(DRAWN) <= METRICS.keys()


def test_score_holds_every_metric_that_the_domain_names(world, scored) -> None:
    assert list(scored["score"]["metrics"]) == sorted(world.benchmark.metrics)
    assert scored["score"]["metrics"].keys() == scored["run"].domain.metrics.keys()


def test_numbers_can_be_recomputed_from_the_records(world, scored) -> None:
    records = pq.read_table(scored["folder"] / "records.parquet").to_pydict()
    assert list(records) == ["index", "label", "predicted", "log_p", "reward"]
    assert records["index"] == list(range(64))
    hits = [label == predicted for label, predicted in zip(records["label"], records["predicted"], strict=True)]
    metrics = scored["score"]["metrics"]
    assert metrics["accuracy"] == sum(hits) / 64
    assert metrics["reward"] == pytest.approx(sum(records["reward"]) / 64, rel=1e-6)  # stored in float32
    assert max(records["log_p"]) <= 0


def test_records_are_the_judges_and_the_rewards_own_words(world, scored) -> None:
    records = pq.read_table(scored["folder"] / "records.parquet").to_pydict()
    images, labels, _ = read_samples(scored["folder"] / "samples")
    logits = build_judge(scored["run"]).look(images).logits
    with torch.no_grad():
        reward = build_reward(scored["run"])(to_float(images), {"label": labels})
    expected = logits.log_softmax(1)[torch.arange(64), labels]
    assert torch.allclose(torch.tensor(records["log_p"]), expected, atol=1e-5)
    assert torch.allclose(torch.tensor(records["reward"]), reward, atol=1e-5)
    split = -(-64 // world.benchmark.splits)
    assert scored["score"]["metrics"]["is"] == pytest.approx(inception_score(logits, split))


def test_score_says_what_it_is_of(world, scored) -> None:
    found, run = scored["score"], scored["run"]
    assert (found["n"], found["benchmark"], found["system"], found["seed"]) == (64, "class", "sit-amd", 0)
    assert (found["run_digest"], found["judge"], found["protocol"]) == (
        run.digest,
        "classifier",
        world.benchmark.protocol,
    )
    assert found["student_sha256"] == artifact_sha(Path("checkpoints/smoke/sit-amd/seed0"), "student")
    assert found["judge_sha256"] == artifact_sha(Path("checkpoints/smoke/digits-judge/seed0"), "classifier")
    assert found["reward_sha256"] == artifact_sha(Path("checkpoints/smoke/digits-reward/seed0"), "classifier")
    assert {"git_sha", "amd_version", "created", "samples_sha256"} <= found.keys()


def test_all_real_images_as_samples_have_no_distance(world, scored, tmp_path: Path) -> None:
    run = world.run("sit-amd", samples=5000)
    real = build_judge(run).real
    assert real is not None
    samples = resampled(scored, tmp_path / "s", real.images, real.labels)
    reference(run, world.benchmark, tmp_path / "real")
    score(run, world.benchmark, samples, tmp_path / "real", tmp_path / "score.json", tmp_path / "r.parquet")
    found = json.loads((tmp_path / "score.json").read_text())
    assert found["metrics"]["fid"] == pytest.approx(0, abs=1e-6)  # float64, 64 features
    assert found["metrics"]["sfid"] == pytest.approx(0, abs=1e-3)  # 1,024 features, many always zero
    assert (found["metrics"]["precision"], found["metrics"]["recall"]) == (1, 1)
    assert 0 < found["floor"]["at_n"]["fid"] < found["floor"]["half"]["fid"]
    worse = scored["score"]["metrics"]["fid"]
    assert worse > 10 * found["floor"]["half"]["fid"]


def test_floor_is_the_same_for_every_system(world, scored, tmp_path: Path) -> None:
    run = world.run("sit-dmd")
    sample(run, world.benchmark, tmp_path / "s")
    score(run, world.benchmark, tmp_path / "s", scored["real"], tmp_path / "score.json", tmp_path / "r.parquet")
    found = json.loads((tmp_path / "score.json").read_text())
    assert found["floor"] == scored["score"]["floor"]
    assert found["metrics"] != scored["score"]["metrics"]


def test_reference_is_what_the_judge_would_compute(world, scored) -> None:
    run, judge = scored["run"], build_judge(scored["run"])
    stored, floor = read_reference(scored["real"], run, world.benchmark, judge)
    fresh = judge.reference(wanted(run, world.benchmark, judge))
    assert floor == scored["score"]["floor"]
    for mine, other in ((stored.pool, fresh.pool), (stored.spatial, fresh.spatial)):
        assert torch.equal(mine.mean, other.mean)
        assert torch.equal(mine.covariance, other.covariance)
        assert torch.equal(mine.root, other.root)
    assert stored.manifold is not None
    assert fresh.manifold is not None
    assert torch.equal(stored.manifold.points, fresh.manifold.points)
    assert torch.equal(stored.manifold.radii, fresh.manifold.radii)


def test_reference_of_something_else_is_refused(world, scored, tmp_path: Path) -> None:
    run, out, records = scored["run"], tmp_path / "score.json", tmp_path / "r.parquet"
    samples = scored["folder"] / "samples"
    other = world.benchmark.model_copy(update={"splits": 5})
    with pytest.raises(Refused, match=r"real: digest is \w{12}, wanted is \w{12}; delete the folder"):
        score(run, other, samples, scored["real"], out, records)
    altered = tmp_path / "altered"
    shutil.copytree(scored["real"], altered)
    file = altered / "reference.safetensors"
    file.write_bytes(file.read_bytes()[:-8] + bytes(8))
    with pytest.raises(Refused, match=r"altered/reference\.safetensors: truncated or altered"):
        score(run, world.benchmark, samples, altered, out, records)
    assert not out.exists()


def test_wrong_number_of_samples_is_refused(world, scored, tmp_path: Path) -> None:
    out = tmp_path / "score.json"
    for count in (63, 65):
        run = world.run("sit-amd", samples=count)
        with pytest.raises(ValueError, match=rf"64 samples, but scale 'smoke' scores {count}"):
            score(run, world.benchmark, scored["folder"] / "samples", scored["real"], out, tmp_path / "r.parquet")
    sample(world.run("sit-amd"), world.benchmark, tmp_path / "shard", shard=(0, 2))
    with pytest.raises(ValueError, match=r"32 samples, but .* gather all shards"):
        score(world.run("sit-amd"), world.benchmark, tmp_path / "shard", scored["real"], out, tmp_path / "r.parquet")
    assert not out.exists()


def test_samples_of_something_else_are_refused(world, scored, tmp_path: Path) -> None:
    out, records, samples = tmp_path / "score.json", tmp_path / "r.parquet", scored["folder"] / "samples"
    with pytest.raises(ValueError, match=r"run is 'sit-amd', to be scored is 'sit-dmd'; sample again"):
        score(world.run("sit-dmd"), world.benchmark, samples, scored["real"], out, records)
    with pytest.raises(ValueError, match="version is 1, to be scored is 2"):
        score(scored["run"], world.benchmark.model_copy(update={"version": 2}), samples, scored["real"], out, records)
    with pytest.raises(ValueError, match="run_digest"):
        score(replace(scored["run"], digest="0" * 12), world.benchmark, samples, scored["real"], out, records)
    assert not out.exists()


def test_unknown_metric_and_judge_list_the_known(world, scored) -> None:
    run = scored["run"]
    with pytest.raises(ValueError, match=r"metrics: 'fiid' is none; known: fid, sfid"):
        wanted(run, world.benchmark.model_copy(update={"metrics": ["fiid"]}), build_judge(run))
    judge = run.domain.judge.model_copy(update={"name": "inception"})
    with pytest.raises(ValueError, match=r"judge.name 'inception' is no judge; known: classifier, adm-inception"):
        build_judge(replace(run, domain=run.domain.model_copy(update={"judge": judge})))


def test_judge_sees_the_same_in_any_batch(world) -> None:
    images = to_uint8(torch.rand(10, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    seen = [build_judge(world.run("sit-amd", sample_batch=size)).look(images) for size in (3, 10)]
    for name in ("pool", "spatial", "logits"):
        a, b = (getattr(each, name) for each in seen)
        assert torch.allclose(a, b, atol=1e-5)
    assert seen[0].spatial.shape == (10, 64 * 4 * 4)


def test_trace_measures_every_milestone_from_the_start_on(world, scored, tmp_path: Path) -> None:
    run = scored["run"]
    trace(run, world.benchmark, scored["real"], tmp_path / "trace.json")
    found = json.loads((tmp_path / "trace.json").read_text())
    assert found["iterations"] == [0, 1, 2]
    assert {len(curve) for curve in found["metrics"].values()} == {3}
    assert run.scale.klass.trace_samples == run.scale.klass.samples == 64
    for key, value in scored["score"]["metrics"].items():  # the last milestone is the student
        assert found["metrics"][key][-1] == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert len(set(found["metrics"]["fid"])) == 3
    start = artifact_sha(Path("checkpoints/smoke/sit-warm-short/seed0"), "student")
    student = artifact_sha(Path("checkpoints/smoke/sit-amd/seed0"), "student")
    assert (found["weights_sha256"][0], found["weights_sha256"][-1]) == (start, student)


def test_two_systems_from_one_start_begin_at_one_point(world, scored, tmp_path: Path) -> None:
    world.finish(world.run("sit-dmdr"), milestones=(2,))
    for system in ("sit-amd", "sit-dmdr"):
        trace(world.run(system), world.benchmark, scored["real"], tmp_path / f"{system}.json")
    one, other = (json.loads((tmp_path / f"{system}.json").read_text()) for system in ("sit-amd", "sit-dmdr"))
    for key in world.benchmark.metrics:
        assert one["metrics"][key][0] == other["metrics"][key][0]


def test_run_without_milestones_has_no_trace(world, scored, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sit-dmd/seed0: holds no milestones"):
        trace(world.run("sit-dmd"), world.benchmark, scored["real"], tmp_path / "trace.json")
