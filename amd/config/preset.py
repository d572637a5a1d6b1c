"""Flags of `amd new` -> a configuration of their own: a scale, a domain, a teacher, a student, a preview. No torch.

What no flag says comes from the shipped configuration: a method's numbers from the text student that has it, the rest
from scale paper. The documents that are made here are read again by `amd.config.load`, as any configuration is.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from amd.config.flags import Flags
from amd.config.load import Library
from amd.config.methods import DATA_READERS, GROUPED, REWARDED, SHRINKING, TAKES, TETHERED, TEXT_REWARDS
from amd.config.read import ConfigError, unknown
from amd.config.schema.assets import Asset, Scorer
from amd.config.schema.sizes import UNetSize
from amd.config.schema.system import System

Document = dict[str, Any]

NAME = "own"  # of the scale and the domain that are written
PREVIEW = "preview"  # the benchmark that the first prompts are
MIRROR = "assets"  # the folder beside the configuration with everything that a run is made from, or links to it
EACH = 2  # images of a prompt in the preview
SHIPPED = "paper"  # the scale whose numbers are taken where no flag says another

GROUP = 8  # ours: K of Eq. 12, as at every scale here
ROWS = 4  # ours: of a forward pass, where no group asks for more
SAVE_EVERY_S = 600.0
LR: dict[tuple[str, bool], float] = {  # (kind, low-rank) -> of student and fake
    ("sdxl", False): 5.0e-7,  # DMD2, experiments/sdxl/*.sh
    ("sdxl", True): 5.0e-5,  # DMD2's SDXL LoRA (README)
    ("sd15", False): 1.0e-5,  # DMD2, experiments/sdv1.5
    ("sd15", True): 5.0e-5,  # ours: as SDXL's
}
ALPHA = 8.0  # of a low-rank branch, which is multiplied by alpha / rank (DMD2's SDXL LoRA: rank 64, alpha 8)
FIRST = {"sdxl": 0.6}  # time that one step is asked at: DMD2's index 399. SD1.5 is asked for pure noise as it is
BORROWING = {"rank": 32, "scale": 2.0}  # of a fake whose branch the real teacher borrows (DMDR's SDXL script)


@dataclass(frozen=True)
class Material:
    """What the flags' files were found to be. Files of assets are named as they lie in the mirror."""

    kind: Literal["sd15", "sdxl"]
    size: UNetSize
    latents: tuple[int, int]  # (channels, side)
    pixels: int  # side
    scaling: float  # of the autoencoder
    unet: Sequence[Asset]
    autoencoder: Asset
    encoder: Sequence[Asset]
    prompts: Asset
    count: int  # of prompts
    preview: Asset  # the first of them
    previewed: int
    reward: Scorer  # with its files as they were found; of a method that reads none, as published
    images: Asset | None = None  # captions of real images
    teacher: str = ""  # what the folder is called
    processes: int = 1
    gpus: int = 0  # one for each process, or none


def group_of(flags: Flags) -> int:
    """K: rows that share a prompt. One where nothing compares them."""
    return flags.group if flags.group is not None else GROUP if flags.method in GROUPED else 1


