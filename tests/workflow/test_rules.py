"""The rules keep the house's habits: a typed command each, no Python inside, and everything a job needs is declared."""

import re
from pathlib import Path

import pytest

from amd.__main__ import parser

RULES = sorted(Path("workflow/rules").glob("*.smk"))
GOALS = {"publish", "environment"}  # of no scale: one is done whenever it is asked for, one serves them all
COMMANDS = {"shard": "sample"}  # the rules that are not called as their verb is
VERBS = next(action for action in parser()._actions if action.choices).choices


def rules() -> dict[str, str]:
    """Every rule's text by its name."""
    found = {}
    for file in RULES:
        for part in re.split(r"^(?=rule \w+:)", file.read_text(), flags=re.M):
            if match := re.match(r"rule (\w+):", part):
                found[match[1]] = part
    return found


def test_every_rule_is_a_verb_of_the_command_line():
    measuring = {"reference", "sample", "shard", "gather", "score", "trace", "grid", "plane", "table", "figure"}
    assert set(rules()) == {"pretrain", "distill", "fetch", "track", "pull", *measuring, *GOALS}
    assert {COMMANDS.get(name, name) for name in rules()} <= set(VERBS)


@pytest.mark.parametrize("name", sorted(set(rules()) - GOALS))
def test_a_rule_says_what_it_does_where_it_logs_and_what_it_needs(name):
    text = rules()[name]
    for keyword in ("message:", "log:", "resources:", "threads:", "params:", "output:", "shell:"):
        assert keyword in text, f"rule {name} has no {keyword}"
    assert f'**footprint("{name}")' in text
    assert f'digest=digest("{name}")' in text
    assert "> {log} 2>&1" in text


@pytest.mark.parametrize("name", sorted(rules()))
def test_a_rules_command_can_be_typed(name):
    """The options it passes are the verb's own, and every required one is there."""
    text, verb = rules()[name], COMMANDS.get(name, name)
    command = "".join(re.findall(r'^\s+"(.*)"$', text[text.index("shell:") :], flags=re.M))
    assert re.match(rf"(python|\{{params\.launcher\}}) -m amd {verb} ", command)
    passed = set(re.findall(r"--(\w+)", command))
    known = {option.lstrip("-"): action for action in VERBS[verb]._actions for option in action.option_strings}
    assert passed <= set(known)
    assert {option for option, action in known.items() if action.required} <= passed


@pytest.mark.parametrize("file", [Path("Snakefile"), *RULES], ids=lambda path: path.stem)
def test_no_python_hides_in_a_rule(file):
    text = file.read_text()
    for forbidden in (r"\brun:", r"\bscript:", r"\blambda\b", r"\bretries:", r"\bnotebook:"):
        assert not re.search(forbidden, text), f"{file} has {forbidden}"


def test_one_table_of_rules_for_digests_and_files():
    from amd.config import plan

    assert set(plan.RULES) == set(rules()) - GOALS
