"""What is wrong with a domain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from amd.config.checks.systems import belongs
from amd.config.read import Document, unknown
from amd.config.schema.assets import Prompts, Scorer
from amd.config.schema.closed import PROMPTED, VIDEO
from amd.config.schema.domain import Domain
from amd.config.schema.tables import Benchmark
from amd.config.served import FLICKERING, FPS, PACKAGES, SEVERAL, VBENCH_SETTINGS, clashes, left_out, served

if TYPE_CHECKING:
    from amd.config.load import Library

VARIANTS = {
    "videoalign-csv": ("extended", "source: videoalign-csv-shorter"),
    "videoalign-csv-shorter": ("short", "source: videoalign-csv"),
    "vbench-i2v": ("short", "take prompts of another source"),
}
"""Source of prompts -> which its texts are, and what has the others; vbench's are as many as its files."""
BY_FILES = ("vbench", "vbench-still")
SHORT_ALONE = {(name, "short") for name in (*BY_FILES, "vbench-i2v")}  # nothing longer is at hand: need not be said


def of_domain(library: "Library", domain: Domain) -> Iterator[str]:
    """A domain: its codec, prompts, panel and scorers."""
    document = library.documents["domains"][domain.name]
    if domain.autoencoder is None and domain.latents != domain.pixels:
        here = document.at("latents")
        yield f"{here}: {domain.latents} differ from pixels {domain.pixels}, but there is no autoencoder"
    yield from _of_shuffle(document, domain)
    for use, prompts in domain.prompts.items():
        yield from _of_variant(document.at("prompts", use, "variant"), prompts)
    if domain.track == "class" and domain.classes == 0:
        yield f"{document.at('classes')}: missing; a domain of the class track has some"
    if domain.track in PROMPTED and not domain.panel:
        yield f"{document.at('panel')}: missing; it says who judges the images of each benchmark"
    for metric, one, other in clashes(domain):
        yield f"{document.at('panel', other)}: metric '{metric}' is {one}'s already; one of the two may judge a domain"
    if domain.clip is not None and domain.track not in VIDEO:
        yield f"{document.at('clip')}: a domain of track {domain.track} is not about clips"
    for benchmark in library.benchmarks.values():
        judged = benchmark.track == domain.track in PROMPTED and set(benchmark.metrics) & set(domain.metrics)
        if judged and benchmark.name not in domain.prompts:
            yield f"{document.at('prompts')}: {benchmark.name} is missing; metrics of that benchmark are named here"
        elif judged:
            yield from _unserved(library, domain, benchmark)
    asked = {metric for each in library.benchmarks.values() if each.track == domain.track for metric in each.metrics}
    for metric in domain.metrics:
        if metric not in asked:
            kind = f"metric of a benchmark of track {domain.track}"
            yield f"{document.at('metrics', metric)}: {unknown(metric, kind, asked)}"
    kind = "scorer" if domain.track in PROMPTED else "classifier"
    judges = [] if domain.track in PROMPTED else [(("judge",), domain.judge)]  # a panel judges there
    for keys, scorer in (
        (("reward",), domain.reward),
        *judges,
        *((("panel", key), each) for key, each in domain.panel.items()),
    ):
        if scorer.scorer == "package" and keys[0] != "panel":
            here = document.at(*keys, "scorer")
            yield f"{here}: 'package' has no gradient and is slow to begin; a panel alone may ask for it"
        elif scorer.scorer == "package" and scorer.name not in PACKAGES:
            yield f"{document.at(*keys, 'scorer')}: {unknown(scorer.name, 'scorer with a package', PACKAGES)}"
        if domain.clip is not None and scorer.name in FPS and scorer.scorer == "own":
            said = scorer.settings.get("fps", FPS[scorer.name])
            if said != domain.clip.fps:
                here, right = document.at(*keys, "settings", "fps"), domain.clip.fps
                yield f"{here}: {scorer.name} takes clips to have {said} frames per second; clip.fps is {right}"
        yield from _of_vbench(document, (*keys, "settings"), keys[-1], scorer)
        if scorer.system is not None and scorer.assets:
            yield f"{document.at(*keys)}: give either a system (trained here) or assets (published), and not both"
        if scorer.system is None and not scorer.assets and keys[0] != "panel":
            yield f"{document.at(*keys)}: give either a system (trained here) or assets (published)"
        if scorer.system is not None:
            yield from belongs(library, document.at(*keys, "system"), scorer.system, kind, domain.track)
    if domain.judge.system is not None and domain.judge.system == domain.reward.system:
        here = document.at("judge", "system")
        yield f"{here}: {domain.judge.system!r} is the training reward too; a judge must differ"


