"""config/schema.json from the types of the configuration, for editors: `python -m amd.config.schema_json` writes it.

An editor that knows JSON schemas completes and checks config/*/*.yaml by it; amd itself never reads it.
"""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from amd.config.load import FOLDERS
from amd.config.schema.choice import Choice

FILE = Path("config/schema.json")
WHOLE = {"Asset", "Column", "Row"}  # items of lists, which `extends` replaces and does not merge


def schema() -> dict[str, Any]:
    """One JSON schema with a definition per kind of file; the loader's own key `extends` included."""
    models: list[type[BaseModel]] = [Choice, *(model for model, _ in FOLDERS.values())]
    _, content = models_json_schema([(model, "validation") for model in models], title="Files under config/")
    for model, noun in FOLDERS.values():
        definition = content["$defs"][model.__name__]
        definition["properties"].pop("name")  # the file's stem
        definition["properties"]["extends"] = {"type": "string", "description": f"Another {noun}: merged, ours wins."}
    for name, definition in content["$defs"].items():
        if name in WHOLE:
            continue
        definition.pop("required", None)  # may come from the file that this one extends
        for each in definition.get("properties", {}).values():
            if isinstance(free := each.get("additionalProperties"), dict):  # null takes an inherited key away
                each["additionalProperties"] = {"anyOf": [free, {"type": "null"}]}
    content["anyOf"] = [{"$ref": f"#/$defs/{model.__name__}"} for model in models]
    return content


def text() -> str:
    """What the file holds."""
    return json.dumps(schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    part = FILE.with_suffix(".json.part")
    part.write_text(text(), encoding="utf-8")
    os.replace(part, FILE)
    print(f"wrote {FILE}")
