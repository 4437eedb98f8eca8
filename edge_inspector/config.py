"""The station file: the only reader of the TOML."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from edge_inspector import plugins
from edge_inspector.errors import ConfigError
from edge_inspector.settings import CameraConfig, LocalPath, Name, PlcConfig, PluginConfig, Recipe, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class AnyPlugin:
    """Stands for "the config model of whichever plugin `type` names", in validation and in the JSON Schema."""

    kind: plugins.Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = {name: handler.generate_schema(self._model(name)) for name in sorted(plugins.names(self.kind))}
        return core_schema.tagged_union_schema(models, "type")

    def _model(self, name: str) -> type[PluginConfig]:
        try:
            return plugins.config_model(self.kind, name)
        except (ImportError, AttributeError) as exc:
            package = plugins.names(self.kind)[name].partition(".")[0]
            raise ConfigError(
                f"{self.kind} type {name!r} is broken: {exc}; update or uninstall the package that brings {package}"
            ) from exc


def _state_dir() -> Any:
    """Text, as in the file: the default is checked like what is written there."""
    return os.environ.get("STATE_DIRECTORY", "state")


class StationSettings(Settings):
    """The station as a whole."""

    name: Name = Field(description="Part of every result_id, MQTT topic and Ident.StationId.")
    recipe: Name = Field(description="The recipe that is active after a start.")
    master: Literal["plc", "local"] = Field(
        "plc", description="Who triggers, selects recipes and commands; the other is refused."
    )
    state_dir: LocalPath = Field(
        default_factory=_state_dir,
        description="Ledger and other things that must survive; systemd's StateDirectory.",
    )
    runtime_dir: LocalPath | None = Field(
        None,
        description="Flight record and control socket, best on a tmpfs; default: systemd's RuntimeDirectory, else run/"
        " inside state_dir.",
    )
    max_open: int = Field(8, ge=1, le=64, description="Parts in work at the same time; one more is refused.")
    grab_timeout_s: float = Field(2.0, gt=0, le=60, description="How long a triggered picture may take.")
    stop_timeout_s: float = Field(5.0, gt=0, le=60, description="How long open parts may finish at a stop.")

    @property
    def runtime(self) -> Path:
        given = os.environ.get("RUNTIME_DIRECTORY")
        return self.runtime_dir or (Path(given) if given else self.state_dir / "run")


class LogSettings(Settings):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is less is left out.")
    json_lines: bool | None = Field(None, description="JSON lines; default: unless standard error is a terminal.")


AnyCamera = Annotated[CameraConfig, AnyPlugin("camera")]
AnyBackend = Annotated[PluginConfig, AnyPlugin("backend")]
AnyPlc = Annotated[PlcConfig, AnyPlugin("plc")]
AnyPublisher = Annotated[PluginConfig, AnyPlugin("publisher")]


class StationConfig(Settings):
    """The station file."""

    model_config = ConfigDict(defer_build=True)  # plugins are imported when a file is read, not for --help

    schema_version: Literal[1] = Field(alias="schema", description="Version of this file's layout.")
    station: StationSettings
    cameras: dict[Name, AnyCamera] = Field(min_length=1, max_length=16)
    backend: AnyBackend
    recipes: dict[Name, Recipe] = Field(min_length=1)
    plc: dict[Name, AnyPlc] = Field(default_factory=dict)
    publishers: dict[Name, AnyPublisher] = Field(default_factory=dict)
    log: LogSettings = Field(default_factory=lambda: LogSettings.model_validate({}))


@dataclass(frozen=True)
class Problem:
    """One thing that the user must change."""

    file: Path
    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        value = f" = {self.value}" if self.value else ""
        text = f"{self.file}: {self.key or 'file'}{value}: {self.expected}"
        return " ".join(text.splitlines())  # one line, whatever a path or a message holds


class StationFileError(ConfigError):
    """Everything that is wrong with a station file, at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


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
    problems = {problem.key: problem for problem in _strange_values(path, raw)}
    station = None
    try:
        station = _validated(StationConfig, raw, context)
    except pydantic.ValidationError as exc:
        found = exc.errors(include_url=False)
        problems |= {p.key: p for p in (_problem(path, error) for error in found if not _follows(error))}
    tables = {
        name: _valid(raw.get(name), model, context)
        for name, model in {"cameras": AnyCamera, "recipes": Recipe, "plc": AnyPlc, "publishers": AnyPublisher}.items()
    }
    for problem in [*_crossed(path, raw, tables["recipes"]), *_twice(path, tables)]:
        problems.setdefault(problem.key, problem)
    return Draft(station=None if problems else station, problems=tuple(problems.values()), **tables)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the station file, every installed plugin included."""
    schema = _adapter(StationConfig).json_schema()
    for model in schema["$defs"].values():
        if "const" in model["properties"].get("type", {}):  # a plugin's `type` is asked for, whatever its default
            model["required"] = sorted({*model.get("required", ()), "type"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def dotted(key: tuple[str, ...] | list[str]) -> str:
    """A key as TOML writes it, on one line: what is not a bare key stands in quotes."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in key)


