"""Whether a scale can run on a domain."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from amd.config.read import unknown
from amd.config.schema.closed import VIDEO, Track
from amd.config.schema.domain import Domain
from amd.config.schema.scale import Scale
from amd.config.schema.sizes import TextSizes, VideoSizes
from amd.config.schema.system import System

if TYPE_CHECKING:
    from amd.config.load import Library


def of_domains(
    library: "Library", document: Any, scale: Scale, domains: Mapping[Track, str], said: str
) -> Iterator[str]:
    """That each domain of `domains`, in `document`, is of its track and fits the scale; `said` where it does not."""
    for track, name in domains.items():
        here = document.at("domains", track)
        if name not in library.domains:
            yield f"{here}: {unknown(name, 'domain', library.domains)}"
        elif library.domains[name].track != track:
            yield f"{here}: domain '{name}' is of track {library.domains[name].track}, not {track}"
        elif (complaint := misfit(scale, library.domains[name], library.systems)) is not None:
            yield f"{here}: {name!r} {said}: {complaint}"


def misfit(scale: Scale, domain: Domain, systems: Mapping[str, System]) -> str | None:
    """Why a scale cannot run on a domain, whose scorers are among `systems`, or None."""
    if domain.track == "text":
        return _text_misfit(scale, domain, systems)
    if domain.track in VIDEO:
        return _video_misfit(scale, domain, systems)
    if domain.track != "class":
        return None
    sizes = scale.klass
    if sizes is None:
        return "the scale has no sizes of the class track; add class"
    if domain.teacher is None and sizes.teacher is None:
        return "the domain has no published teacher and the scale no class.teacher to train one; add either"
    if domain.teacher is None and domain.data is None:
        return "the domain has neither a published teacher nor data to train one on; add either"
    if (domain.reward.system or domain.judge.system) and (sizes.classifier is None or domain.data is None):
        return "its classifiers are trained here: that takes the scale's class.classifier and the domain's data"
    if domain.latents[1] % sizes.network.patch:
        return f"latents of side {domain.latents[1]} cannot be cut into patches of {sizes.network.patch}"
    return None


def _text_misfit(scale: Scale, domain: Domain, systems: Mapping[str, System]) -> str | None:
    sizes = scale.text
    if sizes is None:
        return "the scale has no sizes of the text track; add text"
    if (complaint := _prompted_misfit(sizes, domain, systems)) is not None:
        return complaint
    if domain.latents[1] % 2 ** (len(sizes.network.channels) - 1):
        return f"latents of side {domain.latents[1]} cannot be halved {len(sizes.network.channels) - 1} times"
    return None


def _video_misfit(scale: Scale, domain: Domain, systems: Mapping[str, System]) -> str | None:
    track = domain.track
    sizes: VideoSizes | None = getattr(scale, track)
    if sizes is None:
        return f"the scale has no sizes of the {track} track; add {track}"
    if domain.clip is None:
        return f"a domain of the {track} track has a clip: frames, width, fps; add it"
    if (complaint := _prompted_misfit(sizes, domain, systems)) is not None:
        return complaint
    _, frames, height, width = domain.latent_shape
    if height % sizes.network.patch or width % sizes.network.patch:
        return f"latents of {height} x {width} cannot be cut into patches of {sizes.network.patch}"
    if (domain.image_encoder is None) != (sizes.network.image_context is None):
        one, other = f"{track}.network.image_context", "the domain's image_encoder"
        return f"{one} and {other} go together: the states of a first frame"
    if domain.begins and sizes.teacher and sizes.teacher.stills:
        return f"{track}.teacher.stills: a still is its own first frame; leave it out"
    if domain.begins and domain.teacher is None and scale.video is not None and sizes.network != scale.video.network:
        return f"{track}.network is not video.network: its teacher begins from the weights of the video track's"
    if sizes.streaming is not None and frames % sizes.streaming.chunk:
        return f"latents of {frames} frames are not whole chunks of {sizes.streaming.chunk}"
    return None


def _prompted_misfit(sizes: TextSizes | VideoSizes, domain: Domain, systems: Mapping[str, System]) -> str | None:
    track = domain.track
    if domain.encoder is None or "train" not in domain.prompts:
        return f"a domain of the {track} track has an encoder and prompts.train; add both"
    if domain.teacher is None and (sizes.teacher is None or domain.data is None):
        return (
            f"a teacher trained here takes the scale's {track}.teacher and the domain's data; else name a published one"
        )
    if uncounted := sorted(set(domain.prompts) - set(sizes.prompts)):
        return f"{track}.prompts.{uncounted[0]} is missing: how many of the domain's prompts a run takes"
    named = {each.system for each in (domain.reward, *domain.panel.values())}
    trained = {  # those of another track are trained with its sizes
        str(system.architecture)
        for name, system in systems.items()
        if name in named and (system.kind, system.track) == ("scorer", track)
    }
    if unsized := sorted(trained - set(sizes.scorers)):
        return f"{track}.scorers.{unsized[0]} is missing: one of the domain's scorers is trained with it"
    return None
