"""A copy of the real config/ that a test may spoil, and the library as it stands."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from amd.config.load import ConfigError, Library, load

ROOT = Path(__file__).parents[2] / "config"

Edit = Callable[[str, str, str], None]
Put = Callable[[str, str, Any], None]
Refused = Callable[[list[str]], None]


@pytest.fixture(scope="session")
def library() -> Library:
    return load(ROOT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with everything of config/."""
    shutil.copytree(ROOT, tmp_path / "config")
    return tmp_path / "config"


@pytest.fixture
def edit(root: Path) -> Edit:
    """(file under config/, text, other text): the text must stand there exactly once."""

    def replace(file: str, old: str, new: str) -> None:
        text = (root / file).read_text()
        assert text.count(old) == 1, f"{file} holds {old!r} {text.count(old)} times"
        (root / file).write_text(text.replace(old, new))

    return replace


@pytest.fixture
def put(root: Path) -> Put:
    """(file under config/, dotted key, value): the key is set, whatever stood there, or taken away by `...`.

    The file loses its comments and its order of lines, so a test that is about those edits the text.
    """

    def replace(file: str, key: str, value: Any) -> None:
        content = yaml.safe_load((root / file).read_text())
        *parents, last = key.split(".")
        within = content
        for parent in parents:
            within = within[int(parent) if isinstance(within, list) else parent]
        if value is ...:
            del within[last]
        else:
            within[last] = value
        (root / file).write_text(yaml.safe_dump(content, sort_keys=False))

    return replace


@pytest.fixture
def refused(root: Path) -> Refused:
    """(what must be said): the folder does not load, and the message says all of it."""

    def check(said: list[str]) -> None:
        with pytest.raises(ConfigError) as refusal:
            load(root)
        for fragment in said:
            assert fragment in str(refusal.value)

    return check
