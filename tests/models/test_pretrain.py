"""Teachers and classifiers from scratch at scale smoke: they learn, and they resume bit for bit."""

import dataclasses
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from amd.config.load import Run, load
from amd.config.schema.assets import Asset, PublishedTeacher
from amd.data.sources import half, images
from amd.distill.path import shifted
from amd.rewards import classifier
from amd.train import pretrain as module
from amd.train.artifact import read_artifact, read_meta
from amd.train.journal import read
from amd.train.networks import blank
from amd.train.pretrain import optimisers_of, pretrain
from amd.train.pretrain_tasks import jittered, teacher_task

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="session")
def library():
    return load(CONFIG)


def sized(run: Run, **numbers) -> Run:
    """The run with other numbers of pretraining, or another network."""
    kind = run.system.kind
    sizes = getattr(run.scale.klass, kind).model_copy(update=numbers)
    scale = run.scale.model_copy(update={"klass": run.scale.klass.model_copy(update={kind: sizes})})
    return dataclasses.replace(run, scale=scale)


@pytest.mark.parametrize(
    ("system", "numbers"),
    [("sit-teacher", {}), ("sit-teacher", {"muon": 0.02}), ("digits-reward", {}), ("digits-judge", {})],
)
def test_a_killed_run_resumes_to_the_same_bits(library, tmp_path, monkeypatch, system, numbers):
    run = sized(library.run(system, "smoke", 0), iterations=6, **numbers)
    kind = run.system.kind
    pretrain(run, tmp_path / "whole", tmp_path / "whole-state")

    task, calls = module.TASKS[kind], []

    def dying(run, device):
        made = task(run, device)

        def loss(noise):
            calls.append(noise.iteration)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return made.loss(noise)

        return made._replace(loss=loss)

    monkeypatch.setitem(module.TASKS, kind, dying)
    monkeypatch.setattr(module, "SAVE_S", 0.0)  # a state after every iteration
    with pytest.raises(KeyboardInterrupt):
        pretrain(run, tmp_path / "killed", tmp_path / "state")
    assert not (tmp_path / "killed").exists()
    pretrain(run, tmp_path / "killed", tmp_path / "state")
    assert calls == [0, 1, 2, 3, 3, 4, 5]
    one, two = (read_artifact(tmp_path / name, kind) for name in ("whole", "killed"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not list((tmp_path / "state").glob("step-*"))


def test_a_budget_ends_with_exit_75_and_a_state(library, tmp_path):
    run = sized(library.run("digits-reward", "smoke", 0), iterations=10_000)
    with pytest.raises(SystemExit) as stopped:
        pretrain(run, tmp_path / "out", tmp_path / "state", budget_s=1.0)
    assert stopped.value.code == 75
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "state").glob("step-*"))


def test_muon_moves_the_matrices_of_blocks_and_adamw_the_rest(library):
    run = library.run("sit-teacher", "smoke", 0)
    module, sizes = blank(run), run.scale.klass.teacher
    every = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    found = optimisers_of(module, sizes.model_copy(update={"muon": 0.02}), 0.0)
    moved = {role: [every[id(p)] for group in it.param_groups for p in group["params"]] for role, it in found.items()}
    assert sorted(moved["weights"] + moved["matrices"]) == sorted(every.values())
    assert {name.split(".")[3] for name in moved["matrices"]} == {"attn", "mlp", "adaLN_modulation"}
    assert list(optimisers_of(module, sizes, 0.0)) == ["weights"]


def test_muon_is_refused_where_no_block_has_matrices(library):
    run = library.run("digits-reward", "smoke", 0)
    module = classifier.Classifier(run.system.architecture, 10, 1)
    with pytest.raises(ValueError, match=r"muon 0\.02: a Classifier has no transformer blocks"):
        optimisers_of(module, run.scale.klass.classifier.model_copy(update={"muon": 0.02}), 0.01)


