"""A state is whole or refused by name; the newest good one is resumed; an artefact is verified before it is read."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from amd.train.checkpoint import Refused, Session, artifact_sha, read_artifact, read_meta, write_artifact, write_tensors
from amd.train.weights import EMA, Trainable


class Small:
    """A module that trains with AdamW and an EMA, on data that is a function of the step."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1))
        self.net[0].bias.requires_grad_(False)
        self.ema = EMA(self.net, 0.9)
        self.optimiser = AdamW([p for p in self.net.parameters() if p.requires_grad], 1e-2, fused=True)

    def train(self, start: int, stop: int) -> None:
        for step in range(start, stop):
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
            self.optimiser.zero_grad()
            self.net(x).square().mean().backward()
            self.optimiser.step()
            self.ema.update()

    def save(self, session: Session, step: int, **more: object) -> Path:
        tensors = {"net": Trainable(self.net).state_dict(), "ema": self.ema.state_dict()}
        return session.save(step, tensors, {"net": self.optimiser}, **more)  # type: ignore[arg-type]

    def restore(self, session: Session) -> int:
        return session.restore({"net": Trainable(self.net), "ema": self.ema}, {"net": self.optimiser})

    @property
    def everything(self) -> list[Tensor]:
        moments = [value for state in self.optimiser.state.values() for value in state.values()]
        return [*self.net.state_dict().values(), *self.ema.shadow.values(), *moments]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_resumed_training_is_bitwise_uninterrupted_training(tmp_path: Path) -> None:
    straight, first, second = Small(), Small(), Small()
    straight.train(0, 10)
    first.train(0, 6)
    first.save(Session(tmp_path, "d"), 6, extra={"note": [1, "x"]})
    session = Session(tmp_path, "d")
    assert second.restore(session) == 6
    assert session.extra == {"note": [1, "x"]}
    second.train(6, 10)
    assert same(straight.everything, second.everything)


def test_an_empty_folder_restores_step_0_and_changes_nothing(tmp_path: Path) -> None:
    small, untouched = Small(), Small()
    assert small.restore(Session(tmp_path, "d")) == 0
    assert same(small.everything, untouched.everything)


def test_the_last_two_states_are_kept(tmp_path: Path) -> None:
    small, session = Small(), Session(tmp_path, "d", keep=2)
    for step in (1, 2, 3, 4):
        small.save(session, step)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["step-000003", "step-000004"]
    assert session.last_good == tmp_path / "step-000004"


def test_optimiser_state_loads_with_weights_only(tmp_path: Path) -> None:
    small = Small()
    small.train(0, 2)
    folder = small.save(Session(tmp_path, "d"), 2)
    assert torch.load(folder / "optim-net.pt", weights_only=True)["state"][0]["step"] == 2