def _of_shuffle(document: Document, domain: Domain) -> Iterator[str]:
    """Latents that a rearrangement of the pixels does not give."""
    codec = domain.autoencoder
    if codec is None or codec.factor is None:
        return
    channels, *time, height, width = domain.pixel_shape
    each = codec.frames or 1
    if codec.frames and not time:
        yield f"{document.at('autoencoder', 'frames')}: {each}; a picture is one, leave it out"
        return
    after, over = divmod(time[0] - 1, each) if time else (0, 0)
    if over or height % codec.factor or width % codec.factor:
        found = f"{time[0]} frames of {height} x {width}" if time else f"pixels of {height} x {width}"
        yield (
            f"{document.at('autoencoder')}: {found} do not fit: 1 frame alone, then {each} in a latent one, in "
            f"squares of {codec.factor} x {codec.factor}"
        )
        return
    right = (
        channels * codec.factor**2 * each,
        *((after + 1,) if time else ()),
        height // codec.factor,
        width // codec.factor,
    )
    if right != domain.latent_shape:
        yield f"{document.at('latents')}: the latents are {domain.latent_shape}; this shuffle makes {right}"


def _of_vbench(document: Document, keys: tuple[str, ...], stem: str, scorer: Scorer) -> Iterator[str]:
    """Settings that VBench's package does not take; its dimensions are the stem's."""
    if scorer.scorer != "package" or PACKAGES.get(scorer.name) != "vbench":
        return
    for key in scorer.settings:
        if key not in VBENCH_SETTINGS:
            yield f"{document.at(*keys, key)}: {unknown(key, f'setting of {scorer.name}', VBENCH_SETTINGS)}"
    dimensions = SEVERAL.get(stem, ())
    for name in left_out(scorer):
        if name not in dimensions:
            yield f"{document.at(*keys, 'without')}: {unknown(name, f'dimension of {stem}', dimensions)}"
    still = scorer.settings.get("still")
    if still is None:
        return
    here = document.at(*keys, "still")
    if FLICKERING not in dimensions:
        yield f"{here}: of {FLICKERING} alone, which {stem} does not have; leave it out"
    elif not isinstance(still, int) or isinstance(still, bool) or still < 1:
        yield f"{here}: {still!r}; say how many of a prompt's clips, e.g. 5"


def _of_variant(here: str, prompts: Prompts) -> Iterator[str]:
    """A variant that is not the one of the texts that are read; none, where the other one is a file or a name away."""
    source, said = prompts.source, prompts.variant
    if source in BY_FILES:
        right = "extended" if len(prompts.assets) > 1 else "short"
        other = "take the second asset away" if right == "extended" else "add the .txt of extended ones as second asset"
    elif source in VARIANTS:
        right, other = VARIANTS[source]
    else:
        if said is not None:
            known = ", ".join((*BY_FILES, *VARIANTS))
            yield f"{here}: {said!r}; source {source!r} has no variants, leave it out; {known} have some"
        return
    files = ", ".join(asset.file for asset in prompts.assets) or "no file"
    if said is None and (source, right) not in SHORT_ALONE:
        yield f"{here}: missing; the texts of {source!r} ({files}) are the {right} ones: say {right}, or {other}"
    elif said not in (None, right):
        yield f"{here}: {said!r}, but the texts of {source!r} ({files}) are the {right} ones: say {right}, or {other}"


def _unserved(library: "Library", domain: Domain, benchmark: Benchmark) -> Iterator[str]:
    """Metrics of a benchmark that a domain of the text track names and nobody in its panel gives."""
    known = served(domain, benchmark.name)
    for i, metric in enumerate(benchmark.metrics):
        if metric in domain.metrics and metric not in known:
            here = library.documents["benchmarks"][benchmark.name].at("metrics", i)
            yield f"{here}: {unknown(metric, f'metric of the panel of domain {domain.name!r}', known)}"