def rows_of(flags: Flags, processes: int) -> int:
    """Rows per process per forward pass: the fewest that hold a group."""
    wanted = max(group_of(flags), ROWS)
    return flags.micro_batch if flags.micro_batch is not None else min(-(-wanted // processes), flags.batch)


def refusals(flags: Flags, *, images: bool, processes: int = 1) -> Iterator[str]:
    """Why a student cannot be trained as the flags say, one line each."""
    if flags.method not in TAKES:
        yield f"--method: {unknown(flags.method, 'method', TAKES)}"
        return
    if flags.method in TETHERED:
        yield (
            f"--method: {flags.method!r} regresses on pairs of the teacher's ODE, which are made in the class track "
            "alone; dmd-pure is the same without them, dmd2 has a discriminator in their place"
        )
    if flags.reward is not None and flags.reward not in TEXT_REWARDS:
        yield f"--reward: {unknown(flags.reward, 'reward', TEXT_REWARDS)}"
    if flags.reward is None and flags.method in REWARDED:
        free = sorted(set(TAKES) - REWARDED - TETHERED)
        yield (
            f"--reward: missing; method '{flags.method}' reads one: {', '.join(TEXT_REWARDS)}. Methods that read none: "
            f"{', '.join(free)}"
        )
    if flags.method in DATA_READERS and not images:
        yield (
            f"--images: missing; method '{flags.method}' trains a discriminator on real images: name a captions.jsonl "
            'that lies beside them, a line of {"file": "a.png", "caption": "a cat"} for each'
        )
    group, rows = group_of(flags), rows_of(flags, processes)
    if group == 1 and flags.method in GROUPED:
        yield "--group: 1 will not do: a sample is compared with its group (Eq. 12); use 2 or more, e.g. 8"
    if flags.batch % group:
        yield f"--batch: {flags.batch} is no multiple of --group {group}: groups of one prompt are whole"
    elif flags.batch % rows:
        yield f"--micro-batch: {rows} does not divide --batch {flags.batch}"
    elif rows * processes < group:
        yield (
            f"--micro-batch: {rows} rows on {processes} process{'es' if processes > 1 else ''} hold no whole group of "
            f"{group}; use {-(-group // processes)} or more, or a smaller --group"
        )


def reward_of(shipped: Library, name: str, settings: Sequence[tuple[str, str]] = ()) -> Scorer:
    """A published scorer as the shipped configuration names its files and settings. ConfigError where it has none."""
    found = [scorer for domain in shipped.domains.values() for scorer in (*domain.panel.values(), domain.reward)]
    scorer = next((each for each in found if each.name == name and each.assets), None)
    if scorer is None and name == "clip-score":  # the CLIP that names colours for GenEval
        files = [a for each in found for a in each.assets if a.file.endswith("open_clip_model.safetensors")]
        scorer = Scorer(name=name, assets=files[:1], settings={"architecture": "ViT-L-14-quickgelu"}, times=100)
    if scorer is None or not scorer.assets:
        raise ConfigError(f"{shipped.root}/domains: none names the files of reward '{name}'")
    return scorer.model_copy(update={"settings": {**scorer.settings, **dict(settings)}})


def documents(shipped: Library, flags: Flags, material: Material) -> dict[str, Document]:
    """File below config/ -> its content. ConfigError with every reason why the flags will not do."""
    found = list(refusals(flags, images=material.images is not None, processes=material.processes))
    if found:
        raise ConfigError(found)
    like = _like(shipped, flags.method)
    return {
        "config.yaml": {"scale": NAME, "mirror": MIRROR, "goals": {}},
        f"scales/{NAME}.yaml": _scale(shipped, flags, material),
        f"domains/{NAME}.yaml": _domain(shipped, material),
        "systems/teacher.yaml": _teacher(shipped, flags, material),
        "systems/student.yaml": _student(shipped, flags, material, like),
        f"benchmarks/{PREVIEW}.yaml": {
            "title": "The first prompts",
            "track": "text",
            "protocol": f"{EACH} images of each of the first {material.previewed} prompts",
            "metrics": [material.reward.name],
            "per_prompt": EACH,
        },
    }


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2, as `amd.config.read` reads it, calls a number and YAML 1.1 does not: 8e3."""


def _word(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "'" if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _word)


def text(file: str, content: Document) -> str:
    """A document as YAML."""
    said = (
        yaml.dump(
            {key: value},
            Dumper=_Dumper,
            sort_keys=False,
            default_flow_style=None if isinstance(value, dict | list) else False,  # the innermost on one line
            width=118,
            allow_unicode=True,
        )
        for key, value in content.items()
    )
    return "".join((*(f"# {line}\n" for line in HEADINGS.get(file, ())), *said))


HEADINGS: dict[str, tuple[str, ...]] = {
    "config.yaml": ("Written by `amd new`. What the keys mean: config/schema.json and config/ of the repository.",),
    f"scales/{NAME}.yaml": ("Sizes: the teacher's network, batches, rates, iterations.",),
    f"domains/{NAME}.yaml": ("Where everything comes from: files of the folder assets/, believed by their sha256.",),
    "systems/teacher.yaml": ("The many-step teacher, as the preview samples it.",),
    "systems/student.yaml": ("What is trained: the method, its numbers, low-rank branches.",),
    f"benchmarks/{PREVIEW}.yaml": ("What samples.png shows.",),
}


def _scale(shipped: Library, flags: Flags, material: Material) -> Document:
    paper = shipped.scale(SHIPPED).text
    assert paper is not None, "the shipped scale runs the text track"
    lr = flags.lr if flags.lr is not None else LR[material.kind, flags.lora is not None]
    several = material.processes > 1
    return {
        "seeds": [flags.seed],
        "precision": flags.precision,
        "domains": {"text": NAME},
        "text": {
            "network": material.size.model_dump(mode="json", exclude_none=True),
            "recompute": paper.recompute,
            "batch": flags.batch,
            "micro_batch": rows_of(flags, material.processes),
            "group": group_of(flags),
            "lr": lr,
            "fake_lr": lr,
            "iterations": {"long": flags.iterations},
            "milestones": 1,
            "prompts": {"train": material.count, PREVIEW: material.previewed},
            "tether_pairs": paper.tether_pairs,
            "teacher_steps": paper.teacher_steps,
            "sample_batch": paper.sample_batch,
            "trace_samples": paper.trace_samples,
        },
        "footprints": {
            "default": {"gpus": min(material.gpus, 1)},
            "distill": {
                "gpus": material.gpus,
                "save_every_s": SAVE_EVERY_S,
                "sharding": "fsdp2" if several else "none",
            },
        },
    }


def _domain(shipped: Library, material: Material) -> Document:
    first, *shards = [_asset(asset) for asset in material.unet]
    channels, side = material.latents
    scorer = {
        "name": material.reward.name,
        "assets": [_asset(asset) for asset in material.reward.assets],
        **({"settings": material.reward.settings} if material.reward.settings else {}),
    }
    stem = material.reward.name
    titles = {name: title for domain in shipped.domains.values() for name, title in domain.metrics.items()}
    return {
        "title": f"{material.teacher or 'the teacher'}, {material.pixels} x {material.pixels}",
        "track": "text",
        "pixels": [3, material.pixels],
        "latents": [channels, side],
        "autoencoder": {"asset": _asset(material.autoencoder), "scaling": material.scaling},
        "teacher": {"layout": "diffusers", "asset": first, **({"shards": shards} if shards else {})},
        "encoder": {"name": material.kind, "assets": [_asset(asset) for asset in material.encoder]},
        "prompts": {
            "train": {"source": "lines", "assets": [_asset(material.prompts)]},
            PREVIEW: {"source": "lines", "assets": [_asset(material.preview)]},
        },
        **({"data": {"source": "folder", "assets": [_asset(material.images)]}} if material.images else {}),
        "reward": scorer,
        "judge": {"name": "published"},
        "panel": {stem: {**scorer, "times": material.reward.times}},
        "metrics": {stem: titles.get(stem, stem)},
    }


def _teacher(shipped: Library, flags: Flags, material: Material) -> Document:
    return {
        "kind": "teacher",
        "track": "text",
        "title": material.teacher or "Teacher",
        "backbone": "unet",
        "cfg_weight": _guidance(shipped, flags),
    }


def _student(shipped: Library, flags: Flags, material: Material, like: System | None) -> Document:
    numbers: Document = {} if like is None else like.numbers.model_dump(exclude_none=True)
    numbers["steps"] = flags.steps
    numbers.pop("first", None)
    if flags.steps == 1 and material.kind in FIRST:
        numbers["first"] = FIRST[material.kind]
    branch = None if flags.lora is None else {"rank": flags.lora, "scale": ALPHA / flags.lora}
    borrowed = like.lora.model_dump() if like is not None and like.lora is not None else BORROWING
    fake = borrowed if flags.method in SHRINKING else branch
    title = like.title if like is not None else flags.method
    many = f"{flags.steps} step{'s' if flags.steps > 1 else ''}"
    return {
        "kind": "student",
        "track": "text",
        "title": f"{title}, {many}",
        "about": f"{material.teacher or 'A teacher'} distilled by {title} into {many}.",
        "backbone": "unet",
        "method": flags.method,
        "start": "teacher",
        "teacher": "teacher",
        "stage": "long",
        "cfg_weight": _guidance(shipped, flags),
        "numbers": numbers,
        **({"lora": fake} if fake else {}),
        **({"student_lora": branch} if branch else {}),
        **({"sources": {"numbers": f"as {shipped.root}/systems/{like.name}.yaml"}} if like else {}),
    }


def _like(shipped: Library, method: str) -> System | None:
    """The shipped text student of a method: the one whose name has nothing more to say."""
    found = [s for s in shipped.systems.values() if (s.kind, s.track, s.method) == ("student", "text", method)]
    return min(found, key=lambda system: (len(system.name), system.name), default=None)


def _guidance(shipped: Library, flags: Flags) -> float:
    """w of Eq. 9: as asked, or as the shipped teacher of the text track has it."""
    if flags.cfg is not None:
        return flags.cfg
    return next(s.cfg_weight for s in shipped.systems.values() if (s.kind, s.track) == ("teacher", "text"))


def _asset(asset: Asset) -> Document:
    return {key: value for key, value in asset.model_dump(mode="json").items() if value}


def write(folder: Path, content: dict[str, Document]) -> dict[str, str]:
    """Put the documents under `folder`; file -> its text."""
    texts = {file: text(file, document) for file, document in content.items()}
    for file, said in texts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        part = (folder / file).with_name((folder / file).name + ".part")
        part.write_text(said, encoding="utf-8")
        part.replace(folder / file)
    return texts