@pytest.mark.parametrize("victim", ["net.safetensors", "ema.safetensors", "optim-net.pt", "meta.json"])
@pytest.mark.parametrize("harm", ["truncated", "altered", "missing"])
def test_a_harmed_state_is_refused_by_name_and_the_one_before_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], victim: str, harm: str
) -> None:
    small, expected, session = Small(), Small(), Session(tmp_path, "d")
    small.train(0, 3)
    small.save(session, 3)
    small.train(3, 5)
    folder = small.save(session, 5)
    raw = (folder / victim).read_bytes()
    if harm == "truncated":
        (folder / victim).write_bytes(raw[: len(raw) // 2])
    elif harm == "altered":  # one byte, in the last third: tensor data, or a digest in meta.json
        place = len(raw) - len(raw) // 3
        (folder / victim).write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    else:
        (folder / victim).unlink()
    fresh, again = Small(), Session(tmp_path, "d")
    assert fresh.restore(again) == 3
    said = capsys.readouterr().err
    assert "step-000005 refused" in said
    assert victim in said
    expected.train(0, 3)
    assert same(fresh.everything, expected.everything)
    fresh.train(3, 5)
    assert fresh.save(again, 5) == folder  # the refused one is replaced
    assert Small().restore(Session(tmp_path, "d")) == 5


def test_a_state_of_another_digest_is_never_used_and_never_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = Small()
    small.save(Session(tmp_path, "other"), 7)
    session = Session(tmp_path, "d")
    assert small.restore(session) == 0
    assert "digest other, this one is d" in capsys.readouterr().err
    for step in (1, 2, 3):
        small.save(session, step)
    assert (tmp_path / "step-000007").is_dir()


def test_a_state_whose_milestone_was_altered_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, session = Small(), Session(tmp_path, "d")
    small.save(session, 1)
    milestone = tmp_path / "milestones" / "000002.safetensors"
    digest = write_tensors(milestone, small.net.state_dict())
    small.save(session, 2, attached={"milestones/000002.safetensors": digest})
    assert small.restore(Session(tmp_path, "d")) == 2
    milestone.write_bytes(milestone.read_bytes()[:-4])
    assert small.restore(Session(tmp_path, "d")) == 1
    assert "milestones/000002.safetensors is truncated or altered" in capsys.readouterr().err


def test_a_half_written_state_is_never_looked_at(tmp_path: Path) -> None:
    small, session = Small(), Session(tmp_path, "d")
    small.save(session, 1)
    os.rename(tmp_path / "step-000001", tmp_path / "step-000002.part")
    assert small.restore(Session(tmp_path, "d")) == 0


def test_weights_of_another_shape_or_name_are_refused() -> None:
    small = Small()
    state = {name: tensor.clone() for name, tensor in small.ema.state_dict().items()}
    with pytest.raises(ValueError, match=r"missing \['0.weight'\], unexpected \['0.width'\]"):
        small.ema.load_state_dict({("0.width" if name == "0.weight" else name): t for name, t in state.items()})
    with pytest.raises(ValueError, match=r"0.weight has shape \(4, 2\), wanted \(4, 3\)"):
        small.ema.load_state_dict({**state, "0.weight": torch.zeros(4, 2)})


KILLED = """
import itertools, sys, torch
from amd.train.checkpoint import Session
session = Session(sys.argv[1], "d")
for step in itertools.count(session.restore({}) + 1):
    session.save(step, {"net": {"w": torch.full((200_000,), float(step))}})
    print(step, flush=True)
"""


def test_whatever_a_kill_leaves_behind_a_good_state_remains(tmp_path: Path) -> None:
    class Taker:
        value = 0.0

        def load_state_dict(self, state: dict[str, Tensor]) -> None:
            assert state["w"].unique().numel() == 1
            self.value = float(state["w"][0])

    lines = 0
    for wait in (3, 4, 6):  # killed right after different saves, the next one already begun
        script = (
            KILLED.replace("session.restore({})", "0")
            if not lines
            else KILLED.replace("session.restore({})", str(lines))
        )
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(wait):
            lines = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        taker = Taker()
        step = Session(tmp_path, "d").restore({"net": taker})
        assert step >= lines
        assert taker.value == step
        lines = step


# --- artefacts -------------------------------------------------------------------------------------------------------


def test_an_artefact_comes_back_as_it_was_written(tmp_path: Path) -> None:
    folder, net = tmp_path / "seed0", Small().net
    write_artifact(
        folder, {"student": net.state_dict(), "milestones/000010": net.state_dict()}, {"kind": "student", "seed": 0}
    )
    back = read_artifact(folder, "milestones/000010")
    assert all(torch.equal(back[name], tensor) for name, tensor in net.state_dict().items())
    meta = read_meta(folder)
    assert set(meta["files"]) == {"student.safetensors", "milestones/000010.safetensors"}  # type: ignore[arg-type]
    assert {"kind", "seed", "git_sha", "versions", "created"} <= set(meta)
    assert artifact_sha(folder) == artifact_sha(folder, "milestones/000010")
    assert not (tmp_path / "seed0.part").exists()


def test_a_copied_file_that_is_not_the_expected_one_leaves_nothing_in_place(tmp_path: Path) -> None:
    source = tmp_path / "m.safetensors"
    write_tensors(source, Small().net.state_dict())
    with pytest.raises(Refused, match=r"milestones/000001.safetensors was altered since it was made"):
        write_artifact(
            tmp_path / "a", {"milestones/000001": source}, {}, expected={"milestones/000001.safetensors": "0"}
        )
    assert not (tmp_path / "a").exists()


def test_tied_tensors_can_be_written(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    write_artifact(tmp_path / "a", {"teacher": {"x": weight, "y": weight.T}}, {"kind": "teacher"})
    back = read_artifact(tmp_path / "a", "teacher")
    assert torch.equal(back["x"].T, back["y"])


def test_an_artefact_that_was_altered_is_refused_by_name(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", {"student": Small().net.state_dict()}, {"kind": "student"})
    file = tmp_path / "a" / "student.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(Refused, match=r"a/student.safetensors: truncated or altered"):
        read_artifact(tmp_path / "a", "student")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished artefact"):
        read_artifact(tmp_path / "nothing", "student")
    write_artifact(tmp_path / "a", {"student": Small().net.state_dict()}, {"kind": "student"})
    with pytest.raises(Refused, match=r"holds no fake.safetensors; it holds student.safetensors"):
        read_artifact(tmp_path / "a", "fake")
    (tmp_path / "a" / "meta.json").write_text(json.dumps({"kind": "student"}))
    with pytest.raises(Refused, match="has no 'files'"):
        read_artifact(tmp_path / "a", "student")


def test_equal_tensors_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_artifact(tmp_path / name, {"student": Small().net.state_dict()}, {"kind": "student"})
    assert (tmp_path / "a/student.safetensors").read_bytes() == (tmp_path / "b/student.safetensors").read_bytes()
