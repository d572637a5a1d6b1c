"""What a plan says of its jobs agrees with the networks and with the step that will run."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from amd.config import plan
from amd.config.jobs import Job, jobs
from amd.config.load import Library
from amd.config.schema import SiTSize
from amd.distill.methods import METHODS, row
from amd.distill.noise import Noise
from amd.distill.path import Linear
from amd.distill.step import Batch, step
from amd.distill.types import Cast, Condition, Conditioning
from amd.train.cost import network, passes, transformer
from amd.train.estimate import estimate, text

XL = SiTSize(patch=2, width=1152, depth=28, heads=16)
ROWS, CLASSES = 8, 3


def test_sit_xl_2_has_its_published_size():
    cost = transformer(XL, 1000, 4, 32)
    assert cost.parameters == pytest.approx(675e6, rel=1e-3)  # Ma et al., 2024
    assert cost.forward == pytest.approx(2 * 118.6e9, rel=0.01)  # 118.6 GMAC, Peebles and Xie, 2023, Table 4


def test_parameters_do_not_depend_on_the_domain_s_side():
    """Twice the side: four times the tokens, more than four times the FLOPs (attention), the same weights."""
    small, large = transformer(XL, 1000, 4, 32), transformer(XL, 1000, 4, 64)
    assert large.parameters - small.parameters == (1024 - 256) * 1152
    assert 4 * small.forward < large.forward < 5 * small.forward


def counted(name: str, guided: bool) -> tuple[float, float]:
    """(network, reward) passes per row of one real step on players that count; a backward pass is two forward ones."""
    rows: Counter[str] = Counter()
    weight = torch.nn.Parameter(torch.tensor(0.5))

    def net(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        rows["network"] += len(x_t) * (3 if torch.is_grad_enabled() else 1)
        return weight * x_t

    def fake_loss(x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return (net(x, t, cond) - x).square().flatten(1).mean(1)

    def reward(x: Tensor, cond: Condition) -> Tensor:
        rows["reward"] += len(x) * (2 if x.requires_grad else 1)  # its weights are fixed: back to x alone
        return x.flatten(1).mean(1)

    cast = Cast(
        student=net,
        real=net,
        fake=net,
        fake_loss=fake_loss,
        path=Linear(),
        cfg_weight=1.5 if guided else 1.0,
        reward=reward,
        logit=lambda x_t, t, cond: net(x_t, t, cond).flatten(1).mean(1),
        pairs=lambda noise: (noise.normal("z", (2,)), noise.normal("x", (2,)), {"label": noise.integers("l", CLASSES)}),
        real_data=lambda noise: (noise.normal("real", (2,)), {"label": noise.integers("r", CLASSES)}),
        set_pull=lambda pull: None,
    )

    def draw(noise: Noise) -> Conditioning:
        label = noise.integers("labels", CLASSES, shared=4)
        return Conditioning({"label": label}, {"label": torch.full_like(label, CLASSES)}, 4)

    for _ in step(row(name), cast, Batch(draw, (2,)), Noise(0, 0, ROWS), progress=0.0):  # type: ignore[arg-type]
        pass
    return rows["network"] / ROWS, rows["reward"] / ROWS


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_passes_are_those_of_the_step_that_runs(name: str, guided: bool):
    assert passes(row(name), guided, low_rank=False) == counted(name, guided)


def test_a_low_rank_fake_saves_a_third_of_its_updates():
    full, low = (passes(row("dmdr"), True, low_rank)[0] for low_rank in (False, True))
    assert full - low == 5  # five updates, each without the weights' own gradients


def find(library: Library, scale: str, rule: str, what: str) -> Job:
    found: Callable[[Job], bool] = lambda job: (job.rule, job.what) == (rule, what)  # noqa: E731
    return next(job for job in jobs(library, scale, *plan.runnable(library, "all")) if found(job))


def test_a_job_s_flops_are_rows_times_passes(library: Library):
    job = find(library, "paper", "distill", "sit-dmd")
    assert job.run is not None
    through, _ = passes(row("dmd-pure"), True, low_rank=False)
    one = estimate(library, job)
    assert one.flops == pytest.approx(1000 * 512 * through * network(job.run).forward)
    assert one.devices == 8


def test_memory_holds_at_least_its_weights_and_fits_the_footprint(library: Library):
    for scale in library.scales:
        for job in jobs(library, scale, *plan.runnable(library, "all")):
            one = estimate(library, job)
            if job.rule == "distill" and job.run is not None:
                assert one.memory > 36 * network(job.run).parameters * (job.run.system.lora is None)
            if one.devices:
                assert one.memory < 80 * 2**30  # an H100
            elif job.run is not None:
                limit = library.scales[scale].footprints.get(job.rule, library.scales[scale].footprints["default"])
                assert one.memory < limit.mem_mb * 2**20


def test_time_limits_hold_what_is_estimated(library: Library):
    for job in jobs(library, "paper", *plan.runnable(library, "all")):
        one = estimate(library, job)
        limits = library.scales["paper"].footprints
        hours = one.device_hours / max(one.devices, 1)
        assert 2 * hours < limits.get(job.rule, limits["default"]).runtime_min / 60 or job.rule in ("sample", "distill")
        assert hours < limits.get(job.rule, limits["default"]).runtime_min / 60


def test_the_text_names_jobs_tables_and_assumptions(library: Library):
    said = text(library, "paper")
    for words in ("sit-warm-short", "8 GPU", "GPU-hours", "675.1 M", "table5: track video has no systems yet", "assum"):
        assert words.lower() in said.lower()
    assert "sit-dmd2" not in text(library, "paper", "4")
    assert "results/tiny/tables/table4.md" in text(library, "tiny", "table4")
