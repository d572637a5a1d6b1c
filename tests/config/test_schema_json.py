"""config/schema.json is what the types of the configuration say, and every file under config/ keeps to it."""

import json
from pathlib import Path

import jsonschema
import pytest

from amd.config import schema_json
from amd.config.load import FOLDERS
from amd.config.read import read

ROOT = Path(__file__).parents[2]


def test_the_file_is_in_step():
    assert (ROOT / schema_json.FILE).read_text() == schema_json.text(), "run: python -m amd.config.schema_json"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_keeps_to_it(folder: str):
    schema = schema_json.schema()
    one = {"$defs": schema["$defs"], "$ref": f"#/$defs/{FOLDERS[folder][0].__name__}"}
    validator = jsonschema.Draft202012Validator(one)
    for file in (ROOT / "config" / folder).glob("*.yaml"):
        validator.validate(json.loads(json.dumps(read(file).data)))


def test_it_refuses_a_misspelt_key():
    schema = schema_json.schema()
    one = {"$defs": schema["$defs"], "$ref": "#/$defs/System"}
    with pytest.raises(jsonschema.ValidationError, match="methdo"):
        jsonschema.validate({"methdo": "amd"}, one)
