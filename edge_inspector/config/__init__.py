"""The station file: the only reader of the TOML."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pydantic
from pydantic import TypeAdapter

from edge_inspector.config.checks import crossed, leaves, strange_values, twice, unusable
from edge_inspector.config.problems import (
    CONTROL,
    DEEPEST,
    Problem,
    StationFileError,
    dotted,
    follows,
    problem_of,
    value_problem,
)
from edge_inspector.config.station_file import AnyCamera, AnyPlc, AnyPublisher, StationConfig
from edge_inspector.settings import CameraConfig, PlcConfig, PluginConfig, Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Draft", "Problem", "StationConfig", "StationFileError", "content", "dotted", "draft", "json_schema", "load"]
LARGEST = 1_000_000
"""Bytes of a station file: some thousand recipes."""


@dataclass(frozen=True)
class Draft:
    """A station file as far as it is right: `station` is None when anything is wrong with the file itself.

    The tables hold what is right in itself, so that one bad key does not hide what is wrong elsewhere.
    """

    station: StationConfig | None
    problems: tuple[Problem, ...]
    cameras: Mapping[str, CameraConfig] = field(default_factory=dict)
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    plc: Mapping[str, PlcConfig] = field(default_factory=dict)
    publishers: Mapping[str, PluginConfig] = field(default_factory=dict)


def load(path: Path) -> StationConfig:
    """Read and check one station file. StationFileError lists every problem of the file itself.

    What lies outside of it (bundles, calibrations, certificates) is checked by assembly.
    """
    read = draft(path)
    if read.station is None:
        raise StationFileError(list(read.problems))
    return read.station


def draft(path: Path) -> Draft:
    """Read one station file as far as possible. StationFileError when it is no TOML at all."""
    raw = _parse(path)
    context = {"base": path.resolve().parent}
    problems = {problem.key: problem for problem in strange_values(path, raw)}
    station = None
    try:
        station = _validated(StationConfig, raw, context)
    except pydantic.ValidationError as exc:
        found = exc.errors(include_url=False)
        problems |= {p.key: p for p in (problem_of(path, error) for error in found if not follows(error))}
    tables = {
        name: _valid(raw.get(name), model, context)
        for name, model in {"cameras": AnyCamera, "recipes": Recipe, "plc": AnyPlc, "publishers": AnyPublisher}.items()
    }
    for problem in [*crossed(path, raw, tables["recipes"]), *twice(path, tables)]:
        problems.setdefault(problem.key, problem)
    return Draft(station=None if problems else station, problems=tuple(problems.values()), **tables)


def content(path: Path) -> bytes:
    """A station file as it is written. StationFileError when it cannot be read, or is no such file at all.

    A running station reads it, too: it must neither wait for a pipe nor be filled by whatever was copied there.
    """
    try:
        kind = path.stat().st_mode
        what = "is a pipe or a device; expected a file, because it is read more than once"
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            with path.open("rb") as file:
                written = file.read(LARGEST + 1)
            if len(written) <= LARGEST:
                return written
            what = f"is larger than {LARGEST // 1_000_000} MB; expected a station file"
    except FileNotFoundError:
        what = "no such file; give the path of a station file, or begin with deploy/examples/station.toml"
    except IsADirectoryError:
        what = "is a folder; give the path of a station file"
    except PermissionError:
        what = "may not be read by this user"
    except OSError as exc:
        what = f"cannot be read: {exc.strerror}"
    raise StationFileError([Problem(path, "", "", what)])


def json_schema() -> dict[str, Any]:
    """JSON Schema of the station file, every installed plugin included."""
    schema = _adapter(StationConfig).json_schema()
    for model in schema["$defs"].values():
        if "const" in model["properties"].get("type", {}):  # a plugin's `type` is asked for, whatever its default
            model["required"] = sorted({*model.get("required", ()), "type"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _parse(path: Path) -> dict[str, Any]:
    """What the file says; a byte order mark, as Windows editors write it, is no mistake."""
    written = content(path)
    try:
        raw = tomllib.loads(written.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as exc:
        what = f"is not UTF-8 text (byte {exc.start}); expected a TOML file"
    except ValueError as exc:  # TOMLDecodeError is one; a number of more than 4300 digits is another
        what = f"is not TOML: {CONTROL.sub(' ', str(exc))}"
    except RecursionError:
        what = f"is nested too deeply; expected at most {DEEPEST} tables and arrays in each other"
    else:
        problems = [value_problem(path, *leaf, strange) for leaf in leaves(raw) if (strange := unusable(*leaf))]
        if problems:
            raise StationFileError(problems)
        return raw
    raise StationFileError([Problem(path, "", "", what)])


def _validated(model: Any, table: object, context: dict[str, Any]) -> Any:
    """As JSON, and strictly: what the JSON Schema calls a string is not also taken for a number."""
    return _adapter(model).validate_json(json.dumps(table, default=str), strict=True, context=context)


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _valid(tables: object, model: Any, context: dict[str, Any]) -> dict[str, Any]:
    """The tables that are right in themselves."""
    valid = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        try:
            valid[name] = _validated(model, table, context)
        except pydantic.ValidationError:
            continue
    return valid