_DEEPEST = 16
"""No key of ours lies deeper than 6 tables; what does would only exhaust the stack."""
_INTEGERS = range(-(2**63), 2**63)
"""TOML's; Python's own have no end and cannot always be printed."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_NAME_PATTERN = Name.__metadata__[0].pattern  # type: ignore[attr-defined]
_KINDS: Mapping[str, plugins.Kind] = {
    "cameras": "camera",
    "backend": "backend",
    "plc": "plc",
    "publishers": "publisher",
}
_ONE_EACH: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "cameras": (("serial",), ("user_name",), ("ip",)),
    "plc": (("host", "port"),),
    "publishers": (("host", "port", "client_id"),),
}
"""What two tables of the same type may not have in common: it names the same device, port or session."""


def _parse(path: Path) -> dict[str, Any]:
    """The file as it is written; a byte order mark, as Windows editors write it, is no mistake."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        what = "no such file; give the path of a station file, or begin with deploy/examples/station.toml"
    except IsADirectoryError:
        what = "is a folder; give the path of a station file"
    except PermissionError:
        what = "may not be read by this user"
    except OSError as exc:
        what = f"cannot be read: {exc.strerror}"
    except UnicodeDecodeError as exc:
        what = f"is not UTF-8 text (byte {exc.start}); expected a TOML file"
    except ValueError as exc:  # TOMLDecodeError is one; a number of more than 4300 digits is another
        what = f"is not TOML: {_CONTROL.sub(' ', str(exc))}"
    except RecursionError:
        what = f"is nested too deeply; expected at most {_DEEPEST} tables and arrays in each other"
    else:
        problems = [_value_problem(path, *leaf, strange) for leaf in _leaves(raw) if (strange := _unusable(*leaf))]
        if problems:
            raise StationFileError(problems)
        return raw
    raise StationFileError([Problem(path, "", "", what)])


