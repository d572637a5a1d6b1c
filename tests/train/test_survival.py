"""Whatever happens to a run, running the same command again ends in bitwise the student of an uninterrupted run."""

import os
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from children import in_child, made, straight
from smoke_run import Case, attempt, killed_attempt

from amd.train.journal import read
from amd.train.loop import distill
from amd.train.optimise import NonFinite

AMD = Case()  # full fake teacher, EMA, rewards in student and fake updates
LOW_RANK = Case(method="dmdr", rank=4)  # low-rank fake, shrinking real teacher, a gradient through the reward
CRITIC = Case(method="dmd2")  # critic heads in the fake's optimiser, real images
TETHER = Case(method="dmd", ema=0.0, numbers={"ratio": 1})  # ODE pairs, no average
STEPS = 4 * 3  # optimiser steps of a case with ratio 2


def test_killed_before_any_step_of_an_optimiser_it_ends_the_same(checkpoints: Path) -> None:
    case = replace(AMD, iterations=3)
    expected = straight(case, checkpoints)
    for count in range(1, 3 * 3 + 1):
        where = (checkpoints, case.run(), f"out{count}", f"state{count}")
        assert in_child(killed_attempt, *where, "step", count) == -signal.SIGKILL
        assert not (checkpoints / f"out{count}").exists()
        assert in_child(attempt, *where) == 0
        assert made(checkpoints / f"out{count}") == expected, f"killed before optimiser step {count}"


@pytest.mark.parametrize("case", [LOW_RANK, CRITIC, TETHER], ids=lambda case: case.method)
def test_killed_again_and_again_it_ends_the_same(checkpoints: Path, case: Case) -> None:
    expected = straight(case, checkpoints)
    where = (checkpoints, case.run(), "out", "state")
    kills = (("step", 2), ("rename", 2), ("step", 5), ("rename", 7), ("rename", 9), ("step", 4))
    codes = [in_child(killed_attempt, *where, what, count) for what, count in kills]
    assert codes.count(-signal.SIGKILL) >= 5  # the last may come after the end
    assert in_child(attempt, *where) == 0
    assert made(checkpoints / "out") == expected


def test_killed_before_any_rename_it_ends_the_same(checkpoints: Path) -> None:
    expected = straight(AMD, checkpoints)
    where = (checkpoints, AMD.run(), "out", "state")
    count = 0
    while in_child(killed_attempt, *where, "rename", (count := count + 1)) == -signal.SIGKILL:
        assert count < 200
    assert count > 5
    assert made(checkpoints / "out") == expected


