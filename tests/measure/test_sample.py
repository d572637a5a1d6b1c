"""Samples: what they are a function of, and what they are not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from amd.config import plan
from amd.config.load import load
from amd.config.schema.tables import Benchmark
from amd.distill.types import Condition, Conditioning
from amd.measure.judge import to_float, to_uint8, truncated
from amd.measure.sample import (
    IndexNoise,
    build_sampler,
    gather,
    labels,
    read_samples,
    sample,
    stored_by,
    weights,
)
from amd.train.artifact import Refused
from amd.train.ode import euler

ONE_ULP_OF_SUMS = 2e-5  # float32: the order of a matrix product's sums follows the number of rows


def sampler(world, system: str = "sit-amd", **sizes: int):
    run = world.run(system, **sizes)
    return build_sampler(run, world.benchmark, weights(run))


@pytest.mark.parametrize("system", ["sit-amd", "sit-teacher"])
def test_batch_split_does_not_change_a_sample(world, system: str) -> None:
    draw = sampler(world, system)
    whole, asked = draw(range(12))
    for split in ([range(5), range(5, 12)], [[i] for i in range(12)]):
        parts = [draw(indices) for indices in split]
        assert torch.allclose(torch.cat([x for x, _ in parts]), whole, atol=ONE_ULP_OF_SUMS)
        assert torch.equal(torch.cat([label for _, label in parts]), asked)


def test_sample_is_a_function_of_its_index_alone(world) -> None:
    draw = sampler(world)
    a, b = draw([3, 9, 4])[0], draw([4, 3, 9])[0]
    assert torch.allclose(a[[2, 0, 1]], b, atol=ONE_ULP_OF_SUMS)
    assert not torch.allclose(a[0], a[1], atol=0.1)


def test_every_system_starts_from_the_same_noise(world) -> None:
    seen: dict[str, Tensor] = {}
    for system in ("sit-teacher", "sit-dmd", "sit-amd"):
        draw = sampler(world, system)
        predict = draw.network.predict_x0

        def first(x_t: Tensor, t: Tensor, cond: Condition, predict=predict, system=system) -> Tensor:
            if float(t[0]) == 0:
                seen[system] = x_t[:4].clone()
            return predict(x_t, t, cond)

        draw.network.predict_x0 = first  # type: ignore[method-assign]
        draw(range(4))
    assert torch.equal(seen["sit-teacher"], seen["sit-dmd"])
    assert torch.equal(seen["sit-dmd"], seen["sit-amd"])
    assert torch.equal(seen["sit-amd"], IndexNoise(0, (0, 1, 2, 3)).normal("z", (1, 16, 16)))


def test_two_runs_of_the_same_command_write_the_same_bytes(world, tmp_path: Path) -> None:
    for name in "ab":
        sample(world.run("sit-amd"), world.benchmark, tmp_path / name)
    assert (tmp_path / "a/samples.npz").read_bytes() == (tmp_path / "b/samples.npz").read_bytes()


def test_shards_put_together_are_the_whole(world, tmp_path: Path) -> None:
    run = world.run("sit-amd")
    sample(run, world.benchmark, tmp_path / "whole")
    for part in range(3):  # 64 samples in 3 shards: 21, 21, 22
        sample(run, world.benchmark, tmp_path / f"part{part}", shard=(part, 3))
    gather([tmp_path / f"part{part}" for part in (2, 0, 1)], tmp_path / "joined")
    whole, joined = read_samples(tmp_path / "whole"), read_samples(tmp_path / "joined")
    assert torch.equal(whole[1], joined[1])
    assert int((whole[0].int() - joined[0].int()).abs().max()) <= 1  # a float on the border of two grey values
    assert (joined[2]["n"], joined[2]["indices"]) == (64, [0, 64])


def test_shards_that_are_not_one_whole_are_refused(world, tmp_path: Path) -> None:
    run = world.run("sit-amd")
    for part in range(3):
        sample(run, world.benchmark, tmp_path / f"part{part}", shard=(part, 3))
    sample(world.run("sit-dmd"), world.benchmark, tmp_path / "other", shard=(1, 3))
    parts = [tmp_path / f"part{part}" for part in range(3)]
    with pytest.raises(ValueError, match="samples 21 to 42 are missing or double"):
        gather([parts[0], parts[2]], tmp_path / "out")
    with pytest.raises(ValueError, match="missing or double"):
        gather([parts[0], parts[1], parts[1], parts[2]], tmp_path / "out")
    with pytest.raises(ValueError, match="end at sample 42 of 64"):
        gather(parts[:2], tmp_path / "out")
    with pytest.raises(ValueError, match="shards of different things: run is"):
        gather([parts[0], tmp_path / "other", parts[2]], tmp_path / "out")
    with pytest.raises(ValueError, match="shard 3/3 is none"):
        sample(run, world.benchmark, tmp_path / "out", shard=(3, 3))
    assert not (tmp_path / "out").exists()


def test_pixels_are_stored_by_adms_formula() -> None:
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.001, 0.5, 0.9999, 1.0, 3.0])
    expected = [0, 0, 64, 128, 128, 191, 255, 255, 255]  # clamp(127.5 x + 128, 0, 255), truncated
    assert to_uint8(x).tolist() == expected
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(every)), every)


def test_images_of_dmd2s_protocol_are_truncated_where_the_domain_is_the_papers() -> None:
    library = load(Path(__file__).parents[2] / "config")
    for scale, cut in (("paper", {"coco10k", "coco30k"}), ("tiny", set())):
        run = library.run("sdxl-dmd2", scale, 0)
        found = {
            name for name in run.domain.prompts if stored_by(run, library.benchmarks.get(name, _of(name))) is truncated
        }
        assert found == cut


def _of(name: str) -> Benchmark:
    """A benchmark of this name; training prompts are none."""
    return Benchmark(name=name, title="", track="text", protocol="", metrics=[])


def test_stored_samples_are_nhwc_with_their_labels(world, tmp_path: Path) -> None:
    run = world.run("sit-amd")
    sample(run, world.benchmark, tmp_path / "s")
    with np.load(tmp_path / "s/samples.npz") as file:
        assert (file["arr_0"].shape, file["arr_0"].dtype) == ((64, 16, 16, 1), np.uint8)
        assert file["labels"].tolist() == [index % 10 for index in range(64)]
        x, _ = build_sampler(run, world.benchmark, weights(run))(range(32))
        assert np.array_equal(file["arr_0"][:32, ..., 0], to_uint8(x)[:, 0].numpy())
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    assert (manifest["n"], manifest["run_digest"], manifest["precision"]) == (64, run.digest, "float32")


def test_scoring_samples_in_float32_whatever_the_scale_trains_in(world) -> None:
    run = world.run("sit-amd")
    coarse = replace(run, scale=run.scale.model_copy(update={"precision": "bfloat16"}))
    a = build_sampler(run, world.benchmark, weights(run))(range(4))[0]
    b = build_sampler(coarse, world.benchmark, weights(run))(range(4))[0]
    assert a.dtype == torch.float32
    assert torch.equal(a, b)


def test_random_labels_belong_to_indices_and_cover_the_classes(world) -> None:
    benchmark = world.benchmark.model_copy(update={"labels": "random"})
    whole = labels(benchmark, 10, range(2000))
    assert torch.equal(labels(benchmark, 10, [1500, 7]), whole[[1500, 7]])
    counts = whole.bincount(minlength=10)
    assert counts.min() > 140  # 200 expected, standard deviation 13
    assert counts.max() < 260


# --- the teacher's ODE ------------------------------------------------------------------------------------------------


def gaussian(mean: float, std: float):
    """The exact denoiser of N(mean, std^2) on the linear path: E[x | x_t]."""

    def denoise(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        t = t.to(x_t).reshape(-1, 1)
        gain = t * std**2 / (t**2 * std**2 + (1 - t) ** 2)
        return mean + gain * (x_t - t * mean)

    return denoise


NO_CONDITION = Conditioning({"label": torch.zeros(64)}, {"label": torch.ones(64)}, 1)


def test_euler_is_of_first_order() -> None:
    z = torch.randn(64, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = 2.0 + 0.5 * z  # the flow between two Gaussians is the monotone map
    errors = [float((euler(gaussian(2.0, 0.5), z, NO_CONDITION, n, 1.0) - exact).abs().max()) for n in (50, 100, 200)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_euler_lands_on_a_point_in_any_number_of_steps() -> None:
    z = torch.randn(64, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for steps in (1, 2, 7):
        assert torch.allclose(euler(gaussian(2.0, 1e-9), z, NO_CONDITION, steps, 1.0), torch.tensor(2.0).double())


def test_guidance_goes_from_the_unconditional_through_the_conditional() -> None:
    def point(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return torch.where(cond["label"][:, None] == 0, 3.0, 1.0).to(x_t)  # cond 3, uncond 1

    z = torch.zeros(64, 1)
    assert euler(point, z, NO_CONDITION, 4, 1.0).mean() == pytest.approx(3)
    assert euler(point, z, NO_CONDITION, 4, 1.5).mean() == pytest.approx(1 + 1.5 * 2)


def test_teacher_takes_the_scales_steps_and_its_own_guidance(world) -> None:
    few, many = (sampler(world, "sit-teacher", teacher_steps=steps)(range(4))[0] for steps in (2, 8))
    assert not torch.allclose(few, many, atol=1e-3)
    run = world.run("sit-teacher")
    unguided = replace(run, system=run.system.model_copy(update={"cfg_weight": 1.0}))
    plain = build_sampler(unguided, world.benchmark, weights(run))(range(4))[0]
    assert not torch.allclose(plain, few, atol=1e-4)


def test_student_of_several_steps_is_rolled_out_to_the_end(world) -> None:
    run = world.run("sit-amd")
    four = replace(
        run, system=run.system.model_copy(update={"numbers": run.system.numbers.model_copy(update={"steps": 4})})
    )
    asked: list[float] = []
    draw = build_sampler(four, world.benchmark, weights(run))
    predict = draw.network.predict_x0

    def spy(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        asked.append(float(t[0]))
        return predict(x_t, t, cond)

    draw.network.predict_x0 = spy  # type: ignore[method-assign]
    x, _ = draw(range(6))
    assert asked == [0, 0.25, 0.5, 0.75]
    assert torch.allclose(draw([5])[0], x[5:], atol=ONE_ULP_OF_SUMS)  # fresh noise too belongs to the index


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_checkpoint_of_another_configuration_is_refused(world, tmp_path: Path) -> None:
    run = replace(world.run("sit-amd"), digest="0123456789ab")
    with pytest.raises(Refused, match=rf"{plan.folder(run)}: made with digest \w+, the configuration now means 01234"):
        sample(run, world.benchmark, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_samples_that_are_not_finite_stop_with_the_runs_name(world) -> None:
    run = world.run("sit-amd")
    tensors = weights(run)
    tensors["network.final_layer.linear.bias"] = torch.full_like(tensors["network.final_layer.linear.bias"], torch.inf)
    with pytest.raises(FloatingPointError, match=r"sit-amd seed 0: samples 8 to 15 are not all finite"):
        build_sampler(run, world.benchmark, tensors)(range(8, 16))


def test_altered_samples_are_refused_by_name(world, tmp_path: Path) -> None:
    sample(world.run("sit-amd"), world.benchmark, tmp_path / "s")
    file = tmp_path / "s/samples.npz"
    content = bytearray(file.read_bytes())
    content[2000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"samples\.npz: truncated or altered"):
        read_samples(tmp_path / "s")
    with pytest.raises(ValueError, match="not there; sample first"):
        read_samples(tmp_path / "nowhere")


def test_nothing_is_left_half_written(world, tmp_path: Path, monkeypatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("amd.measure.sample.np.savez", stop)
    with pytest.raises(KeyboardInterrupt):
        sample(world.run("sit-amd"), world.benchmark, tmp_path / "s")
    assert not (tmp_path / "s").exists()
