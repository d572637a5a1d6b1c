"""A YAML file becomes a checked model: duplicate keys refused, `extends` merged, complaints with file and line.

YAML 1.2's scalars: only true and false are booleans, 2e-5 is a number, dates are text.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Location = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)
DEEPEST = 20  # no config nests deeper; an anchor that contains itself would


class ConfigError(ValueError):
    """What is wrong in config/, one problem a line: file, key, value, and what would be right."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


def unknown(value: object, noun: str, known: Iterable[str]) -> str:
    """`'sit-amdd' is no system; did you mean 'sit-amd'? known: ...`."""
    names = sorted(known)
    close = [name for name in names if name.startswith(str(value))] or difflib.get_close_matches(str(value), names, n=1)
    hint = f" did you mean '{close[0]}'?" if close else ""
    return f"{value!r} is no {noun};{hint} known: {', '.join(names) or '(none yet)'}"


def spell(location: Location) -> str:
    """('rows', 2, 'system') -> rows[2].system."""
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


@dataclass(frozen=True)
class Place:
    """Where a key stands."""

    file: Path
    line: int


@dataclass(frozen=True)
class Document:
    """A parsed file; `places` remembers where each key was written, also those that `extends` brought in."""

    file: Path
    data: dict[str, Any]
    places: dict[Location, Place]

    def at(self, *location: str | int) -> str:
        """`config/tables/table4.yaml: rows[2].system (line 31)`, the start of every complaint."""
        known = location
        while known and known not in self.places:
            known = known[:-1]
        place = self.places.get(known)
        line = ""
        if known and place is not None:
            line = f" (line {place.line})" if place.file == self.file else f" ({place.file}, line {place.line})"
        return f"{self.file}: {spell(location)}{line}" if location else f"{self.file}"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """SafeLoader with the scalars of YAML 1.2's core schema, less infinities and NaN, which no config may hold."""

    yaml_implicit_resolvers: typing.ClassVar[dict[str, list[Any]]] = {}


for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def read(file: Path) -> Document:
    """Parse one file. Raises ConfigError for a syntax error, a duplicate key, a key that is no text."""
    places: dict[Location, Place] = {}
    loader = _Loader(file.read_text(encoding="utf-8"))
    try:
        node = loader.get_single_node()
        data = {} if node is None else _build(loader, node, (), file, places)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: no valid YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: holds {data!r}; a mapping of keys to values belongs here")
    return Document(file, data, places)


def _build(loader: Any, node: yaml.Node, at: Location, file: Path, places: dict[Location, Place]) -> Any:
    places.setdefault(at, Place(file, node.start_mark.line + 1))
    if len(at) > DEEPEST:
        raise ConfigError(f"{file}: {spell(at[:3])}... nests deeper than {DEEPEST} levels; an anchor may hold itself")
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*at, i), file, places) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    built: dict[str, Any] = {}
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        key = loader.construct_object(key_node)
        if not isinstance(key, str):
            raise ConfigError(f"{file}: {spell(at) or 'top level'} (line {line}): key {key!r} must be text; quote it")
        if key in built:
            first = places[(*at, key)].line
            raise ConfigError(f"{file}: {spell((*at, key))} (line {line}): duplicate key, first on line {first}")
        places[(*at, key)] = Place(file, line)
        built[key] = _build(loader, value, (*at, key), file, places)
    return built


def extend(documents: Mapping[str, Document], name: str, noun: str, path: tuple[str, ...] = ()) -> Document:
    """`extends: other` merged: mappings key by key, everything else replaced; null takes an inherited key away."""
    document = documents[name]
    parent = document.data.get("extends")
    if parent is None:
        return document
    if not isinstance(parent, str) or parent not in documents:
        raise ConfigError(f"{document.at('extends')}: {unknown(parent, noun, set(documents) - {name})}")
    if parent == name or parent in path:
        raise ConfigError(f"{document.at('extends')}: {' -> '.join([*path, name, parent])} goes in a circle")
    base = extend(documents, parent, noun, (*path, name))
    own = {key: value for key, value in document.data.items() if key != "extends"}
    places = dict(base.places)
    data = _merge(base.data, own, (), places)
    return Document(document.file, data, places | document.places)


def _merge(base: dict[str, Any], own: dict[str, Any], at: Location, places: dict[Location, Place]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        here = (*at, key)
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merge(base[key], value, here, places)
        else:
            merged[key] = value
            if value is None:
                del merged[key]
            for old in [place for place in places if place[: len(here)] == here]:
                del places[old]
    return merged


REASONS: dict[str, str] = {  # where -> why it is asked for, or why its range is what it is
    "numbers.s": "alpha = 1 + s a and beta = 1 - s a (Eq. 13) with |a| <= 1: s >= 1 turns a force's sign; try 0.5",
    "reward": "methods that read a reward (AMD, naive, DMDR) cannot run without one; "
    "e.g. reward: {name: classifier, system: digits-reward}",
    "judge": "scores need one; e.g. judge: {name: classifier, system: digits-judge}",
    "cfg_weight": "w of Eq. 9: uncond + w (cond - uncond); 1 is no guidance",
}


def validate(model: type[M], document: Document, name: str | None = None) -> M:
    """The document as `model`, strictly typed. Raises ConfigError with every complaint."""
    data = dict(document.data)
    if name is not None:
        if "name" in data:
            raise ConfigError(f"{document.at('name')}: the name is the file's: '{name}'; leave the key out")
        data["name"] = name
    try:
        # by way of JSON: strict types, and yet a list may fill a tuple
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise ConfigError([_complaint(model, document, detail) for detail in error.errors()]) from error


def _complaint(model: type[BaseModel], document: Document, detail: Any) -> str:
    location: Location = detail["loc"]
    kind, value = detail["type"], detail["input"]
    reason = REASONS.get(spell(location), "")
    because = f" ({reason})" if reason else ""
    if kind == "extra_forbidden":
        owner = _owner(model, location[:-1])
        known = [field.alias or key for key, field in owner.model_fields.items()] if owner else []
        known = [key for key in known if key != "name" or len(location) > 1]
        return f"{document.at(*location)}: {unknown(location[-1], 'key here', known)}"
    if location and location[-1] == "[key]":
        return f"{document.at(*location[:-1])}: {value!r} is no key here; {detail['msg'].lower()}"
    if kind == "missing":
        return f"{document.at(*location)}: missing{because}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        if known and isinstance(value, str):
            return f"{document.at(*location)}: {unknown(value, 'choice', known)}{because}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{document.at(*location)}: {value!r} will not do: {message[:1].lower()}{message[1:]}{because}"


def _owner(annotation: Any, location: Location) -> type[BaseModel] | None:
    """The model whose keys stand at `location`."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        found = (_owner(part, location) for part in typing.get_args(annotation))
        return next((model for model in found if model is not None), None)
    if origin in (list, dict, tuple):
        return _owner(typing.get_args(annotation)[-1], location[1:]) if location else None
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return None
    if not location:
        return annotation
    for key, field in annotation.model_fields.items():
        if location[0] in (key, field.alias):
            return _owner(field.annotation, location[1:])
    return None
