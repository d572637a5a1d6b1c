"""What is wrong with a problem of the plane."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from amd.config.checks.systems import belongs
from amd.config.schema.problem import Problem

if TYPE_CHECKING:
    from amd.config.load import Library

MODES = {"ring8": 8, "grid9": 9}


def of_problem(library: "Library", problem: Problem) -> Iterator[str]:
    """A problem of the plane."""
    document, modes = library.documents["problems"][problem.name], MODES[problem.mixture]
    for title, name in problem.methods.items():
        yield from belongs(library, document.at("methods", title), name, "plane", "plane")
    for i, mode in enumerate(problem.good):
        if not 0 <= mode < modes:
            yield f"{document.at('good', i)}: {mode} is no mode of {problem.mixture}; modes are 0 to {modes - 1}"
    if problem.reward == "selective" and not 0 < len(set(problem.good)) < modes:
        yield f"{document.at('good')}: {problem.good}; a selective reward likes some modes and not all"
    if problem.group == 1:
        here = document.at("group")
        yield f"{here}: 1 will not do: one sample has no spread (Eq. 12); leave it out for the whole batch"
