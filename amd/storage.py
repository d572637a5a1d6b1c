"""Bytes of checkpoints: one finished folder into DVC's cache (`amd track`), one out of a store (`amd pull`).

DVC refuses to run twice at a time in a checkout, and many jobs end at once, so each call waits for a lock of ours. What
DVC prints is passed on without credentials. Nothing here decides what runs: that is Snakemake's part.
"""

import configparser
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from amd.config import plan
from amd.config.load import Run
from amd.config.published import (
    MARK,
    fitting,
    foreign,
    pulled,
    read_meta,
    read_record,
    record_file,
    ways_out,
    weights_of,
)
from amd.config.read import ConfigError


class StoreError(ConfigError):
    """DVC's own trouble: no store named, none reached, bytes missing. Told as plainly as a ConfigError is."""


LOCK = Path(".dvc/tmp/amd.lock")
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
SECRET_KEYS = ("access_key", "secret", "token", "password", "key_id", "account_key", "connection_string", "sas")
BUSY = ("Unable to acquire lock", "it is being blocked by")  # DVC's two ways to say that another one is at work
PATIENCE_S = 600.0  # how long a `dvc` typed by hand at the same time is waited for


# --- one DVC at a time -----------------------------------------------------------------------------------------------


@contextmanager
def alone() -> Iterator[None]:
    """Hold this checkout's lock; waits for the others. ConfigError outside a checkout with .dvc/."""
    if not Path(".dvc/config").is_file():
        raise ConfigError(".dvc/config: no such file here; run from the root of a clone")
    LOCK.parent.mkdir(parents=True, exist_ok=True)  # a clone has no .dvc/tmp
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, so a killed holder blocks nobody
        yield


def dvc(*arguments: str, patience_s: float = PATIENCE_S) -> str:
    """`dvc ARGUMENTS`; what it said, credentials masked. StoreError when it failed, ConfigError when it is absent."""
    if find_spec("dvc") is None:
        raise ConfigError("dvc is not installed in this environment: pip install -c requirements.lock -e '.[cluster]'")
    deadline = time.monotonic() + patience_s
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            env=os.environ | {"DVC_NO_ANALYTICS": "1"},
            stdin=subprocess.DEVNULL,  # a question is an answer of "no"
            capture_output=True,
            text=True,
        )
        said = masked(done.stdout + done.stderr, secrets())
        if done.returncode == 0:
            return said
        if not any(busy in said for busy in BUSY) or time.monotonic() > deadline:
            raise StoreError(f"`dvc {' '.join(arguments)}` exited {done.returncode}:\n{said.strip()}")
        time.sleep(1.0)  # somebody typed a dvc command beside us


def secrets() -> list[str]:
    """Values that no log may show: the cloud's variables, and what .dvc/config.local keeps for remotes."""
    found = [os.environ.get(name, "") for name in SECRETS]
    local = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error):  # DVC itself will say so
        local.read(".dvc/config.local")
    for section in local.sections():
        found += [value for key, value in local.items(section) if any(word in key.lower() for word in SECRET_KEYS)]
    return [value for value in (each.strip("\"'") for each in found) if len(value) > 3]


def masked(text: str, values: Iterable[str]) -> str:
    """`text` with each of the values replaced; the longest first, should one hold another."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


# --- track -----------------------------------------------------------------------------------------------------------


def track(run: Run) -> Path:
    """Put a finished checkpoint into DVC's cache and write its .dvc file; returns that file.

    The folder is only read: it keeps its files, links and times, so that a job that samples from it meanwhile sees no
    gap and nothing is made anew. ConfigError where it is unfinished or another configuration's.
    """
    folder = Path(plan.folder(run))
    meta = read_meta(folder)
    if meta is None:
        raise ConfigError(f"{folder}: no finished checkpoint there (meta.json is missing or torn); make it first")
    if meta.get("digest") != run.digest:
        raise ConfigError(
            f"{folder}: made with config digest {meta.get('digest')}, but config/ now means digest {run.digest}; "
            f"it is not published as what it is not. {ways_out(folder)}"
        )
    file = record_file(folder)
    if not pulled(folder):
        mark(folder, meta, pulled=False)
    with alone():
        before = _seen(folder)
        # DVC would otherwise replace each file by a link into its cache, under the eyes of whoever reads it
        dvc("add", "--no-relink", str(folder))
        content = yaml.safe_load(file.read_text())
        if _seen(folder) == before:
            one_copy(folder, content["outs"][0]["md5"])
        write_text(file, yaml.safe_dump({"outs": content["outs"], "meta": _about(run, meta)}, sort_keys=False))
    record = read_record(folder)
    assert record is not None
    print(f"{file}: {record.size} bytes, weights {str(record.weights)[:12]}, digest {run.digest}", flush=True)
    return file


def one_copy(folder: Path, listing: str) -> None:
    """Make DVC's cached files the checkpoint's very files, by hard links, so that their bytes are on the disk once.

    `listing` is what DVC calls the folder. It is the cache that changes: readers of the folder, and what is kept beside
    the training state (`amd.train.kept`), notice nothing. Files become read-only, as all of DVC's are; nothing of ours
    writes into one. Where there are no hard links, as between two file systems, both copies stay.
    """
    cache = Path(dvc("cache", "dir").strip()) / "files/md5"
    for entry in json.loads(_cached(cache, listing).read_text()):
        kept, own = _cached(cache, entry["md5"]), folder / entry["relpath"]
        if kept.samefile(own):
            continue
        link = kept.with_name(kept.name + ".part")
        try:
            link.unlink(missing_ok=True)
            os.link(own, link)
            own.chmod(0o444)
            os.replace(link, kept)
        except OSError:
            return


def _cached(cache: Path, name: str) -> Path:
    return cache / name[:2] / name[2:]


def _seen(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Which files are there, by what changes when one is written anew."""
    found = {file: file.stat() for file in sorted(folder.rglob("*")) if file.is_file()}
    return {str(file): (about.st_ino, about.st_mtime_ns, about.st_size) for file, about in found.items()}