def test_a_loss_that_is_not_finite_stops_before_anything_moves(library, tmp_path, monkeypatch):
    run = sized(library.run("sit-teacher", "smoke", 0), iterations=5)
    task, held = module.TASKS["teacher"], {}

    def broken(run, device):
        made = task(run, device)

        def loss(noise):
            held.setdefault(noise.iteration, [p.detach().clone() for p in made.module.parameters()])
            held["module"] = made.module
            return made.loss(noise) * (math.nan if noise.iteration == 2 else 1)

        return made._replace(loss=loss)

    monkeypatch.setitem(module.TASKS, "teacher", broken)
    with pytest.raises(
        FloatingPointError, match=r"sit-teacher seed 0: loss nan.*iteration 3.*last good state: none yet"
    ):
        pretrain(run, tmp_path / "out", tmp_path / "state")
    assert all(torch.equal(a, b) for a, b in zip(held[2], held["module"].parameters(), strict=True))
    assert not (tmp_path / "out").exists()


def test_flow_matching_learns(library, tmp_path):
    """The EMA network's loss on fresh noise is well under the loss of knowing nothing, mean |x - eps|^2."""
    run = sized(library.run("sit-teacher", "smoke", 0), iterations=60, batch=64, lr=5e-3, ema=0.9)
    pretrain(run, tmp_path / "out", tmp_path / "state")
    task = teacher_task(run, torch.device("cpu"))
    noise = module.Noise(99, 0, 256)
    with torch.no_grad():
        before = float(task.loss(noise))
        task.module.load_state_dict(read_artifact(tmp_path / "out", "teacher"))
        after = float(task.loss(noise))
    assert after < 0.7 * before
    journal = read(tmp_path / "state" / "journal.jsonl")
    assert [line["step"] for line in journal] == [50]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["digits-reward", "digits-judge"])
def test_classifiers_know_the_half_they_never_saw(library, tmp_path, system):
    run = library.run(system, "tiny", 0)
    pretrain(run, tmp_path / "out", tmp_path / "state")
    meta = read_meta(tmp_path / "out")
    x, label = images("mnist5k")
    network = classifier.load(run.system.architecture, 10, 1, read_artifact(tmp_path / "out", "classifier"))
    other = half(label, 1 - run.system.half)
    found = classifier.accuracy(network, x[other], label[other])
    assert meta["accuracy"]["other half"] == pytest.approx(found)
    assert found > 0.95


def test_meta_says_what_it_is(library, tmp_path):
    run = sized(library.run("digits-judge", "smoke", 0), iterations=2)
    pretrain(run, tmp_path / "out", tmp_path / "state")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert (meta["kind"], meta["system"], meta["scale"], meta["seed"]) == ("classifier", "digits-judge", "smoke", 0)
    assert (meta["digest"], meta["iterations"]) == (run.digest, 2)
    assert set(meta["accuracy"]) == {"own half", "other half"}


def test_labels_are_dropped_at_the_rate_asked_for(library, monkeypatch):
    run = sized(library.run("sit-teacher", "smoke", 0), label_dropout=0.25)
    task, seen = teacher_task(run, torch.device("cpu")), []
    monkeypatch.setattr(
        task.module, "native_loss", lambda x, eps, t, cond: seen.append(cond["label"]) or x.flatten(1).sum(1)
    )
    task.loss(module.Noise(0, 0, 4096))
    share = float((seen[0] == 10).float().mean())
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 4096) ** 0.5  # five standard deviations


