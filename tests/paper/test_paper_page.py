"""PAPER.md is about this code: what it names exists, and it leaves no equation and no line of Algorithm 1 out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "PAPER.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:amd|tests|config|workflow)/[\w./-]+)(?::(\w+))?`", PAGE)))


@cache
def defined(file: str) -> frozenset[str]:
    """Functions, classes and constants of a module."""
    names: set[str] = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return frozenset(names)


def numbers(section: str) -> list[int]:
    """What stands in the first column of a section's table, "15, 16, 17" taken apart."""
    body = PAGE.split(section, 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| ((?:\d+(?:, )?)+) \|", body, re.MULTILINE)
    return [int(number) for cell in cells for number in cell.split(", ")]


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda part: part)
def test_what_the_page_names_exists(file: str, name: str) -> None:
    assert (ROOT / file).exists()
    if name:
        assert name in defined(file)


def test_the_page_names_many() -> None:
    """The pattern above finds what it is meant to find."""
    assert len(NAMED) > 70
    assert ("amd/distill/operator.py", "adaptive") in NAMED
    assert "adaptive" in defined("amd/distill/operator.py")
    assert "METHODS" in defined("amd/distill/methods.py")
    assert "no_such_thing" not in defined("amd/distill/methods.py")


def test_every_equation_has_its_row() -> None:
    assert numbers("## 2. Every equation\n") == list(range(1, 29))


def test_every_line_of_algorithm_1_has_its_row() -> None:
    assert sorted(numbers("## 3. Algorithm 1\n")) == list(range(1, 24))


def test_slips_are_numbered_through() -> None:
    items = re.findall(r"^(\d+)\. ", PAGE.split("## 8. Misprints and slips\n", 1)[1], re.MULTILINE)
    assert [int(item) for item in items] == list(range(1, len(items) + 1))


def test_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(#([^)]+)\)", PAGE):
        assert link in anchors
