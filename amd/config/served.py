"""Which member of a domain's panel serves a metric, and by what: known without torch, so refused at load.

A metric's key is a member's stem, perhaps after a category of the prompts: hpsv2, anime_hpsv2, average_hpsv2. GenEval's
seven keys are one member's, as are VBench's dimensions with their totals, and VideoAlign's three parts with their sum.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from amd.config.schema.assets import Scorer
from amd.config.schema.domain import Domain

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
VBENCH = (
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness", "dynamic_degree"),
    *("aesthetic_quality", "imaging_quality", "object_class", "multiple_objects", "human_action", "color"),
    *("spatial_relationship", "scene", "appearance_style", "temporal_style", "overall_consistency"),
)
FLICKERING = "temporal_flickering"
VBENCH_SETTINGS = ("without", "still")
"""What VBench's package may be told: dimensions that are not measured, and of how many still clips FLICKERING is."""
VBENCH_I2V = (
    *("camera_motion", "i2v_subject", "i2v_background", "subject_consistency", "background_consistency"),
    *("motion_smoothness", "dynamic_degree", "aesthetic_quality", "imaging_quality"),
)
VIDEOALIGN = ("vq", "mq", "ta", "overall")
"""Tables call the last Total, VideoAlign overall; VBench has a total too."""
SEVERAL: dict[str, tuple[str, ...]] = {
    GENEVAL: tuple(TASKS),
    "vbench": (*VBENCH, "quality", "semantic", "total"),
    "vbench-i2v": (*VBENCH_I2V, "quality", "i2v", "total"),
}
"""Stem of a member that serves several metrics -> their keys; each is over the prompts that it is asked of."""
ALIGNED = ("videoalign", "clip-align")
"""Stems of members that serve VIDEOALIGN's metrics, of all prompts or of a category: vq, animal_vq."""
FPS = {"videoalign": 16}
"""Scorer of clips of ours -> the frames per second that it takes them to have where `settings.fps` says nothing."""
PACKAGES = {
    "hpsv2": "hpsv2",
    "imagereward": "image-reward",
    "vbench": "vbench",
    "vbench-i2v": "vbench",
    "videoalign": "videoalign",
}
"""Scorer -> the environment (workflow/envs/) that holds its authors' package, for `scorer: package`."""


class Part(NamedTuple):
    """A metric's key taken apart."""

    key: str
    stem: str  # of the member that serves it
    category: str | None  # of the prompts, as the source calls it; None: all


def served(domain: Domain, benchmark: str) -> dict[str, Part]:
    """Every metric that the domain's panel can give of a benchmark's images."""
    found: dict[str, Part] = {}
    for stem in domain.panel:
        if stem in SEVERAL:
            found |= {key: Part(key, stem, None) for key in SEVERAL[stem]}
            continue
        for key in VIDEOALIGN if stem in ALIGNED else (stem,):
            found[key] = Part(key, stem, None)
            found |= {
                f"{name}_{key}": Part(f"{name}_{key}", stem, source) for name, source in _categories(domain, benchmark)
            }
    return found


def left_out(scorer: Scorer) -> list[str]:
    """Dimensions that a package is told not to look at (`settings: {without: ...}`): no score has a number of them."""
    return str(scorer.settings.get("without", "")).split() if scorer.scorer == "package" else []


def clashes(domain: Domain) -> Iterator[tuple[str, str, str]]:
    """Metrics that two members of a panel would both serve: (metric, one's stem, the other's)."""
    by: dict[str, str] = {}
    for stem in domain.panel:
        for key in SEVERAL.get(stem, VIDEOALIGN if stem in ALIGNED else (stem,)):
            if key in by:
                yield key, by[key], stem
            by[key] = stem


def _categories(domain: Domain, benchmark: str) -> list[tuple[str, str | None]]:
    entry = domain.prompts.get(benchmark)
    named: Mapping[str, str] = entry.categories if entry else {}
    return [(AVERAGE, None), *named.items()]