def test_a_teacher_of_clips_sees_as_many_stills_as_a_batch_has_frames(library, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = library.run("wan-teacher", "smoke", 0)
    sizes = run.scale.video.teacher.model_copy(update={"iterations": 2, "stills": 1})
    video = run.scale.video.model_copy(update={"teacher": sizes, "clips": 8})
    run = dataclasses.replace(run, scale=run.scale.model_copy(update={"video": video}))
    task, seen = teacher_task(run, torch.device("cpu")), []
    monkeypatch.setattr(task.module, "native_loss", lambda x, eps, t, cond: seen.append(x) or x.flatten(1).sum(1))
    for done in range(2):
        task.loss(module.Noise(0, done, task.batch(done)))
    stills, clips = seen
    frames = clips.shape[2]
    assert frames == run.domain.latent_shape[1]
    assert stills.shape == (sizes.batch * frames, stills.shape[1], 1, *clips.shape[3:])
    assert clips.shape[0] == sizes.batch


def test_a_teacher_s_times_may_lean_towards_noise(library, monkeypatch):
    """The same draws, moved as all other times are: at shift 3 half of them see a quarter of x or less."""
    run, seen = library.run("sit-teacher", "smoke", 0), []
    for shift in (None, 3.0):
        task = teacher_task(sized(run, shift=shift), torch.device("cpu"))
        monkeypatch.setattr(task.module, "native_loss", lambda x, eps, t, cond: seen.append(t) or x.flatten(1).sum(1))
        task.loss(module.Noise(0, 0, 4096))
    plain, leaning = seen
    assert torch.equal(leaning, shifted(plain, 3.0))
    assert abs(float((leaning < 0.25).float().mean()) - 0.5) < 5 * 0.5 / 4096**0.5  # five standard deviations


def test_jittering_moves_rows_and_fills_with_black():
    x = torch.rand(3, 2, 4, 4)
    moved = jittered(x, torch.tensor([0, 1, -1]), torch.tensor([0, -1, 1]))
    assert torch.equal(moved[0], x[0])
    assert torch.equal(moved[1, :, 1:, :-1], x[1, :, :-1, 1:])
    assert torch.equal(moved[2, :, :-1, 1:], x[2, :, 1:, :-1])
    assert (moved[1, :, 0] == -1).all()
    assert (moved[1, :, :, -1] == -1).all()


def test_a_published_teacher_is_converted_and_says_where_it_is_from(public, tmp_path, library, monkeypatch):
    monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))
    weights = public.weights(5, variance=True)
    torch.save({"ema": weights}, tmp_path / "SiT.pt")
    run = library.run("sit-teacher", "smoke", 0)
    sizes = run.scale.klass.model_copy(update={"network": public.size})
    domain = run.domain.model_copy(
        update={
            "classes": public.classes,
            "latents": (public.channels, public.side),
            "teacher": PublishedTeacher(asset=Asset(file="SiT.pt"), layout="sit"),
        }
    )
    scale = run.scale.model_copy(update={"klass": sizes})
    pretrain(
        dataclasses.replace(run, scale=scale, domain=domain, mirror=str(tmp_path)), tmp_path / "out", tmp_path / "s"
    )
    found = read_artifact(tmp_path / "out", "teacher")
    assert torch.equal(found["network.blocks.2.mlp.fc1.weight"], weights["blocks.2.mlp.fc1.weight"])
    meta = read_meta(tmp_path / "out")
    assert meta["made_from"]["published"]["file"] == "SiT.pt"
    assert len(meta["made_from"]["published"]["sha256"]) == 64


def test_students_are_not_pretrained(library, tmp_path):
    with pytest.raises(ValueError, match=r"sit-amd: kind student"):
        pretrain(library.run("sit-amd", "smoke", 0), tmp_path / "out", tmp_path / "state")


SCRIPT = """
import pickle, sys
from pathlib import Path
from amd.train.pretrain import pretrain
folder = Path(sys.argv[1])
pretrain(pickle.loads((folder / "run").read_bytes()), folder / "two", folder / "two-state")
"""


def test_two_processes_give_the_teacher_of_one(library, tmp_path):
    run = sized(library.run("sit-teacher", "smoke", 0), iterations=4)
    pretrain(run, tmp_path / "one", tmp_path / "one-state")
    (tmp_path / "run").write_bytes(pickle.dumps(run))
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, tmp_path / "script.py", tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (read_artifact(tmp_path / name, "teacher") for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5  # float32: means of halves, averaged
