"""Who is built, from which weights, and what a step then costs: only what the method reads."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from smoke_run import Case, library
from torch import Tensor, nn

from amd.config import plan
from amd.config.load import Run
from amd.distill.noise import Noise
from amd.distill.step import step
from amd.train.artifact import Refused, artifact_sha, read_artifact
from amd.train.cast import Company, build_batch, build_cast, made_from, method_of, training_conditions
from amd.train.finished import weights
from amd.train.loop import distill, earlier, milestones
from amd.train.optimise import learning_rate

METHODS = ("dmd-pure", "dmd", "dmd2", "d-dmd", "magic", "dmdr", "naive", "amd", "amd-literal")


def case(method: str, **more: Any) -> Case:
    """Low-rank where the real teacher shrinks; two fake updates, the literal preset its own one."""
    rank = 4 if method in ("magic", "dmdr") else None
    return Case(method=method, rank=rank, numbers={} if method == "amd-literal" else {"ratio": 2}, **more)


def noise(run: Run, iteration: int = 0) -> Noise:
    return Noise(run.seed, iteration, run.scale.klass.batch)


def equal(module: nn.Module, tensors: dict[str, Tensor]) -> bool:
    state = module.state_dict()
    return all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def look(network: Any, run: Run) -> Tensor:
    """What a network says of some noise."""
    x = noise(run).normal("x", (1, 16, 16))
    with torch.no_grad():
        return network(x, torch.full((16,), 0.5), {"label": torch.arange(16) % 10})


# --- who starts from what --------------------------------------------------------------------------------------------


def test_a_second_stage_starts_from_its_starts_student_and_fake_and_its_teacher(checkpoints: Path) -> None:
    run = Case().run()
    company = build_cast(run)
    assert run.start is not None
    assert run.teacher is not None
    assert equal(company.modules["student"], weights(run.start))
    assert equal(company.modules["fake"], weights(run.start, "fake"))
    assert isinstance(company.cast.real, nn.Module)
    assert equal(company.cast.real, weights(run.teacher))
    assert not any(p.requires_grad for p in company.cast.real.parameters())
    assert company.cast.set_pull is None


def test_a_warm_start_starts_everybody_from_the_teacher(checkpoints: Path) -> None:
    run = library().run("sit-warm-short", "smoke", 0)
    company = build_cast(run)
    assert run.teacher is not None
    for role in ("student", "fake"):
        assert equal(company.modules[role], weights(run.teacher))
    teacher, student = company.cast.real, company.cast.student
    z, t, cond = torch.randn(4, 1, 16, 16), torch.zeros(4), {"label": torch.arange(4)}
    assert torch.equal(student(z, t, cond), teacher(z, t, cond))  # one step: x0_hat at t = 0


def test_roles_share_no_memory(checkpoints: Path) -> None:
    company = build_cast(library().run("sit-warm-short", "smoke", 0))
    assert isinstance(company.cast.real, nn.Module)
    modules = [*company.modules.values(), company.cast.real]
    places = [p.data_ptr() for module in modules for p in module.parameters()]
    assert len(places) == len(set(places))


def test_a_low_rank_fake_is_the_teacher_at_first_and_the_real_teacher_borrows_as_much_as_it_is_told(
    checkpoints: Path,
) -> None:
    run = case("magic").run()
    assert run.teacher is not None
    company = build_cast(run)
    cast = company.cast
    plain = build_cast(Case(method="dmd-pure").run()).cast.real
    assert torch.equal(look(cast.fake, run), look(plain, run))  # B = 0
    trained = [p for p in company.modules["fake"].parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 0.2 * sum(p.numel() for p in company.modules["fake"].parameters())
    with torch.no_grad():
        for p in trained:
            p.add_(0.05)
    assert cast.set_pull is not None
    cast.set_pull(1.0)
    assert torch.equal(look(cast.real, run), look(cast.fake, run))  # all of the fake's branch
    cast.set_pull(0.0)
    assert torch.equal(look(cast.real, run), look(plain, run))
    assert not torch.equal(look(cast.fake, run), look(plain, run))
    cast.set_pull(0.5)
    assert not torch.equal(look(cast.real, run), look(plain, run))


def test_a_second_stage_goes_on_with_a_branch_of_the_same_form(checkpoints: Path) -> None:
    run = case("magic").run()
    assert run.start is not None
    first = replace(run, name="first", start=run.teacher)  # a low-rank warm start
    distill(first, Path(plan.folder(first)), checkpoints / "state")
    second = build_cast(replace(run, start=first))
    assert equal(second.modules["fake"], read_artifact(Path(plan.folder(first)), "fake"))
    full = build_cast(replace(Case(method="dmd-pure").run(), start=first))  # another form: from the teacher
    assert run.teacher is not None
    assert equal(full.modules["fake"], weights(run.teacher))


def test_the_artefact_says_what_it_was_made_from(checkpoints: Path) -> None:
    run = Case().run()
    made = made_from(run)
    assert set(made) == {"start", "teacher", "reward"}
    assert set(made_from(Case(method="dmd2").run())) == {"start", "teacher"}
    assert run.start is not None
    assert made["start"] == {
        "path": "checkpoints/smoke/sit-warm-short/seed0",
        "sha256": artifact_sha(Path("checkpoints/smoke/sit-warm-short/seed0")),
        "digest": run.start.digest,
    }


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_digest_is_refused(checkpoints: Path) -> None:
    file = checkpoints / "checkpoints/smoke/sit-teacher/seed0/meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "digest": "older"}))
    with pytest.raises(Refused, match=r"sit-teacher/seed0: made with digest older, the configuration now means"):
        build_cast(Case().run())


def test_a_missing_checkpoint_is_named(checkpoints: Path) -> None:
    (checkpoints / "checkpoints/smoke/digits-reward/seed0/meta.json").unlink()
    with pytest.raises(FileNotFoundError, match="digits-reward/seed0: no finished artefact"):
        build_cast(Case().run())
    build_cast(Case(method="dmd2").run())  # which reads no reward


def test_a_gradient_through_a_reward_that_has_none_is_refused(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amd.rewards.classifier.ClassifierReward.differentiable", False)
    build_cast(Case(method="amd").run())
    with pytest.raises(ValueError, match=r"sit-amd.yaml: method 'dmdr' descends the reward's gradient"):
        build_cast(case("dmdr").run())


def test_a_critic_without_real_images_is_refused(checkpoints: Path) -> None:
    run = Case(method="dmd2").run()
    bare = replace(run, domain=run.domain.model_copy(update={"data": None}))
    with pytest.raises(ValueError, match=r"domains/digits.yaml: method 'dmd2' trains a critic on real images"):
        build_cast(bare)


# --- only what is read -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_only_what_the_method_reads_is_built(checkpoints: Path, method: str) -> None:
    cast = build_cast(case(method).run(), state=checkpoints / "state").cast
    built = {name for name in ("reward", "logit", "pairs", "real_data") if getattr(cast, name) is not None}
    reads = {
        "dmd": {"pairs"},
        "dmd2": {"logit", "real_data"},
        "dmdr": {"reward"},
        "naive": {"reward"},
        "amd": {"reward"},
        "amd-literal": {"reward"},
    }
    assert built == reads.get(method, set())


def counted(company: Company, rows: Counter[str]) -> Company:
    """The same company; `rows` counts what each is shown."""

    def count(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(x: Tensor, *args: Any) -> Any:
            rows[name] += len(x)
            return function(x, *args)

        return counting

    cast = company.cast
    seen = {name: count(name, getattr(cast, name)) for name in ("student", "real", "fake", "fake_loss")}
    seen |= {name: count(name, f) for name in ("reward", "logit") if (f := getattr(cast, name)) is not None}
    return company._replace(cast=replace(cast, **seen))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # in batches of 16, for one iteration of one student and two fake updates; cond and uncond of the real teacher
        ("dmd-pure", {"student": 3, "real": 2, "fake": 1, "fake_loss": 2}),
        ("dmd", {"student": 4, "real": 2, "fake": 1, "fake_loss": 2}),  # and the tether's student
        ("dmd2", {"student": 3, "real": 2, "fake": 1, "fake_loss": 2, "logit": 1 + 2 * 2}),
        ("d-dmd", {"student": 3, "real": 3, "fake": 1, "fake_loss": 2}),  # cond alone at dm, both at ca
        ("dmdr", {"student": 3, "real": 2, "fake": 1, "fake_loss": 2, "reward": 1}),
        ("naive", {"student": 3, "real": 2, "fake": 1, "fake_loss": 2, "reward": 1}),
        ("amd", {"student": 3, "real": 2, "fake": 1, "fake_loss": 2, "reward": 3}),
        ("amd-literal", {"student": 1, "real": 2, "fake": 1, "fake_loss": 1, "reward": 1}),
    ],
)
def test_no_network_is_asked_more_than_it_must_be(checkpoints: Path, method: str, expected: dict[str, int]) -> None:
    run, rows = case(method).run(), Counter[str]()
    company = counted(build_cast(run, state=checkpoints / "state"), rows)
    for phase in step(method_of(run), company.cast, company.batch, noise(run), progress=0.0):
        phase.loss.backward()
    assert {name: seen / 16 for name, seen in rows.items()} == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_phase_leaves_gradients_in_its_own_role_alone(checkpoints: Path, method: str) -> None:
    run = case(method).run()
    company = build_cast(run, state=checkpoints / "state")
    if "critic" in company.modules:  # its last layer begins at zero, and would let nothing through
        with torch.no_grad():
            for p in company.modules["critic"].parameters():
                p.add_(0.01)
    for phase in step(method_of(run), company.cast, company.batch, noise(run), progress=0.0):
        phase.loss.backward()
        for role, optimiser in company.optimisers.items():
            gradients = [p.grad for group in optimiser.param_groups for p in group["params"]]
            if role == phase.role:
                assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
            else:
                assert all(g is None for g in gradients)
            optimiser.zero_grad(set_to_none=True)
        assert isinstance(company.cast.real, nn.Module)
        shared = {id(p) for p in company.modules["fake"].parameters()}  # a low-rank fake's weights are the teacher's
        assert all(p.grad is None for p in company.cast.real.parameters() if id(p) not in shared)


def test_the_critics_gradient_reaches_the_student(checkpoints: Path) -> None:
    run = case("dmd2").run()
    company = build_cast(run)
    x = torch.randn(4, 1, 16, 16, requires_grad=True)
    assert company.cast.logit is not None
    with torch.no_grad():
        for p in company.modules["critic"].parameters():
            p.add_(0.01)
    company.cast.logit(x, torch.full((4,), 0.5), {"label": torch.arange(4)}).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


def test_optimisers_have_the_fields_numbers(checkpoints: Path) -> None:
    run = Case(method="dmd2").run()
    optimisers = build_cast(run).optimisers
    for role, decay, lr in (("student", 0.01, run.scale.klass.lr), ("fake", 0.0, run.scale.klass.fake_lr)):
        (group,) = optimisers[role].param_groups
        assert (group["betas"], group["weight_decay"], group["lr"], group["fused"]) == ((0.9, 0.999), decay, lr, True)


# --- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("iterations", "count", "expected"),
    [(60, 6, [10, 20, 30, 40, 50, 60]), (5, 2, [2, 5]), (2, 6, [1, 2]), (1000, 1, [1000])],
)
def test_milestones_are_evenly_spaced_and_end_at_the_end(iterations: int, count: int, expected: list[int]) -> None:
    assert milestones(iterations, count) == expected


def test_the_learning_rate_rises_linearly_and_stays() -> None:
    rates = [learning_rate(1.0, i, 10, 0.4) for i in range(10)]
    assert rates == [0.25, 0.5, 0.75, *[1.0] * 7]
    assert {learning_rate(1.0, i, 10, 0.0) for i in range(10)} == {1.0}


def test_warm_up_reaches_the_optimisers(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, rates = Case(warmup=0.5).run(), list[float]()
    original = torch.optim.AdamW.step

    def seen(optimiser: torch.optim.AdamW, *args: Any) -> Any:
        rates.append(optimiser.param_groups[0]["lr"])
        return original(optimiser, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", seen)
    distill(run, checkpoints / "out", checkpoints / "state")
    student, fake = run.scale.klass.lr, run.scale.klass.fake_lr
    assert rates == pytest.approx([student / 2, fake / 2, fake / 2, *[student, fake, fake] * 3])


def test_draws_go_on_where_the_starts_ended() -> None:
    run = library().run("sit-amd", "smoke", 0)
    warm = library().run("sit-warm-short", "smoke", 0)
    assert earlier(warm) == 0
    assert earlier(run) == warm.stage_iterations == 2


def test_two_methods_see_the_same_noise_and_labels(checkpoints: Path) -> None:
    one, other = Case(method="amd").run(), Case(method="dmd-pure").run()
    a, b = (
        build_batch(run, training_conditions(run, torch.device("cpu"))).draw(noise(run)).cond["label"]
        for run in (one, other)
    )
    assert torch.equal(a, b)
    assert len(a.reshape(-1, one.scale.klass.group).unique(dim=1)[0]) == 1  # K rows share a label
