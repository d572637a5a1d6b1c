"""The folder that `amd new` makes: the configuration that its flags become, links to what they name, a README.

Once a training has begun in it, it is of its flags: what would make another student is refused. So is an edit, since
every call writes the configuration anew.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amd.backbones.clip_text import WEIGHTS as TOWERS
from amd.backbones.pipeline import Pipeline, read_pipeline, unet_files
from amd.config import plan
from amd.config.flags import Flags
from amd.config.load import Library, Run, load
from amd.config.methods import REWARDED
from amd.config.preset import (
    EACH,
    MIRROR,
    NAME,
    PREVIEW,
    Material,
    documents,
    group_of,
    refusals,
    reward_of,
    rows_of,
    write,
)
from amd.config.read import ConfigError
from amd.config.schema.assets import Asset, Scorer
from amd.data.assets import MissingAsset, cache, locate, sha256

ASKED = "asked.json"  # the flags, and what they were written as


@dataclass(frozen=True)
class Files:
    """What the flags name on this machine."""

    teacher: Path
    prompts: Path
    out: Path
    reward_weights: Path | None = None
    images: Path | None = None


def prepare(flags: Flags, files: Files, shipped: Library, *, processes: int, cuda: bool, dry: bool) -> None:
    """Write OUT/config, OUT/assets, OUT/README.md; with `dry` print the configuration."""
    found = list(refusals(flags, images=files.images is not None, processes=processes))
    if found:
        raise ConfigError(found)
    out, pipeline = files.out.absolute(), read_pipeline(files.teacher)
    prompts = _prompts(files.prompts)
    given = asdict(flags) | {key: str(value) for key, value in asdict(files).items() if key != "out" and value}
    given |= {"group": group_of(flags), "micro_batch": rows_of(flags, processes)}
    kept = _kept(out)
    _refuse_edits(out, kept)
    reward, links = _reward(flags, files, shipped, fetch=not dry)
    links |= {"teacher": files.teacher.absolute()}
    if files.images is not None:
        links["images"] = files.images.absolute().parent
    texts = {"prompts.txt": prompts, "preview.txt": prompts[: flags.samples]}
    material = _material(pipeline, files, reward, texts, processes=processes, gpus=processes if cuda else 0)
    part = out / "config.part"
    shutil.rmtree(part, ignore_errors=True)
    written = write(part, documents(shipped, flags, material))
    run = load(part).run("student", NAME, flags.seed)
    _refuse_others(out, kept, given, run)
    for name, lines in texts.items():
        _put(out / MIRROR / name, "\n".join(lines) + "\n")
    for name, target in links.items():
        _link(out / MIRROR / name, target)
    shutil.rmtree(out / "config", ignore_errors=True)
    part.replace(out / "config")
    _put(out / ASKED, json.dumps({"flags": given, "digest": run.digest, "written": written}, indent=1) + "\n")
    _put(out / "README.md", _readme(run, files))
    if dry:
        print("\n".join(f"--- {files.out}/config/{file}\n{said}" for file, said in written.items()), flush=True)


def _prompts(file: Path) -> list[str]:
    """One a line, blank lines left out."""
    if not file.is_file():
        raise ConfigError(f"--prompts: {file}: no such file; a text file with one prompt a line belongs here")
    lines = file.read_text(encoding="utf-8-sig").replace("\r\n", "\n").split("\n")
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigError(f"--prompts: {file}: holds no prompt; one a line belongs here")
    return found


def _material(
    pipeline: Pipeline, files: Files, reward: Scorer, texts: dict[str, list[str]], *, processes: int, gpus: int
) -> Material:
    """What the configuration says of the files, their sha256 among it."""
    folder = pipeline.folder

    def asset(file: Path) -> Asset:
        return Asset(file=f"teacher/{file.relative_to(folder).as_posix()}", sha256=sha256(file))

    def listed(name: str) -> Asset:
        return Asset(file=name, sha256=hashlib.sha256(("\n".join(texts[name]) + "\n").encode()).hexdigest())

    images = None
    if files.images is not None:
        if not files.images.is_file():
            raise ConfigError(
                f"--images: {files.images}: no such file; a captions.jsonl beside its pictures belongs here"
            )
        images = Asset(file=f"images/{files.images.name}", sha256=sha256(files.images))
    return Material(
        kind=pipeline.kind,
        size=pipeline.size,
        latents=(pipeline.channels, pipeline.side),
        pixels=pipeline.pixels,
        scaling=pipeline.scaling,
        unet=[asset(file) for file in unet_files(folder)],
        autoencoder=asset(_one(folder / "vae", [f"diffusion_pytorch_model{end}.safetensors" for end in ("", ".fp16")])),
        encoder=[asset(file) for file in _encoder(pipeline)],
        prompts=listed("prompts.txt"),
        count=len(texts["prompts.txt"]),
        preview=listed("preview.txt"),
        previewed=len(texts["preview.txt"]),
        reward=reward,
        images=images,
        teacher=folder.resolve().name,
        processes=processes,
        gpus=gpus,
    )


def _encoder(pipeline: Pipeline) -> list[Path]:
    """Files of the tokenizers and the text encoders."""
    ends = ("", "_2") if pipeline.kind == "sdxl" else ("",)
    found: list[Path] = []
    for end in ends:
        words = pipeline.folder / f"tokenizer{end}"
        found += sorted(file for file in words.glob("*") if file.suffix in (".json", ".txt") and file.is_file())
        tower = pipeline.folder / f"text_encoder{end}"
        found += [_one(tower, ["config.json"]), _one(tower, TOWERS)]
    return found


def _one(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that is there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"--teacher: {folder} has no {' or '.join(names)}; save it anew with safe_serialization=True")


def _reward(flags: Flags, files: Files, shipped: Library, *, fetch: bool) -> tuple[Scorer, dict[str, Path]]:
    """The reward with its files by sha256, and where they are; as published where the method reads none.

    A file is looked for where --reward-weights says, else in the mirror and the cache, else at its address (`fetch`).
    """
    scorer = reward_of(shipped, flags.reward or "hpsv2", flags.reward_setting)
    if flags.method not in REWARDED:
        if flags.reward is not None:
            print(f"method '{flags.method}' reads no reward: '{flags.reward}' is written down and not read", flush=True)
        return scorer, {}
    assets, links = [], {}
    for asset in scorer.assets:
        try:
            file = _found(asset, scorer, files.reward_weights, shipped.choice.mirror, fetch=fetch)
        except MissingAsset as missing:
            if fetch:
                where = f"{shipped.choice.mirror or cache()}/{asset.file}"
                raise ConfigError(
                    f"--reward {scorer.name}: its file {asset.file} is nowhere. Put it at {where}, or name its folder "
                    f"with --reward-weights. It is published at {asset.url or 'no known address'}. {missing}"
                ) from missing
            print(f"{asset.file} is not on this machine; it will be fetched from {asset.url or 'nowhere'}", flush=True)
            assets.append(asset)
            continue
        name = Path(asset.file).name
        named = f"reward/{name if Path(name).suffix == file.suffix else file.name}"
        links[named] = file.absolute()
        assets.append(Asset(file=named, sha256=sha256(file), license=asset.license))
    return scorer.model_copy(update={"assets": assets}), links


def _found(asset: Asset, scorer: Scorer, given: Path | None, mirror: str | None, *, fetch: bool) -> Path:
    if given is None:
        return locate(asset if fetch else asset.model_copy(update={"url": None}), mirror)
    if given.is_file() and len(scorer.assets) == 1:
        return given
    for place in (given / Path(asset.file).name, given / asset.file):
        if place.is_file():
            return place
    names = ", ".join(Path(each.file).name for each in scorer.assets)
    raise ConfigError(f"--reward-weights: {given} has no {Path(asset.file).name}; '{scorer.name}' is made of {names}")


# --- an OUT that is there already ------------------------------------------------------------------------------------


def _kept(out: Path) -> dict[str, Any]:
    """What an earlier call wrote down, or nothing."""
    file = out / ASKED
    if file.is_file():
        return json.loads(file.read_text())
    if (out / "config").exists() or (out / "checkpoints").exists():
        raise ConfigError(f"--out: {out} is there and not of this verb: it has no {ASKED}; name another folder")
    return {}


def _refuse_edits(out: Path, kept: dict[str, Any]) -> None:
    """An edit is not overwritten."""
    for name, said in kept.get("written", {}).items():
        file = out / "config" / name
        if file.is_file() and file.read_text(encoding="utf-8") != said:
            raise ConfigError(
                f"{file} was edited since `amd new` wrote it. To train what it says now, follow {out}/README.md; to go "
                "on as before, delete the file"
            )


def _refuse_others(out: Path, kept: dict[str, Any], given: dict[str, Any], run: Run) -> None:
    """Once a training has begun, OUT is of its flags: what would make another student belongs into another OUT."""
    begun = (out / "state").exists() or (out / "checkpoints").exists()
    if not kept or not begun or (kept["digest"], kept["flags"]["seed"]) == (run.digest, run.seed):
        return
    before, free = kept["flags"], {"micro_batch", "samples", "reward_weights"}  # these change no student
    lines = [
        f"--{key.replace('_', '-')}: {before.get(key)} then, {given.get(key)} now"
        for key in sorted({*before, *given} - free)
        if json.dumps(before.get(key)) != json.dumps(given.get(key))
    ]
    if not lines:
        lines = ["not the flags but what they mean: the prompts, the teacher's or the reward's files, or this package"]
    raise ConfigError(
        [f"--out: {out} was begun as something else; repeat its flags, or name another folder. What differs:", *lines]
    )


# --- what is put there ------------------------------------------------------------------------------------------------


README = """# {title}

