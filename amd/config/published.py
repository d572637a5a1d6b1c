"""What DVC says of checkpoints: which are published, which were pulled, and which a table needs. Without torch or DVC.

`checkpoints/{scale}/{run}/seed{n}.dvc` stands in git beside the folder. DVC fills `outs` (the bytes); `meta` is ours:
the digest of the configuration and the sha256 of the weights, so that a foreign checkpoint is refused unseen.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from amd.config import plan
from amd.config.jobs import jobs
from amd.config.load import Library, Run
from amd.config.read import ConfigError, unknown
from amd.config.schema.choice import Choice

MARK = ".origin.json"  # left in a folder by `amd pull` and `amd track`; in .dvcignore, so it is no part of the bytes
STAMP = ".snakemake_timestamp"  # Snakemake leaves it in every folder that a job of this checkout made


@dataclass(frozen=True)
class Record:
    """A .dvc file."""

    folder: Path
    md5: str  # of the folder's listing: two equal ones are equal byte by byte
    size: int  # bytes
    digest: str | None  # of the run; None where something else than `amd track` wrote the file
    weights: str | None  # sha256 of what the run is for
    meta: dict[str, Any]


def record_file(folder: Path | str) -> Path:
    """The .dvc file of a checkpoint's folder."""
    return Path(f"{folder}.dvc")


def read_record(folder: Path | str) -> Record | None:
    """What is published as this checkpoint; None where nothing is. ConfigError names a file that is no such record."""
    file = record_file(folder)
    if not file.is_file():
        return None
    try:
        content = yaml.safe_load(file.read_text())
        out, meta = content["outs"][0], content.get("meta") or {}
        return Record(Path(folder), out["md5"], out.get("size", 0), meta.get("digest"), meta.get("weights"), meta)
    except (yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file}: not a DVC record of one folder ({error}); `git checkout -- {file}`") from error


def read_meta(folder: Path | str) -> dict[str, Any] | None:
    """meta.json of a finished checkpoint, as far as it can be read; its weights are verified where they are loaded."""
    try:
        meta = json.loads((Path(folder) / "meta.json").read_text())
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) and isinstance(meta.get("files"), dict) else None


def weights_of(meta: dict[str, Any]) -> str | None:
    """sha256 of the file that a checkpoint is for: student, teacher or classifier."""
    return meta["files"].get(f"{meta.get('kind')}.safetensors")


def pulled(folder: Path | str) -> bool:
    """Whether a checkpoint that is there came from DVC's store and was not made by a job of this checkout.

    `amd pull` and `amd track` leave their mark. `dvc pull`, typed by hand, leaves none: then the weights are the
    published ones and Snakemake's stamp is missing.
    """
    folder = Path(folder)
    try:
        return bool(json.loads((folder / MARK).read_text())["pulled"])
    except (OSError, ValueError, KeyError, TypeError):
        meta, record = read_meta(folder), read_record(folder)
    if meta is None or record is None or (folder / STAMP).is_file():
        return False
    return record.weights is None or record.weights == weights_of(meta)


def origins(root: Path = Path()) -> tuple[list[str], list[str]]:
    """The finished checkpoints that are there: those that were pulled, and those that were made here."""
    brought: list[str] = []
    made: list[str] = []
    for file in sorted((root / "checkpoints").glob("*/*/seed*/meta.json")):
        if file.parent.suffix != ".part":
            (brought if pulled(file.parent) else made).append(file.parent.relative_to(root).as_posix())
    return brought, made


# --- refusals --------------------------------------------------------------------------------------------------------


def foreign(folder: Path | str, found: object, wanted: str) -> str:
    """What is said of a published checkpoint that belongs to another configuration: both digests and the ways out."""
    return (
        f"{folder}: published with config digest {found}, but config/ now means digest {wanted}, so these weights are "
        f"another experiment's. {ways_out(folder)}"
    )


def ways_out(folder: Path | str) -> str:
    """How to go on with a checkpoint that belongs to another configuration than config/."""
    file = record_file(folder)
    remake = f"delete {folder} and make it here: `snakemake --config checkpoints=train -- ...`"
    if not file.is_file():
        return f"Ways out: {remake}; or take back the change in config/."
    return (
        f"Ways out: take back the change in config/ (`git diff $(git log -1 --format=%h -- {file}) -- config` "
        f"shows what changed since it was published); or take the record that fits (`git log -- {file}`, "
        f"then `git checkout COMMIT -- {file}` and `dvc checkout {file}`); or {remake}."
    )


def fitting(run: Run) -> Record:
    """The record of a run's checkpoint, of the same digest. ConfigError where none is published, or another one is."""
    folder = plan.folder(run)
    record = read_record(folder)
    if record is None:
        there = sorted(str(file) for file in Path("checkpoints", run.scale.name).glob("*/seed*.dvc"))
        raise ConfigError(
            f"{record_file(folder)}: not there, so {folder} is not published in this commit. At scale "
            f"'{run.scale.name}' {len(there)} are{': ' + ', '.join(there) if there else ''}. Ways out: `git pull`; "
            "or make it here: `snakemake --config checkpoints=train -- ...`"
        )
    if record.digest is not None and record.digest != run.digest:
        raise ConfigError(foreign(folder, record.digest, run.digest))
    return record


# --- what is chosen, what is needed ----------------------------------------------------------------------------------


def chosen(library: Library, asked: object = None) -> str:
    """Who makes checkpoints, "train" or "pull": `--config checkpoints=` if it was said, else config.yaml."""
    if asked is not None and asked not in (known := get_args(Choice.model_fields["checkpoints"].annotation)):
        raise ConfigError(f"--config checkpoints={asked}: {unknown(asked, 'way to get checkpoints', known)}")
    return library.choice.checkpoints if asked is None else str(asked)


def needed(library: Library, scale: str, tables: Iterable[str], figures: Iterable[str] = ()) -> list[str]:
    """Folders that suffice to sample, score and trace these tables and figures: what to pull to retrain nothing."""
    found: list[str] = []
    for job in jobs(library, scale, tables, figures):
        if job.run is None or job.benchmark is None:
            continue
        own = [] if job.run.system.kind == "released" else [plan.folder(job.run)]  # files of others are fetched
        if job.rule == "trace":
            found += [*plan.traced(job.run), *plan.scorers(job.run)]
        elif job.rule in ("sample", "shard"):
            found += own
        elif job.rule == "score":
            found += [*own, *plan.scorers(job.run)]
    return list(dict.fromkeys(found))


def runs(library: Library, scale: str, tables: Iterable[str], figures: Iterable[str] = ()) -> list[Run]:
    """Every run that these tables and figures train, each once: what `publish` tracks."""
    trained = [job.run for job in jobs(library, scale, tables, figures) if job.rule in ("pretrain", "distill")]
    return [run for run in trained if run is not None]
