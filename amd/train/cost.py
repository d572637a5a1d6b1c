"""What the networks of a run take, counted on the real modules on the meta device; others' are `published_costs`.

Shapes do not matter here, only rows: every figure is per row of a batch (`amd.train.count.Cost`). `fused`: on a GPU.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from amd.backbones.adapters import add_lora
from amd.backbones.base import Backbone, backbone
from amd.config.load import Run
from amd.config.schema.assets import Scorer
from amd.config.schema.closed import PROMPTED
from amd.config.schema.sizes import PlaneSizes, UNetSize, WanSize
from amd.distill.methods import Method
from amd.distill.types import Condition
from amd.rewards.classifier import Classifier
from amd.train.count import NOTHING, Cost, count, parameters
from amd.train.networks import blank
from amd.train.published_costs import ENCODERS, FLUX, PUBLISHED
from amd.train.sharding import blocks

CLIP_VISION_STATES = 257  # of a picture: 16 x 16 patches and one for all


# --- the network that a run trains or samples ------------------------------------------------------------------------


def network(run: Run, fused: bool = False) -> Cost:
    """A run's own network at its scale: a forward pass is that of its own loss."""
    return _network(_Key(run), fused)


def released(run: Run) -> Cost:
    """A published network that is only sampled, at its recipe's resolution."""
    release = run.system.release
    assert release is not None
    if release.pipeline == "FluxPipeline":
        return FLUX
    size = run.text.network.model_dump_json()  # of the domain's teacher, as whose student or base it is in the tables
    return _published_unet(size, release.resolution // 8, tokens(run))


def size(run: Run) -> int:
    """Parameters of a run's own network."""
    return _size(_Key(run))


def trunk(run: Run, fused: bool = False) -> Cost:
    """The way to a critic's logit through its features: parameters are the critic's own."""
    return _trunk(_Key(run), fused)


def branch(run: Run, rank: int) -> int:
    """Parameters of a low-rank branch of the run's network."""
    return _branch(_Key(run), rank)


class Sequence(NamedTuple):
    """Tokens that a network of clips reads at a time."""

    frame: tuple[int, int]  # rows and columns of its tokens
    frames: int  # of a clip, in latents
    chunk: int | None  # frames, of a student that makes a clip chunk by chunk
    window: int | None  # frames that a chunk reads, itself among them

    def tokens(self, frames: int) -> int:
        """Of so many frames."""
        return frames * self.frame[0] * self.frame[1]


def sequence(run: Run) -> Sequence:
    """Of a run of a video track; its teacher reads a clip at once."""
    size, (_, frames, height, width) = run.video.network, run.domain.latent_shape
    told = run.video.streaming if backbone(run.system.backbone).streams else None
    parts = (told.chunk, told.window) if told is not None else (None, None)
    return Sequence((height // size.patch, width // size.patch), frames, *parts)


def gathered(run: Run) -> tuple[int, int]:
    """Of a sharded network: parameters of the largest block that is gathered at a time, and of what is in none."""
    return _gathered(_Key(run))


class _Key:
    """A run, equal to another where their networks are."""

    def __init__(self, run: Run) -> None:
        self.run, system, domain = run, run.system, run.domain
        size = run.klass.network if run.system.track == "class" else run.prompted.network
        recompute = system.track in PROMPTED and run.prompted.recompute
        told = (domain.encoder and domain.encoder.name, domain.encoder and domain.encoder.length)
        self.content: tuple[object, ...] = (system.kind, system.backbone, system.architecture, recompute)
        self.content += (size.model_dump_json(), domain.classes, domain.pixel_shape, domain.latent_shape, told)
        self.content += (domain.begins,)

    def __hash__(self) -> int:
        return hash(self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.content == other.content


@lru_cache
def _network(key: _Key, fused: bool) -> Cost:
    run = key.run
    if run.system.kind == "scorer":
        return _scorer(run)
    with torch.device("meta"):
        if run.system.kind == "classifier":
            judge = Classifier(run.system.architecture or "", run.domain.classes, run.domain.pixels[0])
            image = torch.empty(1, run.domain.pixels[0], run.domain.pixels[1], run.domain.pixels[1])
            return count(judge, lambda: judge(image), fused=fused)
        backbone, x, t = blank(run), torch.empty(1, *run.domain.latent_shape), torch.empty(1)
        return count(backbone, lambda: backbone.native_loss(x, x, t, told(run)), fused=fused)


@lru_cache
def _published_unet(size: str, side: int, length: int) -> Cost:
    sizes = UNetSize.model_validate_json(size)
    with torch.device("meta"):
        unet = backbone("unet")(sizes, 4, side)
        x, t = torch.empty(1, 4, side, side), torch.empty(1)
        cond = {"tokens": torch.empty(1, length, sizes.context)}
        if sizes.pooled:
            cond |= {"pooled": torch.empty(1, sizes.pooled), "time_ids": torch.empty(1, 6)}
        return count(unet, lambda: unet.predict_x0(x, t, cond), fused=True, backward=False)


@lru_cache
def _size(key: _Key) -> int:
    return _network(key, False).parameters if key.run.system.architecture else parameters(_blank(key.run))


@lru_cache
def _trunk(key: _Key, fused: bool) -> Cost:
    run = key.run
    with torch.device("meta"):
        backbone, x, t = blank(run), torch.empty(1, *run.domain.latent_shape), torch.empty(1)
        critic = backbone.critic()
        layers: tuple[int, ...] = critic.layers  # type: ignore[assignment]

        def logit() -> Tensor:
            return critic(backbone.features(x, t, told(run), layers))

        cost = count(nn.ModuleList([backbone, critic]), logit, fused=fused)
        return Cost(parameters(critic), cost.forward, cost.activations, cost.resting)


@lru_cache
def _branch(key: _Key, rank: int) -> int:
    return sum(parameter.numel() for parameter in add_lora(_blank(key.run), rank))


@lru_cache
def _gathered(key: _Key) -> tuple[int, int]:
    backbone = _blank(key.run)
    sizes = [parameters(block) for block in blocks(backbone)]
    return max(sizes), parameters(backbone) - sum(sizes)


def _blank(run: Run) -> Backbone:
    with torch.device("meta"):
        return blank(run)


def told(run: Run) -> Condition:
    """A condition of one row, on the meta device."""
    if run.system.track == "class":
        return {"label": torch.empty(1, dtype=torch.int64, device="meta")}
    size = run.prompted.network
    cond = {"tokens": torch.empty(1, tokens(run), size.context, device="meta")}
    if isinstance(size, WanSize):
        return cond | _begun(run, size)
    if size.pooled:
        cond |= {
            "pooled": torch.empty(1, size.pooled, device="meta"),
            "time_ids": torch.empty(1, 6, device="meta"),
        }
    return cond


def _begun(run: Run, size: WanSize) -> dict[str, Tensor]:
    """Of a first frame, where the run's networks are told one."""
    if not run.domain.begins:
        return {}
    channels, _, height, width = run.domain.latent_shape
    told = {"first": torch.empty(1, channels, height, width, device="meta")}
    if size.image_context is None:
        return told
    return told | {"image": torch.empty(1, CLIP_VISION_STATES, size.image_context, device="meta")}


def _scorer(run: Run) -> Cost:
    """A scorer of emoji scenes or clips, small enough to be run. Its captions cost next to nothing."""
    architecture = run.system.architecture or ""
    from amd.data.emoji import COLOURS, FAMILIES, VOCABULARY
    from amd.rewards.emoji_align import EmojiAlign
    from amd.rewards.sprite_detector import SIDE, SpriteDetector

    image = torch.zeros(1, 3, SIDE, SIDE, requires_grad=True)
    if architecture == "detector":
        detector = SpriteDetector(VOCABULARY, COLOURS)
        return count(detector, lambda: torch.cat([part.flatten() for part in detector(image)]), fused=False)
    sprites = sum(len(family) for family in FAMILIES.values())
    if run.domain.clip is not None:
        from amd.rewards.clip_align import ClipAlign

        clips, shown = ClipAlign(architecture, sprites), torch.zeros(1, *run.domain.pixel_shape, requires_grad=True)
        return count(clips, lambda: clips.clips(*clips.located(clips.look(shown))), fused=False)
    align = EmojiAlign(architecture, sprites)
    return count(align, lambda: align.images(align.look(image)), fused=False)


def perceptron(sizes: PlaneSizes) -> Cost:
    """The plane's student or fake: one multiply-add per weight."""
    weights = sizes.latent * sizes.width + (sizes.depth - 1) * sizes.width**2 + 2 * sizes.width
    return Cost(weights, 2.0 * weights, 4.0 * sizes.depth * sizes.width)


# --- what stands beside it -------------------------------------------------------------------------------------------


def scorer(which: Scorer, trained: Run | None) -> Cost:
    """A reward, a judge or a member of a panel, the way to pixels not included; weights are fixed."""
    return network(trained) if trained is not None else PUBLISHED.get(which.name, NOTHING)


def decoder(run: Run) -> Cost:
    """From what the network makes to pixels, with the whole autoencoder's parameters."""
    return _codec(run, False)


def encoder(run: Run) -> Cost:
    """From real pixels to latents, by the same autoencoder as `decoder`: it has no parameters of its own."""
    return _codec(run, True)


def _codec(run: Run, encodes: bool) -> Cost:
    kind = run.domain.autoencoder.kind if run.domain.autoencoder is not None else "shuffle"
    if kind == "wan":
        return _clip_autoencoder(run.domain.latent_shape, run.domain.pixel_shape, encodes)
    return _autoencoder(run.domain.latents[1], encodes) if kind == "kl" else NOTHING


@lru_cache
def _autoencoder(side: int, encodes: bool) -> Cost:
    from amd.backbones.autoencoder import stable_diffusion  # diffusers takes seconds to import

    with torch.device("meta"):
        vae = stable_diffusion()
        if encodes:
            pixels = torch.empty(1, 3, 8 * side, 8 * side)
            cost = count(vae, lambda: vae.encode(pixels), fused=True, backward=False)
            return Cost(0, cost.forward, cost.activations, cost.resting)
        latents = torch.empty(1, 4, side, side, requires_grad=True)
        return count(vae, lambda: vae.decode(latents), fused=True)


@lru_cache
def _clip_autoencoder(latents: tuple[int, ...], pixels: tuple[int, ...], encodes: bool) -> Cost:
    """Wan's, a chunk of frames after the other as it works."""
    from amd.backbones.video_codec import wan  # diffusers takes seconds to import

    with torch.device("meta"):
        vae = wan()
        if encodes:
            clip = torch.empty(1, *pixels)
            cost = count(vae, lambda: vae.encode(clip).latent_dist.mean, fused=True, backward=False)
            return Cost(0, cost.forward, cost.activations, cost.resting)
        x = torch.empty(1, *latents)
        # a reward of clips is asked without a graph
        return count(vae, lambda: vae.decode(x).sample, fused=True, backward=False)


def texts(run: Run) -> Cost:
    """Prompts to what the network is told; nothing in the class track."""
    named = run.domain.encoder
    return ENCODERS[named.name][0] if named is not None else NOTHING


def pictures(run: Run) -> Cost:
    """First frames to the states that every block reads; nothing where none does. Their latents are `encoder`'s."""
    return NOTHING if run.domain.image_encoder is None else _clip_vision()


@lru_cache
def _clip_vision() -> Cost:
    """CLIP's ViT-H/14 at 224 x 224, which Wan2.1 has."""
    from transformers import CLIPVisionConfig, CLIPVisionModel  # takes seconds to import

    with torch.device("meta"):
        settings = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
        tower = CLIPVisionModel(CLIPVisionConfig(patch_size=14, image_size=224, hidden_act="gelu", **settings))
        image = torch.empty(1, 3, 224, 224)
        return count(tower, lambda: tower(image).last_hidden_state, fused=True, backward=False)


def tokens(run: Run) -> int:
    """L, of a prompt's states."""
    named = run.domain.encoder
    assert named is not None, "a domain of the text track: checked at load"
    return named.length or ENCODERS[named.name][1]


# --- a step ----------------------------------------------------------------------------------------------------------


class Passes(NamedTuple):
    """Forward passes per row of the batch and iteration; a backward pass counts as two, or one to the input alone."""

    network: float
    again: float  # of those with a graph: what recomputation adds
    trunk: float  # through the features to the critic's logit
    trunk_again: float
    reward: float  # of decoder and reward
    real: float  # real rows that are drawn, hence encoded
    drawn: float  # rows that are asked for, hence prompts encoded


def passes(method: Method, guided: bool, low_rank: bool) -> Passes:
    """What one iteration of a method consists of."""
    numbers, updates = method.numbers, method.cadence()
    rollout = (numbers.get("steps", 1) + 1) / 2  # the exit step is drawn uniformly
    train = 2.0 if low_rank else 3.0  # of the fake: forward and backward
    split = method.renoise.name == "cleaner_ca" and guided
    student = rollout + 2 + 1 + (2 if guided else 1) + (1 if split else 0)  # push, fake, real, real at a second time
    fresh = updates.samples == "fresh"
    reward = float("advantage" in method.operator.reads or (not fresh and "advantage" in method.fake.reads))
    fake, again, trunk, trunk_again, real = train, 1.0 + updates.fake_updates, 0.0, 0.0, 0.0
    if fresh:
        fake += rollout
        reward += updates.fake_updates * float("advantage" in method.fake.reads)
    for force in method.external:
        reads = force.value.reads
        student, again = student + 3 * ("pairs" in reads), again + ("pairs" in reads)
        # the weights' own gradients are thrown away
        trunk, trunk_again = trunk + 3 * ("logit" in reads), trunk_again + ("logit" in reads)
        reward += 2 * ("reward" in reads)
        if force.critic is not None:  # generated and real rows through the fake's features, and back
            trunk, trunk_again = trunk + 6 * updates.fake_updates, trunk_again + 2 * updates.fake_updates
            real = float(updates.fake_updates)
    drawn = 1 + (updates.fake_updates if fresh else 0)
    return Passes(student + updates.fake_updates * fake, again, trunk, trunk_again, reward, real, drawn)
