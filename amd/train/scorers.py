"""Scorers of prompted tracks that are trained here, and those that were: from a run to a training, or to a text scorer.

Scenes and clips are cut in halves, the even and the odd ones, so that what rewards and what reports were trained on
different pictures. A scorer that needs more than pixels and words is given it here: rows of metadata, states of a
caption.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from amd.backbones.text import encode_once
from amd.config.load import Run
from amd.config.schema.assets import Scorer
from amd.config.schema.sizes import Pretraining, VideoSizes
from amd.data.assets import locate
from amd.data.captioned import Captioned, captioned
from amd.data.emoji import COLOURED, COLOURS, VOCABULARY
from amd.data.rows import MOST, caption
from amd.data.scenes import Scene
from amd.distill.noise import Noise, generator
from amd.distill.types import Condition
from amd.rewards.text import TextMaterial, TextScorer, text_scorer
from amd.train.conditions import encoder_of, kept_in, prompts_for
from amd.train.finished import weights

if TYPE_CHECKING:
    from amd.rewards.sprite_detector import SpriteDetector


TWINS = 1 << 48  # seeds of twins' scenes, far from those of other scenes
TIMES = 3  # frames of a clip that a detector is trained on


class ScorerTraining(Protocol):
    """What is trained, how a batch is scored, and what is said of it in the end."""

    @property
    def module(self) -> nn.Module:
        """The network."""
        ...

    def loss(self, noise: Noise) -> Tensor:
        """The mean over this rank's rows."""
        ...

    def finish(self) -> None:
        """When the weights are final: what else the module keeps of its data."""
        ...

    def report(self) -> dict[str, object]:
        """Of the finished module, for meta.json."""
        ...


def scorer_training(run: Run, device: torch.device) -> tuple[ScorerTraining, Pretraining]:
    """The training of a scorer, and its sizes. ValueError where the scale or the domain has nothing for it."""
    system, domain = run.system, run.domain
    assert system.architecture is not None, "checked at load"
    track = run.prompted
    sizes = track.scorers.get(system.architecture)  # type: ignore[arg-type]
    if sizes is None or domain.data is None or system.half is None:
        raise ValueError(
            f"system {system.name} at scale {run.scale.name}, domain {domain.name}: a scorer is trained here where the "
            f"scale has {system.track}.scorers.{system.architecture} and the domain has data"
        )
    count = track.clips if isinstance(track, VideoSizes) else track.images
    found = captioned(domain.data.source, domain.data.assets, run.mirror, domain.pixels, count, clip=domain.clip)
    place = torch.arange(len(found))
    own, other = place[place % 2 == system.half], place[place % 2 != system.half]
    if system.architecture == "detector":
        return _detector(run, found, own, other, device), sizes
    if system.architecture in ("clip-plain", "clip-residual"):
        return _clips(run, found, own, other, device), sizes
    return _align(run, found, own, other, device), sizes


def _detector(run: Run, found: Captioned, own: Tensor, other: Tensor, device: torch.device) -> ScorerTraining:
    from amd.rewards.sprite_detector import DetectorTraining

    if found.filmed is not None:
        found, own, other = frames(found), of_frames(own), of_frames(other)
    if found.scenes is None or not isinstance(found.pixels, Tensor):
        raise ValueError(f"domains/{run.domain.name}.yaml: data: a detector is trained where it is known what is where")
    return DetectorTraining(
        found.pixels,
        found.scenes,
        own,
        other,
        VOCABULARY,
        COLOURS,
        seed=run.seed,
        device=device,
        precision=run.scale.precision,
    )


def _align(run: Run, found: Captioned, own: Tensor, other: Tensor, device: torch.device) -> ScorerTraining:
    """Every scene gets a twin: another scene, whose caption differs in one respect. A twin is of its scene's half."""
    from amd.data.scenes import compose
    from amd.rewards.emoji_training import AlignTraining
    from amd.rewards.twins import twin

    if found.rows is None or found.scenes is None or not isinstance(found.pixels, Tensor):
        raise ValueError(
            f"domains/{run.domain.name}.yaml: data: an image-text scorer is trained where wrong captions can be made"
        )
    architecture, side = str(run.system.architecture), run.domain.pixels[1]
    kinds, captions, scenes = list[str](), list[tuple[str, str]](), list[tuple[Scene, Scene]]()
    pixels = torch.empty_like(found.pixels)
    for place, row in enumerate(found.rows):
        kind, include = twin(row["include"], VOCABULARY, COLOURED, MOST, place)
        text = caption(include)
        picture, scene = compose({"include": include, "prompt": text}, TWINS + place, side)
        pixels[place] = torch.from_numpy(picture)
        scenes.append((found.scenes[place], scene))
        kinds.append(kind)
        captions.append((row["prompt"], text))

    both = torch.stack((found.pixels, pixels), 1)
    return AlignTraining(
        both,
        scenes,
        captions,
        kinds,
        _encoding(run, device),
        own,
        other,
        architecture,
        seed=run.seed,
        device=device,
        precision=run.scale.precision,
    )


