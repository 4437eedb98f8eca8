"""The station file: the only reader of the TOML."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pydantic
from pydantic import Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema

from edge_inspector import plugins
from edge_inspector.errors import ConfigError
from edge_inspector.settings import CameraConfig, LocalPath, Name, PluginConfig, Recipe, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class AnyPlugin:
    """Stands for "the config model of whichever plugin `type` names", in validation and in the JSON Schema."""

    kind: plugins.Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        models = [plugins.config_model(self.kind, name) for name in sorted(plugins.names(self.kind))]
        if len(models) == 1:
            return handler.generate_schema(models[0])
        return handler.generate_schema(Annotated[Union[tuple(models)], Field(discriminator="type")])


def _state_dir() -> Path:
    return Path(os.environ.get("STATE_DIRECTORY", "state"))


class StationSettings(Settings):
    """The station as a whole."""

    name: Name = Field(description="Part of every result_id, MQTT topic and Ident.StationId.")
    recipe: Name = Field(description="The recipe that is active after a start.")
    master: Literal["plc", "local"] = Field(
        "plc", description="Who triggers, selects recipes and commands; the other is refused."
    )
    state_dir: LocalPath = Field(
        default_factory=_state_dir, description="Ledger and other things that must survive; systemd's StateDirectory."
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

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool | None = Field(None, description="JSON lines; default: unless standard error is a terminal.")


class StationConfig(Settings):
    """The station file."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of this file's layout.")
    station: StationSettings
    cameras: dict[Name, Annotated[CameraConfig, AnyPlugin("camera")]] = Field(min_length=1, max_length=16)
    backend: Annotated[PluginConfig, AnyPlugin("backend")]
    recipes: dict[Name, Recipe] = Field(min_length=1)
    plc: dict[Name, Annotated[PluginConfig, AnyPlugin("plc")]] = Field(default_factory=dict)
    publishers: dict[Name, Annotated[PluginConfig, AnyPlugin("publisher")]] = Field(default_factory=dict)
    log: LogSettings = LogSettings()


@dataclass(frozen=True)
class Problem:
    """One thing that the user must change."""

    file: Path
    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        value = f" = {self.value}" if self.value else ""
        return f"{self.file}: {self.key or 'file'}{value}: {self.expected}"


class StationFileError(ConfigError):
    """Everything that is wrong with a station file, at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


def load(path: Path) -> StationConfig:
    """Read and check one station file. StationFileError lists every problem of the file itself.

    What lies outside of it (bundles, calibrations) is checked by assembly.
    """
    raw = _parse(path)
    context = {"base": path.resolve().parent}
    try:
        config = TypeAdapter(StationConfig).validate_python(raw, context=context)
    except pydantic.ValidationError as exc:
        problems = [_problem(path, error) for error in exc.errors()]
        raise StationFileError([*problems, *_crossed(path, raw, _valid_recipes(raw, context))]) from exc
    problems = list(_crossed(path, raw, config.recipes))
    if problems:
        raise StationFileError(problems)
    return config


def json_schema() -> dict[str, Any]:
    """JSON Schema of the station file, every installed plugin included."""
    return TypeAdapter(StationConfig).json_schema()


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "no such file; give the path of a station file, or begin with deploy/examples/station.toml"
    except IsADirectoryError:
        what = "is a folder; give the path of a station file"
    except PermissionError:
        what = "may not be read by this user"
    except UnicodeDecodeError as exc:
        what = f"is not UTF-8 text (byte {exc.start}); expected a TOML file"
    except tomllib.TOMLDecodeError as exc:
        what = f"is not TOML: {exc}"
    raise StationFileError([Problem(path, "", "", what)])


def _problem(path: Path, error: Any) -> Problem:
    location = [str(part) for part in error["loc"]]
    # pydantic puts the union's tag into the location ("cameras.top.basler.serial"): the user's file has no such key.
    if len(location) > 2 and location[0] in ("cameras", "plc", "publishers") and location[2] in _tags():
        del location[2]
    if len(location) > 1 and location[0] == "backend" and location[1] in _tags():
        del location[1]
    expected = {
        "missing": "is missing: this key is required",
        "extra_forbidden": "is not a known key; see `edge-inspector schema`",
        "union_tag_not_found": "has no type; known types are in `edge-inspector devices`",
    }.get(error["type"], _sentence(error["msg"]))
    value = error.get("input")
    shown = "" if error["type"] == "missing" or isinstance(value, dict) else repr(value)
    return Problem(path, ".".join(location), shown if len(shown) <= 80 else shown[:77] + "...", expected)


def _tags() -> set[str]:
    kinds: tuple[plugins.Kind, ...] = ("camera", "backend", "plc", "publisher")
    return {name for kind in kinds for name in plugins.names(kind)}


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:]


def _valid_recipes(raw: Mapping[str, Any], context: dict[str, Any]) -> dict[str, Recipe]:
    """The recipes that are right in themselves, so that one bad key does not hide what is wrong elsewhere."""
    tables = raw.get("recipes")
    valid: dict[str, Recipe] = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        try:
            valid[name] = TypeAdapter(Recipe).validate_python(table, context=context)
        except pydantic.ValidationError:
            continue
    return valid


def _crossed(path: Path, raw: Mapping[str, Any], recipes: Mapping[str, Recipe]) -> Iterator[Problem]:
    """What one key says against another."""
    cameras = raw.get("cameras")
    known = sorted(cameras) if isinstance(cameras, dict) else []
    station = raw.get("station")
    wanted = station.get("recipe") if isinstance(station, dict) else None
    tables = raw.get("recipes")
    names = sorted(tables) if isinstance(tables, dict) else []
    if isinstance(wanted, str) and wanted not in names:
        yield Problem(path, "station.recipe", repr(wanted), f"expected the name of a recipe: {', '.join(names) or 'none'}")
    numbers: dict[int, str] = {}
    for name, recipe in recipes.items():
        key = f"recipes.{name}"
        if recipe.number in numbers:
            other = numbers[recipe.number]
            yield Problem(path, f"{key}.number", str(recipe.number), f"is already the number of recipe {other!r}")
        numbers.setdefault(recipe.number, name)
        seen: set[str] = set()
        for i, view in enumerate(recipe.views):
            if view.camera not in known:
                expected = f"expected one of the cameras: {', '.join(known) or 'none'}"
                yield Problem(path, f"{key}.views.{i}.camera", repr(view.camera), expected)
            if view.camera in seen:
                yield Problem(path, f"{key}.views.{i}.camera", repr(view.camera), "a camera gives one view of a part")
            seen.add(view.camera)
        if recipe.trigger == "timer" and recipe.period_s is None:
            yield Problem(path, f"{key}.period_s", "", "is missing: trigger = 'timer' needs the seconds between parts")
        if recipe.trigger != "timer" and recipe.period_s is not None:
            yield Problem(path, f"{key}.period_s", str(recipe.period_s), "only trigger = 'timer' has a period")
        if recipe.output_margin_ms >= recipe.deadline_ms:
            expected = f"expected less than deadline_ms ({recipe.deadline_ms:g}): otherwise no part can be OK"
            yield Problem(path, f"{key}.output_margin_ms", f"{recipe.output_margin_ms:g}", expected)
