"""Files that are fetched, never made: found by name, believed by sha256.

Looked for in the mirror folder, in folders a source knows, in the cache; then at the asset's address. What has the
wrong sha256 is said and not used. The cache is $AMD_CACHE, or ~/.cache/amd-distillation.
"""

import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from amd.config.schema.assets import Asset

TIMEOUT_S = 30


class MissingAsset(FileNotFoundError):
    """A file that is nowhere; the message names it, says where it was looked for and where to put it."""


def cache() -> Path:
    """Where fetched files stay."""
    return Path(os.environ.get("AMD_CACHE") or Path.home() / ".cache" / "amd-distillation")


def locate(
    asset: Asset,
    mirror: str | Path | None = None,
    *,
    folders: Sequence[Path] = (),
    fetchers: Sequence[Callable[[Asset, Path], bool]] = (),
) -> Path:
    """The file on this machine, verified. Raises MissingAsset.

    `folders`: where else it may already lie. `fetchers`: (asset, destination) -> whether it is there now, tried before
    the asset's own address.
    """
    home = cache()
    wanted = asset.sha256 or _recorded(home, asset)
    places = [*([Path(mirror)] if mirror else []), *folders, home]
    tried = []
    for place in places:
        tried.append(f"{place / asset.file}: {_complaint(place / asset.file, wanted) or 'there'}")
        if tried[-1].endswith(": there"):
            return _accept(place / asset.file, asset, home)
    target = home / asset.file
    for fetch in (*fetchers, *([_download] if asset.url else [])):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            arrived = fetch(asset, target)
        except (OSError, urllib.error.URLError) as error:
            tried.append(f"{getattr(fetch, '__name__', fetch)}: {error}")
            continue
        complaint = _complaint(target, wanted) if arrived else "not to be had"
        if complaint is None:
            return _accept(target, asset, home)
        tried.append(f"{getattr(fetch, '__name__', fetch)}: {complaint}")
    where = Path(mirror) / asset.file if mirror else target
    known = f"sha256 {wanted or 'not recorded yet'}; {asset.url or 'no address'}; {asset.license or 'licence unknown'}"
    raise MissingAsset(
        f"{asset.file} ({known})"
        f" was not found. Put it at {where}, or set mirror: in config/config.yaml to a folder that has it. Tried:\n  "
        + "\n  ".join(tried)
    )


def sha256(file: Path) -> str:
    """Hex digest; remembered in the cache by path, size and time of change, since some assets are large."""
    status, memory = file.stat(), cache() / "verified.json"
    stamp = [status.st_size, status.st_mtime_ns]
    known = json.loads(memory.read_text()) if memory.is_file() else {}
    entry = known.get(str(file.resolve()))
    if entry and entry[:2] == stamp:
        return entry[2]
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _write(memory, json.dumps({**known, str(file.resolve()): [*stamp, digest]}, indent=1))
    return digest


def _complaint(file: Path, wanted: str | None) -> str | None:
    """Why this file is not the one, or None. A wrong one is also said aloud: it is somebody's mistake."""
    if not file.is_file():
        return "no such file"
    if wanted is None or (found := sha256(file)) == wanted:
        return None
    complaint = f"sha256 is {found}, wanted {wanted}"
    print(f"{file}: {complaint}; not used", file=sys.stderr, flush=True)
    return complaint


def _accept(file: Path, asset: Asset, home: Path) -> Path:
    if asset.sha256 is None and _recorded(home, asset) is None:
        _write(home / "recorded" / f"{asset.file.replace('/', '--')}.sha256", sha256(file) + "\n")
    return file


def _recorded(home: Path, asset: Asset) -> str | None:
    """The sha256 an asset without one had at its first use here."""
    file = home / "recorded" / f"{asset.file.replace('/', '--')}.sha256"
    return file.read_text().strip() if file.is_file() else None


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(text)
    os.replace(part, file)


def _download(asset: Asset, target: Path) -> bool:
    """From the asset's address into target.part, then renamed: a broken download never looks like the file."""
    assert asset.url
    print(f"fetching {asset.file} from {asset.url}", file=sys.stderr, flush=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(asset.url, timeout=TIMEOUT_S) as answer, part.open("wb") as sink:
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=asset.file, disable=None) as bar:
                while block := answer.read(1 << 20):
                    sink.write(block)
                    bar.update(len(block))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return True