def test_two_runs_are_bitwise_equal_and_another_seed_is_not(checkpoints: Path) -> None:
    expected = straight(AMD, checkpoints)
    distill(AMD.run(), checkpoints / "again", checkpoints / "again-state")
    assert made(checkpoints / "again") == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_exits_75_and_the_next_attempt_goes_on(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    expected = straight(AMD, checkpoints)
    original, calls = torch.optim.AdamW.step, 0

    def step(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:  # in the middle of the second iteration
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(SystemExit) as left:
        distill(AMD.run(), checkpoints / "out", checkpoints / "state", save_every_s=1e9)
    assert left.value.code == 75
    assert calls == 6  # the iteration was finished, and no other begun
    assert f"{number.name}: saved {checkpoints / 'state' / 'step-000002'}" in capsys.readouterr().err
    assert not (checkpoints / "out").exists()
    distill(AMD.run(), checkpoints / "out", checkpoints / "state")
    assert calls == STEPS
    assert made(checkpoints / "out") == expected


def test_a_nearing_budget_saves_exits_75_and_every_attempt_gets_further(checkpoints: Path) -> None:
    expected = straight(AMD, checkpoints)
    attempts = 0
    while not (checkpoints / "out").exists():
        attempts += 1
        assert attempts <= AMD.iterations
        last = attempts == AMD.iterations  # it is followed by the artefact, not by a stop
        with nullcontext() if last else pytest.raises(SystemExit, match="75"):
            distill(AMD.run(), checkpoints / "out", checkpoints / "state", budget_s=0.0, save_every_s=1e9)
    assert attempts == AMD.iterations
    assert made(checkpoints / "out") == expected


def test_a_budget_that_suffices_changes_nothing(checkpoints: Path) -> None:
    distill(AMD.run(), checkpoints / "out", checkpoints / "state", budget_s=3600.0)
    assert made(checkpoints / "out") == straight(AMD, checkpoints)


def test_the_budget_ends_the_teachers_pairs_too_and_no_chunk_is_made_twice(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import amd.train.pairs as pairs

    case = Case(method="dmd", numbers={"ratio": 1}, sizes={"tether_pairs": 12, "sample_batch": 4})
    expected = straight(case, checkpoints)
    original, chunks = pairs.euler, []
    monkeypatch.setattr(pairs, "euler", lambda *args: chunks.append(1) or original(*args))
    with pytest.raises(SystemExit) as left:
        distill(case.run(), checkpoints / "out", checkpoints / "state", budget_s=0.0)
    assert left.value.code == 75
    os.makedirs(checkpoints / "state" / "pairs" / "0000004.part")  # what a kill leaves
    (file,) = (checkpoints / "straight-state").glob("journal.jsonl")
    assert file.is_file()
    distill(case.run(), checkpoints / "out", checkpoints / "state")
    assert len(chunks) == 3
    assert made(checkpoints / "out") == expected


# --- what is not a number --------------------------------------------------------------------------------------------


def poison_rewards(monkeypatch: pytest.MonkeyPatch, call: int) -> list[int]:
    """The `call`-th batch of rewards holds one NaN. Returns a list that grows with every optimiser step."""
    import amd.rewards.classifier as classifier

    original, step, calls, steps = classifier.log_probability, torch.optim.AdamW.step, 0, list[int]()

    def poisoned(*args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        values = original(*args)
        return torch.cat([values[:-1], values[-1:] * torch.nan]) if calls == call else values

    def counted(*args: Any, **kwargs: Any) -> Any:
        steps.append(calls)
        return step(*args, **kwargs)

    monkeypatch.setattr(classifier, "log_probability", poisoned)
    monkeypatch.setattr(torch.optim.AdamW, "step", counted)
    return steps


@pytest.mark.parametrize(("call", "role", "steps"), [(7, "student", 6), (8, "fake", 7)])
def test_a_reward_that_is_no_number_stops_before_the_optimiser_moves_and_names_the_last_good_state(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, call: int, role: str, steps: int
) -> None:
    expected = straight(AMD, checkpoints)
    with monkeypatch.context() as patched:
        moved = poison_rewards(patched, call)  # the third iteration's student update, or its first fake update
        with pytest.raises(NonFinite) as stopped:
            distill(AMD.run(), checkpoints / "out", checkpoints / "state", save_every_s=0.0)
        assert len(moved) == steps
    said = str(stopped.value)
    assert f"sit-amd seed 0, iteration 2: the {role}'s loss is nan" in said
    assert f"last good state is {checkpoints / 'state' / 'step-000002'}" in said
    assert not (checkpoints / "out").exists()
    distill(AMD.run(), checkpoints / "out", checkpoints / "state")  # healed, it goes on from there
    assert made(checkpoints / "out") == expected


def test_a_gradient_that_is_no_number_stops_though_the_loss_is_one(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import amd.train.loop as loop

    build = loop.build_cast

    def hooked(*args: Any, **kwargs: Any) -> Any:
        company = build(*args, **kwargs)
        weight: torch.Tensor = company.modules["student"].get_parameter("network.final_layer.linear.weight")
        weight.register_hook(lambda gradient: gradient * torch.inf)
        return company

    monkeypatch.setattr(loop, "build_cast", hooked)
    with pytest.raises(NonFinite, match=r"iteration 0: the student's gradient is (inf|nan).*there is no state yet"):
        distill(AMD.run(), checkpoints / "out", checkpoints / "state")


# --- the journal, the end, and the beginning -------------------------------------------------------------------------


def test_the_journal_survives_attempts_and_has_every_step_once(checkpoints: Path) -> None:
    where = (checkpoints, AMD.run(), "out", "state")
    in_child(killed_attempt, *where, "step", 8)  # in iteration 3 of 4; the state after 2 is there
    in_child(attempt, *where)
    lines = read(checkpoints / "state" / "journal.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    distill(AMD.run(), checkpoints / "straight", checkpoints / "straight-state")
    uninterrupted = read(checkpoints / "straight-state" / "journal.jsonl")
    for line in (*lines, *uninterrupted):
        del line["s_per_iteration"]
    assert lines == uninterrupted


def test_a_finished_run_is_not_trained_again(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    straight(AMD, checkpoints)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: pytest.fail("an optimiser moved"))
    distill(AMD.run(), checkpoints / "straight", checkpoints / "straight-state")
    assert "finished already" in capsys.readouterr().out


def test_at_the_end_only_the_journal_the_lease_and_links_to_the_student_are_left_of_the_state(
    checkpoints: Path,
) -> None:
    straight(TETHER, checkpoints)
    left = checkpoints / "straight-state"
    assert sorted(file.name for file in left.iterdir()) == ["journal.jsonl", "lease", "made"]
    assert (left / "made/student.safetensors").samefile(checkpoints / "straight/student.safetensors")


def test_a_student_that_was_deleted_after_its_end_is_put_back_and_not_trained_again(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Snakemake does when Slurm calls a job failed whose work is done."""
    expected = straight(AMD, checkpoints)
    shutil.rmtree(checkpoints / "straight")
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: pytest.fail("an optimiser moved"))
    distill(AMD.run(), checkpoints / "straight", checkpoints / "straight-state")
    assert made(checkpoints / "straight") == expected
    assert "finished before and put back" in capsys.readouterr().out


def test_a_student_that_was_altered_is_trained_again_and_not_put_back(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kept files are links to the altered ones: to delete a refused checkpoint must be enough."""
    expected = straight(AMD, checkpoints)
    file = checkpoints / "straight/student.safetensors"
    file.write_bytes(file.read_bytes()[:-8] + bytes(8))
    shutil.rmtree(checkpoints / "straight")
    distill(AMD.run(), checkpoints / "straight", checkpoints / "straight-state")
    assert made(checkpoints / "straight") == expected
    assert "put back" not in capsys.readouterr().out


def test_an_altered_milestone_is_made_again(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = straight(AMD, checkpoints)
    where = (checkpoints, AMD.run(), "out", "state")
    in_child(killed_attempt, *where, "step", 11)  # in iteration 4 of 4: milestone 2 is kept, states 2 and 3 rely on it
    file = checkpoints / "state" / "milestones" / "000002.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    distill(AMD.run(), checkpoints / "out", checkpoints / "state")
    assert made(checkpoints / "out") == expected
    assert "step-000003 refused: milestones/000002.safetensors is truncated or altered" in capsys.readouterr().err
