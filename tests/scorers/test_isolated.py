"""Published packages in environments of their own: the way to them, and that ours give the same numbers."""

import hashlib
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from layouts import MED, PROMPTS, WORDS, reward_weights

from amd.config import plan
from amd.config.load import Run, load
from amd.config.schema.assets import Asset, Scorer
from amd.config.served import PACKAGES
from amd.data.prompts import PromptSet
from amd.measure import isolated
from amd.measure.isolated import Environment, NotMade, PackageScorer, find, make, package, recipe, score
from amd.measure.panel import Asked, Panel, build_panel
from amd.measure.text import write_records
from amd.rewards.text import TextMaterial, TextScorer, text_scorer

NAMES = sorted(path.parent.name for path in isolated.RECIPES.glob("*/requirements.txt"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No file of these tests is recorded in the user's cache."""
    monkeypatch.setenv("AMD_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def echo(tmp_path, monkeypatch) -> Environment:
    """An environment that is this very Python, and a scorer that measures prompts and images."""
    folder = tmp_path / "envs"
    (folder / "echo").mkdir(parents=True)
    for name in ("score.py", "build.txt"):
        shutil.copyfile(isolated.RECIPES / name, folder / name)
    (folder / "echo" / "requirements.txt").write_text("")
    (folder / "echo" / "scorer.py").write_text(
        "from PIL import Image\n"
        "def build(files, settings, device):\n"
        "    def score(file, prompt):\n"
        "        with Image.open(file) as image:\n"
        "            return float(eval(settings.get('value', 'image.getpixel((1, 0))[2] + 1000 * len(prompt)')))\n"
        "    return score, 'none'\n"
    )
    monkeypatch.setattr(isolated, "RECIPES", folder)
    return Environment("echo", Path(sys.executable), recipe("echo"), {"echo": "1.0"})


def test_images_and_prompts_arrive_in_pairs_and_exactly(echo, tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"some")
    scorer = PackageScorer(echo, {"weights": weights}, {})
    assert isinstance(scorer, TextScorer)
    assert not scorer.differentiable
    levels = torch.arange(256).float().view(-1, 1, 1, 1).expand(-1, 3, 4, 4) / 127.5 - 1
    prompts = ["x" * (1 + index % 3) for index in range(256)]
    expected = [index + 1000 * len(prompt) for index, prompt in enumerate(prompts)]
    assert scorer(levels, prompts).tolist() == expected
    assert scorer.preprocessing == f"package echo-1.0, environment {echo.recipe[:12]}"
    assert scorer.revision == hashlib.sha256(b"some").hexdigest()


def test_a_prompt_is_never_on_a_command_line_and_may_hold_anything(echo, tmp_path, monkeypatch):
    """Quotes, line breaks, dollars: it goes through a file."""
    weights, commands = tmp_path / "weights.pt", []
    weights.write_bytes(b"some")
    run = isolated.run
    monkeypatch.setattr(isolated, "run", lambda command: (commands.append(command), run(command))[1])
    wild = 'a "cat" \'; rm -rf $HOME\n{"index": 7}\u2028é'
    values = PackageScorer(echo, {"weights": weights}, {})(torch.zeros(1, 3, 4, 4), [wild])
    assert values.tolist() == [128 + 1000 * len(wild)]
    assert not any("cat" in word for command in commands for word in command)


def test_a_package_that_fails_is_quoted(echo, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"score\.py.*failed \(1\)[\s\S]*ZeroDivisionError"):
        score(echo, {"weights": tmp_path / "w.pt"}, {"value": "1 / 0"}, [_image(tmp_path)], ["one"])


def test_a_number_that_is_none_is_refused(echo, tmp_path):
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="'echo': sample 0 scored nan"):
        score(echo, {"weights": tmp_path / "w.pt"}, {"value": "'nan'"}, [_image(tmp_path)], ["one"])


def test_records_are_one_per_sample_in_order_of_the_weights_that_were_meant():
    row = {"index": 0, "value": 1.0, "revision": "a", "preprocessing": ""}
    assert isolated._checked([row, {**row, "index": 1}], 2, "a", "x") == [1.0, 1.0]
    with pytest.raises(ValueError, match="scored 1 samples, asked were 2"):
        isolated._checked([row], 2, "a", "x")
    with pytest.raises(ValueError, match="read weights a, meant were b"):
        isolated._checked([row], 1, "b", "x")


def test_an_environment_is_finished_by_its_stamp_and_made_by_its_recipe(echo, tmp_path):
    folder = tmp_path / "echo"
    with pytest.raises(NotMade, match="no finished environment 'echo'; make it by `make envs ENVS=echo`"):
        find("echo", folder)
    folder.mkdir()
    said = {"recipe": recipe("echo"), "packages": {}}
    (folder / "environment.json").write_text(json.dumps(said))
    assert find("echo", folder).python == folder / "bin" / "python"
    (isolated.RECIPES / "echo" / "scorer.py").write_text("")  # how it is asked, not what it is made of
    find("echo", folder)
    with (isolated.RECIPES / "echo" / "requirements.txt").open("a") as file:
        file.write("six==1.17.0\n")
    with pytest.raises(NotMade, match="made from another recipe"):
        find("echo", folder)
    with pytest.raises(ValueError, match=r"no environment 'eco' in .*; there are echo"):
        recipe("eco")


def test_an_environment_is_made_from_nothing_and_finished_last(echo, tmp_path):
    """A real venv, of a recipe that asks for no package: hidden from this one's, and left unfinished by a failure."""
    own, folder = isolated.RECIPES / "echo", tmp_path / "made"
    (isolated.RECIPES / "build.txt").write_text("# nothing\n")
    (own / "requirements.txt").write_text("# nothing\n")
    (own / "finish.py").write_text("raise SystemExit('not finished')")
    with pytest.raises(RuntimeError, match=r"failed \(1\):\nnot finished"):
        make("echo", folder)
    with pytest.raises(NotMade, match="no finished environment"):
        find("echo", folder)
    hidden = "from importlib.util import find_spec\nassert find_spec('pip') and not find_spec('torch')\n"
    (own / "finish.py").write_text(hidden)
    made_here = make("echo", folder)
    assert made_here.python.is_file()
    assert "pip" in made_here.packages
    assert made_here == find("echo", folder)
    said = json.loads((folder / "environment.json").read_text())
    assert said["bytes"] > 1e6


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_pinned_and_hashed_to_the_last_package(name):
    lines = [line for line in (isolated.RECIPES / name / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    pins = {}
    for line in lines:
        found = re.fullmatch(r"([a-z0-9-]+)==([A-Za-z0-9.]+) --hash=sha256:[0-9a-f]{64}", line)
        assert found, line
        pins[found[1]] = found[2]
    assert len(pins) == len(lines) > 50
    asked = (isolated.RECIPES / name / "requirements.in").read_text()
    for package_name, version in re.findall(r"^([a-z-]+)==(\S+)", asked, flags=re.M):
        assert pins[package_name] == version


def test_every_package_has_a_recipe_and_its_scorer():
    for name in PACKAGES.values():
        assert name in NAMES
        assert (isolated.RECIPES / name / "scorer.py").is_file()


def test_a_scorer_without_an_environment_is_answered_with_those_that_have_one():
    with pytest.raises(ValueError, match="'pickscore' has no environment of its own; these have: hpsv2, imagereward"):
        package("pickscore", TextMaterial())


def judged_by(folder: Path, stem: str, **said: Any) -> Run:
    """The paper's teacher, one member of whose panel reads files of `folder` and is what `said` makes of it."""
    run = load(Path(__file__).parents[2] / "config").run("sdxl-teacher", "paper", 0)
    files = [Asset(file=path.name) for path in sorted(folder.iterdir()) if path.is_file()]
    member = Scorer.model_validate({"name": stem, "assets": files} | said)
    domain = run.domain.model_copy(update={"panel": {stem: member}, "metrics": {stem: stem}})
    return replace(run, domain=domain, mirror=str(folder))


def looked(run: Run, images: torch.Tensor, prompts: list[str]) -> tuple[list[float], Panel, Asked]:
    """A panel's column of its only member, as a score job asks for it."""
    benchmark = load(Path(__file__).parents[2] / "config").benchmarks["drawbench"]
    panel = build_panel(run, benchmark, torch.device("cpu"))
    asked = Asked(PromptSet(tuple(prompts)), torch.arange(len(prompts)))
    (column,) = panel.look(images, asked).values()
    return column, panel, asked


def test_one_line_of_a_panel_asks_the_package_once_for_all_images(tmp_path, echo, monkeypatch):
    """Twelve images at four a batch: one process. Its records say what was asked, and in which environment."""
    import pyarrow.parquet as pq

    shutil.copytree(isolated.RECIPES / "echo", isolated.RECIPES / "hpsv2")
    made_here, weights = tmp_path / "made" / "hpsv2", tmp_path / "weights"
    (made_here / "bin").mkdir(parents=True)
    (made_here / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (made_here / "bin" / "python").chmod(0o755)
    (made_here / "environment.json").write_text(json.dumps({"recipe": recipe("hpsv2"), "packages": {"hpsv2": "1.2.0"}}))
    monkeypatch.setattr(isolated, "ENVIRONMENTS", made_here.parent)
    weights.mkdir()
    (weights / "HPS_v2.1_compressed.pt").write_bytes(b"some")
    commands, ask = [], isolated.run
    monkeypatch.setattr(isolated, "run", lambda command: (commands.append(command), ask(command))[1])
    run = judged_by(weights, "hpsv2", scorer="package", settings={"version": "v2.1"}, times=100.0)
    images = torch.arange(12, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    assert len(images) > run.sizes.sample_batch
    column, panel, asked = looked(run, images, ["x"] * 12)
    assert column == [index + 1000.0 for index in range(12)]
    assert len(commands) == 1
    assert panel.numbers({"hpsv2": column}, asked) == {"hpsv2": 100 * (5.5 + 1000)}
    said = {"hpsv2": f"package hpsv2-1.2.0, environment {recipe('hpsv2')[:12]}"}
    assert panel.preprocessing == said
    write_records(tmp_path / "records.parquet", asked, {"hpsv2": column}, panel.preprocessing)
    assert json.loads(pq.read_schema(tmp_path / "records.parquet").metadata[b"preprocessing"]) == said
    assert pq.read_table(tmp_path / "records.parquet")["hpsv2"].to_pylist() == column


def test_who_asks_for_a_package_has_another_digest_and_waits_for_its_environment(tmp_path):
    library = load(Path(__file__).parents[2] / "config")
    run, benchmark = library.run("sdxl-teacher", "paper", 0), library.benchmarks["drawbench"]
    assert plan.environments(run, benchmark) == []
    panel = run.domain.panel | {"hpsv2": run.domain.panel["hpsv2"].model_copy(update={"scorer": "package"})}
    other = replace(run, domain=run.domain.model_copy(update={"panel": panel}))
    assert plan.environments(other, benchmark) == ["hpsv2"]
    assert plan.environments(other, library.benchmarks["geneval"]) == []
    assert plan.reference_digest(other, benchmark) != plan.reference_digest(run, benchmark)


def _image(folder: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(folder / "image.png")
    return folder / "image.png"


@pytest.mark.slow  # the package takes half a minute to import on a busy machine
@pytest.mark.parametrize("size", [(224, 224), (300, 427)])
def test_hpsv2s_package_and_ours_agree(made, tmp_path, pixels, size):
    """On random weights of the smallest network that both have; the package resizes tensors, as we do."""
    import open_clip

    made("hpsv2")
    torch.manual_seed(0)
    network = open_clip.create_model("ViT-S-32-alt")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "HPS_v2.1_compressed.pt")
    settings = {"version": "v2.1", "architecture": "ViT-S-32-alt"}
    images = ((pixels(*size) + 1) * 127.5).round().to(torch.uint8)
    ours, theirs = (
        torch.tensor(looked(judged_by(tmp_path, "hpsv2", scorer=which, settings=settings), images, PROMPTS)[0])
        for which in ("own", "package")
    )
    assert float(theirs.std()) > 1e-4  # else nothing is compared
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # float32, another torchvision call


@pytest.mark.slow
def test_image_rewards_package_and_ours_agree(made, tmp_path, pixels):
    """Its image tower has one size, ViT-L/16; two layers of its text encoder do. Its MLP reads 768 numbers."""
    made("image-reward")
    med = {**MED, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 128}
    torch.save(reward_weights(1024, 24, 224, med, scale=0.03), tmp_path / "ImageReward.pt")
    (tmp_path / "med_config.json").write_text(json.dumps(med))
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    material = TextMaterial([tmp_path])
    theirs, ours = package("imagereward", material), text_scorer("imagereward", material)
    assert theirs.revision == ours.revision
    x = pixels(224, 224)  # its own side: no resize
    a, b = ours(x, PROMPTS), theirs(x, PROMPTS)
    assert float(b.std()) > 1e-4  # else nothing is compared
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)  # float32
