"""Score samples by a published package, in the environment that holds it: `python -I score.py MANIFEST RECORDS`.

The manifest is JSON: {"scorer": a folder beside this file, "files": {role: path}, "settings": {}, "device": "cpu",
"samples": [{"index", "image", "prompt"}]}, every path absolute. The records are JSON lines, one per sample and in
order, {"index", "value", "revision", "preprocessing"}, written beside and renamed. It imports nothing of amd.
"""

import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path


def main(manifest: Path, records: Path) -> None:
    """Read the manifest, score, write the records."""
    asked = json.loads(manifest.read_text())
    weights = Path(asked["files"]["weights"])
    with weights.open("rb") as stream:
        revision = hashlib.file_digest(stream, "sha256").hexdigest()
    file = Path(__file__).parent / asked["scorer"] / "scorer.py"
    spec = importlib.util.spec_from_file_location("scorer", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    score, preprocessing = module.build(asked["files"], asked["settings"], asked["device"])
    part = records.with_name(records.name + ".part")
    with part.open("w") as lines:
        for sample in asked["samples"]:
            value = score(Path(sample["image"]), sample["prompt"])
            row = {"index": sample["index"], "value": value, "revision": revision, "preprocessing": preprocessing}
            lines.write(json.dumps(row) + "\n")
    os.replace(part, records)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