def _about(run: Run, meta: dict[str, Any]) -> dict[str, Any]:
    """What a reader of git wants to know of the bytes, and `amd pull` checks before it fetches them."""
    return {
        "scale": run.scale.name,
        "run": run.name,
        "seed": run.seed,
        "kind": run.system.kind,
        "title": run.system.title,
        "method": run.system.method,
        "iterations": run.stage_iterations or None,
        "domain": run.domain.name,
        "digest": run.digest,
        "weights": weights_of(meta),
        "git_sha": meta.get("git_sha"),
        "created": meta.get("created"),
    }


# --- pull ------------------------------------------------------------------------------------------------------------


def pull(run: Run) -> Path:
    """Fetch a run's published checkpoint; returns its folder. Whatever does not belong to config/ is refused.

    ConfigError: nothing is published, or another digest (before a byte is fetched); StoreError: DVC's own trouble.
    """
    record = fitting(run)
    folder = record.folder
    made_here = read_meta(folder) is not None and not pulled(folder)
    with alone():
        try:
            said = dvc("pull", str(folder))
        except StoreError as error:
            raise StoreError(f"{error}\n{_hint(str(error), folder)}") from error
    meta = read_meta(folder)
    if meta is None:
        raise StoreError(f"{folder}: pulled, but it holds no meta.json; was {record_file(folder)} edited?\n{said}")
    if meta.get("digest") != run.digest:
        raise ConfigError(foreign(folder, meta.get("digest"), run.digest))
    if missing := [name for name in meta["files"] if not (folder / name).is_file()]:
        raise StoreError(f"{folder}: pulled without {', '.join(missing)}, which its meta.json lists; pull again")
    one_copy(folder, record.md5)
    if made_here:
        print(f"{folder}: was here already, the same bytes as published", flush=True)
        return folder
    mark(folder, meta, pulled=True)
    print(
        f"{folder}: pulled {record.size} bytes, weights {str(weights_of(meta))[:12]}, digest {run.digest}", flush=True
    )
    return folder


def mark(folder: Path, meta: dict[str, Any], *, pulled: bool) -> None:
    """Say in the folder where it came from; the mark goes when the folder is made anew. The folder's time stays."""
    before = folder.stat()
    write_text(folder / MARK, json.dumps({"pulled": pulled, "weights": weights_of(meta)}) + "\n")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))


def _hint(said: str, folder: Path) -> str:
    """What to do about the commonest troubles of a pull."""
    if not dvc("remote", "list").strip():
        return "Name the store that the checkpoints are in: `dvc remote add --local --default store URL-OR-FOLDER`"
    if "--force" in said or "going to be removed" in said:
        return f"{folder} holds other files than the published ones; move it away, or `dvc checkout --force {folder}`"
    if "missing-files" in said or "Missing cache files" in said or "missing from" in said:
        return "The store does not have these bytes; whoever published them still has to `dvc push`"
    return "The store is in .dvc/config or .dvc/config.local (`dvc remote list`); credentials in config.local or AWS_*"


def write_text(file: Path, text: str) -> None:
    """Atomic, also among processes that write the same file: beside it under a name of one's own, then renamed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, file)
