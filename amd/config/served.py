"""Which member of a text domain's panel serves a metric, and by what: known without torch, so refused at load.

A metric's key is a member's stem, perhaps after a category of the prompts: hpsv2, anime_hpsv2, average_hpsv2. GenEval's
seven keys are one member's.
"""

from collections.abc import Mapping
from typing import NamedTuple

from amd.config.schema import Domain

AVERAGE = "average"  # the category that is all of them
GENEVAL = "geneval"  # the stem of the member that serves the tasks
TASKS = {
    "overall": "overall",
    "single": "single_object",
    "two": "two_object",
    "count": "counting",
    "colors": "colors",
    "pos": "position",
    "attr": "color_attr",
}
"""Key of a table's column -> GenEval's name."""
PACKAGES = {"hpsv2": "hpsv2", "imagereward": "image-reward"}
"""Text scorer -> the environment (workflow/envs/) that holds its authors' package, for `scorer: package`."""


class Part(NamedTuple):
    """A metric's key taken apart."""

    key: str
    stem: str  # of the member that serves it
    category: str | None  # of the prompts, as the source calls it; None: all


def served(domain: Domain, benchmark: str) -> dict[str, Part]:
    """Every metric that the domain's panel can give of a benchmark's images."""
    found: dict[str, Part] = {}
    for stem in domain.panel:
        if stem == GENEVAL:
            found |= {key: Part(key, stem, None) for key in TASKS}
            continue
        found[stem] = Part(stem, stem, None)
        found |= {
            f"{name}_{stem}": Part(f"{name}_{stem}", stem, source) for name, source in _categories(domain, benchmark)
        }
    return found


def _categories(domain: Domain, benchmark: str) -> list[tuple[str, str | None]]:
    entry = domain.prompts.get(benchmark)
    named: Mapping[str, str] = entry.categories if entry else {}
    return [(AVERAGE, None), *named.items()]
