"""Whatever is wrong in config/ is said at load: file, key, value, and what would be right. By noun: test_refused_*."""

from collections.abc import Callable
from pathlib import Path

import pytest

from amd.config.load import ConfigError, load

Edit = Callable[[str, str, str], None]

LR = "  group: 8\n  lr: 2.0e-4\n  fake_lr: 2.0e-4\n"  # of the class track, in scales/tiny.yaml


def test_the_line_is_the_one_of_the_value(root: Path, edit: Edit):
    edit("systems/sit-amd.yaml", "  s: 0.5\n", "  # a comment\n\n  s: 1.5\n")
    line = (root / "systems/sit-amd.yaml").read_text().split("\n").index("  s: 1.5") + 1
    with pytest.raises(ConfigError, match=rf"systems/sit-amd\.yaml: numbers\.s \(line {line}\)"):
        load(root)


def test_a_value_that_was_inherited_is_shown_where_it_stands(root: Path, edit: Edit):
    edit("systems/sit-warm-short.yaml", "cfg_weight: 1.5", "cfg_weight: 0.5")
    with pytest.raises(ConfigError) as refusal:
        load(root)
    inherited = [line for line in refusal.value.problems if "systems/sit-amd.yaml: cfg_weight" in line]
    assert len(inherited) == 1
    assert "systems/sit-warm-short.yaml, line" in inherited[0]


def test_one_mistake_does_not_hide_another(root: Path, edit: Edit):
    edit("systems/sit-amd.yaml", "  s: 0.5\n", "  s: 1.5\n")
    edit("scales/tiny.yaml", LR, LR.replace("group: 8", "group: 0"))
    edit("domains/digits.yaml", "classes: 10", "classes: ten")
    with pytest.raises(ConfigError) as refusal:
        load(root)
    for file in ("systems/sit-amd.yaml", "scales/tiny.yaml", "domains/digits.yaml"):
        assert file in str(refusal.value)


def test_an_error_is_a_value_error():
    assert issubclass(ConfigError, ValueError)  # what a user wrote, not what we promised ourselves


def test_a_folder_without_config_says_where_to_stand(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config\.yaml: no such file; run from the repository's root"):
        load(tmp_path)


def test_an_anchor_that_holds_itself_ends(root: Path):
    (root / "tables/table4.yaml").write_text("rows: &all [*all]\n")
    with pytest.raises(ConfigError, match="an anchor may hold itself"):
        load(root)


@pytest.mark.parametrize(("text", "value"), [("2e-5", 2e-5), ("1.5e-3", 1.5e-3), (".5", 0.5), ("1", 1.0)])
def test_numbers_are_read_as_they_look(root: Path, edit: Edit, text: str, value: float):
    edit("scales/tiny.yaml", LR, LR.replace("lr: 2.0e-4", f"lr: {text}", 1))
    assert load(root).scales["tiny"].klass.lr == value


@pytest.mark.parametrize("word", ["on", "no", "yes", "2024-01-01"])
def test_words_stay_words(root: Path, edit: Edit, word: str):
    edit("systems/sit-amd.yaml", "title: AMD\n", f"title: {word}\n")
    assert load(root).systems["sit-amd"].title == word


def test_unknown_names_at_run_time_list_the_known(root: Path):
    library = load(root)
    with pytest.raises(ConfigError, match="'sit-amdd' is no system; did you mean 'sit-amd'"):
        library.run("sit-amdd", "tiny", 0)
    with pytest.raises(ConfigError, match="'tinny' is no scale; did you mean 'tiny'"):
        library.run("sit-amd", "tinny", 0)
    with pytest.raises(ConfigError, match="its stage is 'finetune'; it has no 'long'"):
        library.run("sit-amd", "tiny", 0, "long")
    with pytest.raises(ConfigError, match="a teacher has no stage 'ablation'"):
        library.run("sit-teacher", "tiny", 0, "ablation")


def test_a_chosen_domain_replaces_the_scales(root: Path, edit: Edit):
    edit("config.yaml", "domains: {}", "domains: {class: fashion}")
    library = load(root)
    assert library.run("sit-amd", "tiny", 0).domain.name == "fashion"
    assert library.run("sit-amd", "tiny", 0).judge.name == "fashion-judge"
