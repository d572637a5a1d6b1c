"""Score clips by a published package, in the environment that holds it: `python -I clips.py MANIFEST RECORDS`.

The manifest is JSON: {"scorer": a folder beside this file, "dimension": a name or null, "files": {name: path},
"device": "cpu", "samples": [{"index", "video", "prompt", "row", "picture"?}]}, every path absolute. The records are
JSON lines, one per sample and in order, {"index", "values": {name: number or null}, "files": {name: sha256 of what was
read}, "preprocessing"}, written beside and renamed. It imports nothing of amd. One process per dimension: some numbers
of VBench depend on how many processes share one, and its networks do not fit beside each other.
"""

import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path

# upstream's torch.load calls say nothing of it: nothing that was fetched is unpickled
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"


def main(manifest: Path, records: Path) -> None:
    """Read the manifest, score, write the records."""
    asked = json.loads(manifest.read_text())
    file = Path(__file__).parent / asked["scorer"] / "scorer.py"
    spec = importlib.util.spec_from_file_location("scorer", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    used = module.needs(asked["dimension"])
    if missing := [name for name in used if name not in asked["files"]]:
        raise SystemExit(
            f"{asked['scorer']} {asked['dimension'] or ''} needs the file {missing[0]}, which is not given"
        )
    read = {name: digest(Path(asked["files"][name])) for name in used}
    values, preprocessing = module.score(asked)
    part = records.with_name(records.name + ".part")
    with part.open("w") as lines:
        for sample, found in zip(asked["samples"], values, strict=True):
            row = {"index": sample["index"], "values": found, "files": read, "preprocessing": preprocessing}
            lines.write(json.dumps(row) + "\n")
    os.replace(part, records)


def digest(file: Path) -> str:
    """sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