def _leaves(raw: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with its key; without recursion, and no deeper than what is deep enough to be refused."""
    open_: list[tuple[tuple[str, ...], Any]] = [((), raw)]
    while open_:
        key, value = open_.pop()
        children: Any = ()
        if isinstance(value, dict):
            children = value.items()
        elif isinstance(value, list):
            children = enumerate(value)
        if len(key) > _DEEPEST or not isinstance(value, dict | list):
            yield key, value
        else:
            open_ += reversed([((*key, str(name)), child) for name, child in children])


def _unusable(key: tuple[str, ...], value: object) -> str:
    """Why a value cannot even be handed to validation, empty = it can."""
    if len(key) > _DEEPEST:
        return f"is nested too deeply; expected at most {_DEEPEST} tables and arrays in each other"
    if isinstance(value, int) and value not in _INTEGERS:
        return "expected an integer of 64 bits"
    if isinstance(value, str) and value.startswith("~"):
        try:
            Path(value).expanduser()
        except RuntimeError:
            return "begins with the home folder of a user whom this machine does not have"
    return ""


def _strange_values(path: Path, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """What TOML allows and no key of a station file can mean."""
    for key, value in _leaves(raw):
        if isinstance(value, float) and not math.isfinite(value):
            yield _value_problem(path, key, value, "expected a finite number")
        elif isinstance(value, str) and _CONTROL.search(value):
            yield _value_problem(path, key, value, "expected text without control characters")


def _value_problem(path: Path, key: tuple[str, ...], value: object, expected: str) -> Problem:
    return Problem(path, dotted(key[: _DEEPEST + 1]), _shown(value), expected)


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


def _follows(error: Any) -> bool:
    """Whether an error is only the consequence of others: "too few entries", because some of them are wrong."""
    return bool(error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"])


def _problem(path: Path, error: Any) -> Problem:
    location = [str(part) for part in error["loc"]]
    kind, detail, value = error["type"], error.get("ctx", {}), error.get("input")
    # pydantic puts the plugin's type into the location ("cameras.top.basler.serial"): the user's file has no such key.
    depth = 1 if location[0] == "backend" else 2
    if location[0] in _KINDS and location[depth:] and location[depth] != "[key]":
        del location[depth]
    if location[-1] == "[key]":
        location.pop()
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        location.append("type")
        value = detail.get("tag")
    known = ", ".join(sorted(plugins.names(_KINDS[location[0]]))) if location[0] in _KINDS else ""
    if kind == "string_pattern_mismatch" and detail["pattern"] == _NAME_PATTERN:
        kind = "name"
    expected = {
        "missing": "is missing: this key is required",
        "extra_forbidden": "is not a known key; see `edge-inspector schema`",
        "union_tag_not_found": f"is missing; expected one of {known}",
        "union_tag_invalid": f"expected one of {known}",
        "name": "expected a name: at most 63 letters without accents, digits, - and _, a letter or digit first",
        "too_short": f"expected at least {detail.get('min_length')}",
        "too_long": f"expected at most {detail.get('max_length')}",
        "dict_type": "expected a table",
        "model_type": "expected a table",
        "tuple_type": "expected an array",
    }.get(kind, _sentence(error["msg"]))
    return Problem(path, dotted(location), "" if kind == "missing" else _shown(value), expected)


def _shown(value: object) -> str:
    if value is None or isinstance(value, dict):
        return ""
    shown = "an integer too large to print" if isinstance(value, int) and value not in _INTEGERS else repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _sentence(message: str) -> str:
    for prefix, ours in (("Value error, ", ""), ("Input should be ", "expected ")):
        if message.startswith(prefix):
            return ours + message.removeprefix(prefix)
    return message[:1].lower() + message[1:]


def _crossed(path: Path, raw: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> Iterator[Problem]:
    """What one key says against another."""
    cameras, links, station, tables = (raw.get(name) for name in ("cameras", "plc", "station", "recipes"))
    known = _names(cameras)
    wanted = station.get("recipe") if isinstance(station, dict) else None
    if isinstance(wanted, str) and wanted not in (tables if isinstance(tables, dict) else ()):
        yield Problem(path, "station.recipe", _shown(wanted), f"expected the name of a recipe: {_names(tables)}")
    numbers: dict[int, str] = {}
    for name, recipe in recipes.items():
        key = dotted(["recipes", name])
        if recipe.number in numbers:
            other = numbers[recipe.number]
            yield Problem(path, f"{key}.number", str(recipe.number), f"is already the number of recipe {other!r}")
        numbers.setdefault(recipe.number, name)
        seen: set[str] = set()
        for i, view in enumerate(recipe.views):
            if view.camera not in (cameras if isinstance(cameras, dict) else ()):
                expected = f"expected one of the cameras: {known}"
                yield Problem(path, f"{key}.views.{i}.camera", repr(view.camera), expected)
            if view.camera in seen:
                yield Problem(path, f"{key}.views.{i}.camera", repr(view.camera), "a camera gives one view of a part")
            seen.add(view.camera)
        if recipe.trigger == "plc" and not links:
            expected = "needs a PLC that triggers: add a table [plc.NAME], or trigger by 'line' or 'timer'"
            yield Problem(path, f"{key}.trigger", "'plc'", expected)
        if recipe.trigger == "timer" and recipe.period_s is None:
            yield Problem(path, f"{key}.period_s", "", "is missing: trigger = 'timer' needs the seconds between parts")
        if recipe.trigger != "timer" and recipe.period_s is not None:
            yield Problem(path, f"{key}.period_s", str(recipe.period_s), "only trigger = 'timer' has a period")
        if recipe.output_margin_ms >= recipe.deadline_ms:
            expected = f"expected less than deadline_ms ({recipe.deadline_ms:g}): otherwise no part can be OK"
            yield Problem(path, f"{key}.output_margin_ms", f"{recipe.output_margin_ms:g}", expected)


def _names(tables: object) -> str:
    return ", ".join(dotted([name]) for name in sorted(tables)) if isinstance(tables, dict) and tables else "none"


def _twice(path: Path, tables: Mapping[str, Mapping[str, PluginConfig]]) -> Iterator[Problem]:
    """Devices, ports and sessions that two tables lay claim to."""
    for kind, rules in _ONE_EACH.items():
        taken: dict[object, str] = {}
        for name, config in tables[kind].items():
            for keys in rules:
                values = [getattr(config, key, None) for key in keys]
                if not any(value is not None for value in values):
                    continue
                other = taken.setdefault((config.type, keys, *values), name)
                if other != name:
                    shown = ", ".join("its default" if value is None else repr(value) for value in values)
                    expected = (
                        f"is the same {' and '.join(keys)} as in {dotted([kind, other])}; one of them must differ"
                    )
                    yield Problem(path, dotted([kind, name, keys[-1]]), shown, expected)