def frames(found: Captioned) -> Captioned:
    """TIMES random frames of each clip, one clip's after another's, as pictures whose content is known."""
    assert found.filmed is not None
    assert isinstance(found.pixels, Tensor)
    clip = torch.arange(len(found)).repeat_interleave(TIMES)
    time = torch.randint(found.pixels.shape[2], (len(clip),), generator=generator("frames of clips"))
    scenes = [found.filmed[i].scene(t) for i, t in zip(clip.tolist(), time.tolist(), strict=True)]
    captions = [found.captions[i] for i in clip.tolist()]
    return Captioned(found.pixels[clip, :, time], captions, scenes, found.prompt[clip], found.texts)


def of_frames(clips: Tensor) -> Tensor:
    """Places of clips -> those of their frames."""
    return (clips[:, None] * TIMES + torch.arange(TIMES)).flatten()


def _clips(run: Run, found: Captioned, own: Tensor, other: Tensor, device: torch.device) -> ScorerTraining:
    """Every clip gets a twin of the same seed: where one respect differs, so do the clips. A twin is of its half."""
    from amd.data.clips import Filmed, film
    from amd.data.motion import DIRECTIONS, OBJECTS, SIZES, moving
    from amd.rewards.clip_training import ClipTraining
    from amd.rewards.motion_twins import twin

    if found.rows is None or found.filmed is None or not isinstance(found.pixels, Tensor):
        raise ValueError(f"domains/{run.domain.name}.yaml: data: a scorer of clips is trained where twins can be made")
    architecture = str(run.system.architecture)
    shape = tuple(found.pixels.shape[2:])
    kinds, captions, filmed = list[str](), list[tuple[str, str]](), list[tuple[Filmed, Filmed]]()
    pixels = torch.empty_like(found.pixels)
    for place, row in enumerate(found.rows):
        asked = row["include"], row["motion"]
        kind, changed = twin(*asked, OBJECTS, COLOURED, tuple(DIRECTIONS), SIZES, place)
        other_row = moving(*changed, row["tag"])
        clip, known = film(other_row, place, *shape)
        pixels[place] = torch.from_numpy(clip)
        filmed.append((found.filmed[place], known))
        kinds.append(kind)
        captions.append((row["prompt"], other_row["prompt"]))

    return ClipTraining(
        torch.stack((found.pixels, pixels), 1),
        filmed,
        captions,
        kinds,
        _encoding(run, device),
        own,
        other,
        architecture,
        seed=run.seed,
        device=device,
        precision=run.scale.precision,
    )


def _encoding(run: Run, device: torch.device) -> Callable[[Sequence[str]], Condition]:
    """The text encoder of the run's domain, which writes down what it says of these texts."""
    encoder = encoder_of(run, device)

    def kept(texts: Sequence[str]) -> Condition:
        return encode_once(encoder, texts, kept_in(run, texts))

    return kept


def published_material(run: Run, scorer: Scorer) -> TextMaterial:
    """Files and settings of a scorer that others published. FileNotFoundError names a file that is nowhere."""
    return TextMaterial(files=[locate(asset, run.mirror) for asset in scorer.assets], settings=scorer.settings)


def build_text_scorer(run: Run, scorer: Scorer, device: torch.device | str) -> TextScorer:
    """A member of the run's panel, or its reward, in eval mode on `device`.

    FileNotFoundError where it is not trained yet, or names the published file that is nowhere.
    """
    trained = next((other for other in (run.reward, *run.panel) if other and other.system.name == scorer.system), None)
    settings: Mapping[str, Any] = scorer.settings
    if trained is not None:
        settings = {**settings, **_own(run, trained, torch.device(device))}
    material = TextMaterial(
        files=[locate(asset, run.mirror) for asset in scorer.assets],
        weights=weights(trained) if trained else None,
        settings=settings,
    )
    built = text_scorer(scorer.name, material)
    assert isinstance(built, nn.Module)
    return built.to(device)


def build_detector(run: Run, scorer: Scorer, device: torch.device) -> "tuple[SpriteDetector, dict[str, Tensor]]":
    """The panel's detector in eval mode on `device`, and its weights. FileNotFoundError where it is not trained yet."""
    from amd.rewards.sprite_detector import load

    found = weights(next(other for other in run.panel if other.system.name == scorer.system))
    return load(found, VOCABULARY, COLOURS).to(device).requires_grad_(False), found


def _own(run: Run, trained: Run, device: torch.device) -> dict[str, Any]:
    """What a scorer trained here is told besides pixels and words."""
    if trained.system.architecture == "detector":
        return {"names": VOCABULARY, "colours": COLOURS, "rows": _rows(run)}
    return {"architecture": trained.system.architecture, "encode": encoder_of(trained, device)}


def _rows(run: Run) -> list[Mapping[str, Any]]:
    """What each prompt of the domain asks for, as far as its source says."""
    sets = [prompts_for(run, use) for use in run.domain.prompts]
    return [row for found in sets for row in found.rows or ()]
