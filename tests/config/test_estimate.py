"""What a plan says of its jobs agrees with the networks and with the step that will run."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from amd.config import plan
from amd.config.jobs import Job, footprint, jobs
from amd.config.load import Library, Run
from amd.config.schema.scale import Footprint
from amd.distill.methods import METHODS, row
from amd.distill.noise import Noise
from amd.distill.path import Linear
from amd.distill.step import Batch, step
from amd.distill.types import Cast, Condition, Conditioning
from amd.train.cost import branch, decoder, gathered, network, passes, pictures, size, texts, trunk
from amd.train.estimate import LIGHT, asked_by, estimate, text
from amd.train.published_costs import PUBLISHED
from amd.train.work import work

ROWS, CLASSES = 8, 3
SHARDED = Footprint(gpus=8, gpu_model="h100", sharding="fsdp2")
WHOLE = Footprint(gpus=8, gpu_model="h100")
HAS = {"h100": 80, "h200": 140, "b300": 288}  # GB


@pytest.fixture(scope="module")
def everything(library: Library):
    """Scale -> all jobs of it, made once."""
    return cache(lambda scale: jobs(library, scale, *plan.runnable(library, "all")))


def find(found: list[Job], rule: str, what: str) -> Job:
    return next(job for job in found if (job.rule, job.what) == (rule, what))


def at_side(run: Run, side: int) -> Run:
    return replace(run, domain=run.domain.model_copy(update={"latents": (run.domain.latents[0], side)}))


# --- networks --------------------------------------------------------------------------------------------------------


def test_sit_xl_2_has_its_published_size(library: Library):
    run = library.run("sit-dmd", "paper", 0)
    assert size(run) == network(run, fused=True).parameters == pytest.approx(675e6, rel=1e-3)  # Ma et al., 2024
    # 118.6 GMAC, Peebles and Xie, 2023, Table 4
    assert network(run, fused=True).forward == pytest.approx(2 * 118.6e9, rel=0.01)


def test_parameters_do_not_depend_on_the_domain_s_side(library: Library):
    """Twice the side: four times the tokens, more than four times the FLOPs (attention), the same weights."""
    run = library.run("sit-dmd", "paper", 0)
    small, large = network(run, fused=True), network(at_side(run, 64), fused=True)
    assert large.parameters - small.parameters == (1024 - 256) * 1152  # the table of positions
    assert 4 * small.forward < large.forward < 5 * small.forward


def test_sdxl_has_its_published_size(library: Library):
    """2,567 M parameters; 2.99 TMAC without the products of attention (DeepSpeed's count), which are 0.37 more."""
    run = library.run("sdxl-amd", "paper", 0)
    assert size(run) == 2_567_463_684
    assert network(run, fused=True).forward == pytest.approx(2 * 3.36e12, rel=0.02)
    assert branch(run, 64) == pytest.approx(787e6 / 4, rel=0.01)  # DMD2's LoRA file: 787 MB of float32
    assert trunk(run, fused=True).parameters == pytest.approx(105e6, rel=0.01)  # five convolutions of 1280 channels
    assert (
        0.4 < trunk(run, fused=True).forward / network(run, fused=True).forward < 0.5
    )  # the half before the bottleneck


def test_recomputation_trades_memory_for_a_forward_pass(library: Library):
    run = library.run("sdxl-amd", "tiny", 0)
    assert run.scale.text is not None
    scale = run.scale.model_copy(update={"text": run.scale.text.model_copy(update={"recompute": True})})
    again = replace(run, scale=scale)
    assert network(again).activations < 0.5 * network(run).activations
    assert network(again).forward == network(run).forward
    flops = [sum(work(library, Job("distill", "x", "", each), WHOLE).flops.values()) for each in (run, again)]
    each = passes(row("amd", {"steps": 4}), True, low_rank=False)
    assert flops[1] - flops[0] == pytest.approx(run.stage_iterations * run.batch * 6 * network(run).forward)
    assert each.again == 6  # the student's push and five updates of the fake


# --- a step ----------------------------------------------------------------------------------------------------------


def counted(name: str, guided: bool) -> dict[str, float]:
    """Passes per row of one real step on players that count; a backward pass is two forward ones."""
    rows: Counter[str] = Counter()
    weight = torch.nn.Parameter(torch.tensor(0.5))

    def net(x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        rows["network"] += len(x_t) * (3 if torch.is_grad_enabled() else 1)
        rows["again"] += len(x_t) * torch.is_grad_enabled()
        return weight * x_t

    def fake_loss(x: Tensor, eps: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return (net(x, t, cond) - x).square().flatten(1).mean(1)

    def reward(x: Tensor, cond: Condition) -> Tensor:
        rows["reward"] += len(x) * (2 if x.requires_grad else 1)  # its weights are fixed: back to x alone
        return x.flatten(1).mean(1)

    def real_data(noise: Noise) -> tuple[Tensor, Condition]:
        x = noise.normal("real", (2,))
        rows["real"] += len(x)
        return x, {"label": noise.integers("r", CLASSES)}

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
        real_data=real_data,
        set_pull=lambda pull: None,
    )

    def draw(noise: Noise) -> Conditioning:
        label = noise.integers("labels", CLASSES, shared=4)
        rows["drawn"] += len(label)
        return Conditioning({"label": label}, {"label": torch.full_like(label, CLASSES)}, 4)

    for _ in step(row(name), cast, Batch(draw, (2,)), Noise(0, 0, ROWS), progress=0.0):  # type: ignore[arg-type]
        pass
    return {what: count / ROWS for what, count in rows.items()}


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_passes_are_those_of_the_step_that_runs(name: str, guided: bool):
    said, found = passes(row(name), guided, low_rank=False), Counter(counted(name, guided))
    assert said.network + said.trunk == found["network"]  # a critic looks through the same network here
    assert said.again + said.trunk_again == found["again"]
    assert said.reward == found["reward"]
    assert (said.real, said.drawn) == (found["real"], found["drawn"])


def test_a_low_rank_fake_saves_a_third_of_its_updates():
    full, low = (passes(row("dmdr"), True, low_rank).network for low_rank in (False, True))
    assert full - low == 5  # five updates, each without the weights' own gradients


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_s_flops_are_rows_times_passes(library: Library, everything):
    job = find(everything("paper"), "distill", "sit-dmd")
    assert job.run is not None
    each = passes(row("dmd-pure"), True, low_rank=False)
    one = estimate(library, job)
    assert one.flops == pytest.approx(1000 * 512 * each.network * network(job.run, fused=True).forward)
    assert one.devices == 8


def test_a_text_job_s_flops_are_networks_decoders_rewards_and_prompts(library: Library, everything):
    job = find(everything("paper"), "distill", "sdxl-amd")
    run = job.run
    assert run is not None
    each = passes(row("amd", {"steps": 4}), True, low_rank=False)
    flops = (each.network + each.again) * network(run, fused=True).forward
    flops += each.reward * (decoder(run).forward + PUBLISHED["hpsv2"].forward) + each.drawn * texts(run).forward
    assert estimate(library, job).flops == pytest.approx(19000 * 128 * flops)
    small = replace(job, run=library.run("sdxl-amd-batch16", "paper", 0))
    assert estimate(library, small).flops == pytest.approx(19000 * 16 * flops)


def test_sharding_halves_what_is_shared_out_and_nothing_else(library: Library):
    job = Job("distill", "checkpoints/paper/sdxl-amd/seed0", "", library.run("sdxl-amd", "paper", 0))
    whole, shared = (work(library, job, asked).memory for asked in (WHOLE, SHARDED))
    for part in ("student", "fake", "teacher"):
        assert shared[part] == pytest.approx(whole[part] / 8)
    for part in ("reward", "decoder", "prompts", "activations"):
        assert shared[part] == whole[part]
    assert sum(whole.values()) > 80 * 2**30 > 2 * sum(shared.values())  # what an H100 has
    assert shared["gathered"] < whole["gathered"]
    two = work(library, job, SHARDED.model_copy(update={"nodes": 2})).memory
    assert two["student"] == shared["student"]  # a copy on every node
    resting = work(library, job, SHARDED.model_copy(update={"offload": True})).memory
    assert resting["teacher"] == 0
    assert {part for part in shared if resting[part] != shared[part]} == {"teacher"}


def test_a_low_rank_student_trains_its_branch_alone(library: Library):
    full, low = (library.run(name, "paper", 0) for name in ("sdxl-amd", "sdxl-amd-lora"))
    held = [work(library, Job("distill", "x", "", run), SHARDED).memory for run in (full, low)]
    own, part = size(full), branch(low, 64)
    assert 8 * held[0]["student"] == 16 * own
    assert 8 * held[1]["student"] == 16 * part + 4 * own
    assert 8 * held[1]["fake"] == 16 * part  # on the teacher's own weights


def test_memory_holds_at_least_its_weights_and_fits_the_footprint(library: Library, everything):
    for scale in library.scales:
        for job in everything(scale):
            if job.rule in LIGHT:
                continue
            one, asked = estimate(library, job), asked_by(library, job)
            if job.rule == "distill" and job.run is not None and job.run.system.lora is None:
                assert one.memory > 36 * size(job.run) / (8 if asked.sharding == "fsdp2" else 1)
            if one.devices:
                assert one.memory < HAS[asked.gpu_model or ""] * 2**30, (scale, job.rule, job.what)
                assert one.host < asked.mem_mb * 2**20, (scale, job.rule, job.what)
            elif job.run is not None:
                assert one.memory < asked.mem_mb * 2**20, (scale, job.rule, job.what, job.benchmark)


def test_time_limits_hold_what_is_estimated(library: Library, everything):
    for job in everything("paper"):
        if job.rule in LIGHT:
            continue
        one = estimate(library, job)
        hours, limit = one.device_hours / max(one.devices, 1), asked_by(library, job).runtime_min / 60
        assert hours < limit, (job.rule, job.what, job.benchmark)
        assert 2 * hours < limit or job.rule in ("sample", "distill"), (job.rule, job.what, job.benchmark)


def test_a_footprint_is_the_tracks_the_rules_or_the_default(library: Library):
    known = library.scales["paper"].footprints
    assert footprint(library, "paper", "distill", "text") == known["distill.text"] != known["distill"]
    assert footprint(library, "paper", "distill", "class") == footprint(library, "paper", "distill") == known["distill"]
    assert footprint(library, "paper", "figure", "text") == known["default"]
    assert known["distill.text"].sharding == "fsdp2"  # SDXL's three networks and two moments fill more than a GPU


def test_the_text_names_jobs_tables_and_assumptions(library: Library):
    said = text(library, "paper")
    for words in (
        "sit-warm-short",
        "8 GPU",
        "GPU-hours",
        "675.1 M",
        "assum",
    ):
        assert words.lower() in said.lower()
    assert "sit-dmd2" not in text(library, "paper", "4")
    assert "results/tiny/tables/table4.md" in text(library, "tiny", "table4")


def test_the_text_of_a_text_table_says_what_a_gpu_holds(library: Library):
    said = text(library, "paper", "7")
    assert "networks of 2,567.5 M parameters each. GiB per GPU on 1 x 8 h100, sharding fsdp2:" in said
    line = next(line for line in said.splitlines() if line.split()[0:1] == ["sdxl-amd"])
    student, fake, teacher = map(float, line.split()[1:4])
    assert (student, fake, teacher) == pytest.approx((4.78, 4.78, 1.20), abs=0.01)  # 16, 16 and 4 bytes, an eighth


def test_image_to_video_trains_sixteen_billion_parameters_from_a_first_frame(library: Library):
    """Wan2.1-I2V-14B: both networks on the GPUs, the frozen teacher beside them, a frame's states for every row."""
    run = library.run("wan-i2v-amd", "paper", 0)
    assert size(run) == 16_394_878_784
    assert pictures(run).parameters == pytest.approx(632e6, rel=0.01)  # CLIP ViT-H/14's vision tower
    assert pictures(library.run("wan-amd", "paper", 0)).parameters == 0
    job = Job("distill", plan.folder(run), run.digest, run)
    one, asked = estimate(library, job), asked_by(library, job)
    assert asked.offload
    assert 32 * size(run) / 8 < one.memory < HAS[asked.gpu_model or ""] * 2**30
    parts = dict(one.parts)
    assert "teacher" not in parts
    assert parts["prompts"] == pytest.approx(4 * (texts(run).parameters + pictures(run).parameters))
    assert one.host == 4 * size(run)  # the teacher, all of it, over a node's GPUs
    block, rest = gathered(run)
    assert rest < block < size(run) / 40  # of forty


def test_the_text_of_a_video_table_says_how_many_tokens_are_read_at_a_time(library: Library):
    said = text(library, "paper", "10")
    assert "A clip is 32,760 tokens (21 frames of 30 x 52). GiB per GPU" in said
    assert "the frozen teacher on the CPU (61.08 GiB of a node's memory)" in said
    said = text(library, "paper", "5")
    assert "(21 frames of 30 x 52), a chunk 4,680, the window that it reads 18,720. GiB per GPU" in said


def test_vbench_takes_most_of_a_day_of_a_gpu_and_no_judge_of_paper_scale_takes_nothing(library: Library, everything):
    jobs_of = [job for job in everything("paper") if job.rule == "score"]
    assert all(estimate(library, job).device_hours > 0 for job in jobs_of)
    (hours,) = {estimate(library, job).device_hours for job in jobs_of if job.benchmark == "vbench"}
    assert hours == pytest.approx(12 * 6230 / 4730)  # half a day of the clips that need no filter
