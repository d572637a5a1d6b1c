"""Stop, journal, progress, averages, and how a batch splits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from amd.train.devices import Ranks, alone
from amd.train.journal import Journal, read
from amd.train.progress import Progress
from amd.train.stop import Stop
from amd.train.weights import EMA, Trainable, frozen, rising, trainable


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_remembered_until_the_step_is_done(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)  # a shell's background job ignores SIGINT
    with Stop() as stop:
        assert stop.reason() is None
        os.kill(os.getpid(), number)
        assert stop.reason() == number.name
        with pytest.raises(SystemExit) as left:
            stop.leave(number.name, "saved step 3")
    assert left.value.code == 75
    assert "saved step 3" in capsys.readouterr().err
    assert signal.getsignal(number) == before


def test_a_repeated_signal_changes_nothing_but_an_impatient_interrupt_stops_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Stop() as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):  # a launcher passes on what its group also got
            os.kill(os.getpid(), number)
        assert stop.reason() == "SIGTERM"
        monkeypatch.setattr("amd.train.stop.PATIENCE_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_budget_keeps_room_for_the_longest_step_and_for_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("amd.train.stop.time.monotonic", lambda: now[0])
    stop = Stop(100.0)
    for now[0] in (10.0, 40.0, 50.0):  # the longest step took 30
        stop.stepped()
    assert stop.reason() is None
    now[0] = 69.0
    assert stop.reason() is None
    assert "budget of 100 s" in (stop.reason(reserve_s=1.0) or "")
    now[0] = 70.0
    assert stop.reason() is not None


def test_no_budget_is_no_limit() -> None:
    assert Stop(None).reason(1e9) is None


def test_a_resumed_journal_has_each_step_once_and_no_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal = Journal(file)
    for step in (2, 4, 6):
        journal.write(step, {"loss": torch.tensor(step / 2), "histogram": torch.tensor([0.25, 0.75])})
    with file.open("a") as stream:
        stream.write('{"step": 8, "lo')
    journal = Journal(file, resumed=4)
    journal.write(6, {"loss": 3.5})
    assert [(line["step"], line["loss"]) for line in read(file)] == [(2, 1.0), (4, 2.0), (6, 3.5)]
    assert read(file)[0]["histogram"] == [0.25, 0.75]


def test_a_number_that_is_not_finite_keeps_the_journal_json(tmp_path: Path) -> None:
    Journal(tmp_path / "j").write(1, {"loss": float("nan")})
    assert json.loads((tmp_path / "j").read_text()) == {"step": 1, "loss": "nan"}


def test_where_there_is_no_terminal_progress_is_lines_with_an_eta(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("sit-x seed 0", 10, 4, every_s=0.0) as progress:
        progress.step(reward=-0.5)
    said = capsys.readouterr().err
    assert "sit-x seed 0: 5/10" in said
    assert "s left, reward -0.5" in said


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("x", 2, quiet=True, every_s=0.0) as progress:
        progress.step()
        progress.say("event")
    assert capsys.readouterr().err == ""


def test_an_average_forgets_a_far_start_and_ends_at_its_decay() -> None:
    left = 1.0
    for done in range(40):
        left *= rising(0.95, done)
    assert left < 1e-9  # of the start, after as few updates as a short stage has; 0.13 with a constant decay
    assert rising(0.95, 10_000) == 0.95
    assert rising(0.0, 10_000) == 0.0


def test_ema_is_the_exponential_moving_average() -> None:
    net = nn.Linear(2, 1)
    first = net.weight.detach().clone()
    ema = EMA(net, 0.75)
    with torch.no_grad():
        net.weight.add_(1.0)
    ema.update()
    ema.update()
    expected = first + (1 - 0.75**2)  # after n updates at a constant target, 1 - decay^n of the way
    torch.testing.assert_close(ema.shadow["weight"], expected, rtol=0, atol=1e-6)
    assert torch.equal(ema.complete(net)["weight"], ema.shadow["weight"])
    assert torch.equal(net.weight.detach(), first + 1.0)


def test_trainable_is_what_requires_grad_and_each_once() -> None:
    net = nn.Linear(2, 1)
    net.bias.requires_grad_(False)
    assert set(Trainable(net).state_dict()) == {"weight"}
    assert len(trainable(net, net)) == 1
    with pytest.raises(ValueError, match="Linear has no trainable parameter"):
        Trainable(net.requires_grad_(False))


def test_gradient_flows_through_frozen_parameters_but_not_into_them() -> None:
    net, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(list(net.parameters())):
        y = net(x)
    y.sum().backward()
    assert net.weight.grad is None
    assert x.grad is not None
    assert torch.equal(x.grad, net.weight.detach())
    assert net.weight.requires_grad


@pytest.mark.parametrize(
    ("world", "batch", "rows", "group", "parts"),
    [
        (1, 16, 16, 4, 1),
        (1, 16, 8, 4, 2),
        (1, 16, 7, 4, 4),  # 3 parts do not divide 16
        (2, 16, 8, 4, 1),
        (2, 16, 64, 4, 1),  # fewer rows per process than micro_batch
        (4, 16, 2, 8, 2),  # a group spans ranks
        (2, 8, 4, 8, 1),  # one group over both ranks
    ],
)
def test_accumulation_is_derived(world: int, batch: int, rows: int, group: int, parts: int) -> None:
    assert Ranks(0, world, torch.device("cpu")).micro(batch, rows, group) == parts


@pytest.mark.parametrize(
    ("world", "batch", "rows", "group", "said"),
    [(3, 16, 16, 4, "does not split over 3 processes"), (1, 16, 3, 8, "whole groups of 8")],
)
def test_a_batch_that_does_not_split_is_refused(world: int, batch: int, rows: int, group: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Ranks(0, world, torch.device("cpu")).micro(batch, rows, group)


def test_alone_there_is_nothing_to_agree_on() -> None:
    ranks, rows = alone(), torch.arange(3)
    assert ranks.main
    assert ranks.gather(rows) is rows
    assert ranks.most(2) == 2
    assert ranks.collect("x") == ["x"]


def test_freed_memory_is_kept_and_not_faulted_in_again() -> None:
    def faults(prepare: str) -> int:
        code = f"""
import resource, torch
from amd.train.threads import keep_freed_memory
{prepare}
def layers(): return [torch.ones(1 << 19) for _ in range(64)]  # 128 MiB in pieces, as activations are, then freed
for _ in range(4): layers()  # the heap finds its size
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): layers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    pages = 5 * 128 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    if faults("") < pages / 10:
        pytest.skip("this C library keeps freed memory anyway, or the kernel's pages are large")
    assert faults("assert keep_freed_memory()") < pages / 100