{about} Teacher: `{teacher}`, prompts: `{prompts}`.
Made by `amd new`; the same command goes on where it was stopped.

| | |
| --- | --- |
| `pipeline/` | the student: `DiffusionPipeline.from_pretrained`, sampled as its README.md says |{lora}
| `samples.png` | the first prompts, {each} images of each, the student beside its teacher |
| `config/` | what the flags mean |
| `{mirror}/` | the prompts, and links to the teacher's and the reward's files |
| `{folder}/` | the weights of student and fake teacher, with their sha256 |
| `state/` | what a stopped training goes on from; `journal.jsonl` in it has the curves |
| `{asked}` | the flags |

The other verbs work in this folder as in a checkout. To edit `config/` and train what it says then, without `amd new`,
which writes `config/` from its flags and refuses a folder that was edited:

```
python -m amd pretrain --system teacher --seed {teacher_seed} --out {teacher_folder} --state state/teacher
python -m amd distill --system student --seed {seed} --out {folder} --state state/edited
python -m amd sample --system student --seed {seed} --benchmark {preview} --out results/{preview}
python -m amd export --system student --seed {seed} --teacher {mirror}/teacher --out pipeline
```

`distill` replaces the student that is there, unless it is the one that `config/` means.
"""


def _readme(run: Run, files: Files) -> str:
    teacher, lora = run.teacher, run.system.student_lora
    assert teacher is not None
    return README.format(
        title=run.system.title,
        about=run.system.about,
        teacher=files.teacher.absolute(),
        prompts=files.prompts.absolute(),
        lora="\n| `lora/` | its low-rank branches alone, for `load_lora_weights` on the teacher |" if lora else "",
        each=EACH,
        mirror=MIRROR,
        folder=plan.folder(run),
        asked=ASKED,
        teacher_seed=teacher.seed,
        teacher_folder=plan.folder(teacher),
        seed=run.seed,
        preview=PREVIEW,
    )


def _put(file: Path, content: str) -> None:
    """Atomic."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(content, encoding="utf-8")
    part.replace(file)


def _link(link: Path, target: Path) -> None:
    """A link to `target`, in place of an older one."""
    link.parent.mkdir(parents=True, exist_ok=True)
    part = link.with_name(link.name + ".part")
    part.unlink(missing_ok=True)
    part.symlink_to(target.resolve(), target_is_directory=target.is_dir())
    part.replace(link)
