"""What may stand in a station file: its tables and keys."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from edge_inspector import plugins
from edge_inspector.config.web import WebSettings
from edge_inspector.errors import ConfigError
from edge_inspector.settings import CameraConfig, LocalPath, Name, PlcConfig, PluginConfig, Recipe, Settings
from edge_inspector.settings.line_rules import LineRuleSet
from edge_inspector.settings.power import PowerSettings
from edge_inspector.settings.real_time import RealTimeSettings
from edge_inspector.store.images.settings import ImageSettings
from edge_inspector.store.settings import LedgerSettings


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
    master: Name = Field(
        "plc",
        description="Who triggers, selects recipes and commands; others are refused: 'plc' is the only link that can,"
        " 'local' none of them; with several links, the name of one.",
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
    line_stop_after: int = Field(
        0, ge=0, le=1000, description="So many parts in a row that are not OK ask the PLC to stop the line; 0 = never."
    )
    max_open: int = Field(8, ge=1, le=64, description="Parts in work at the same time; one more is refused.")
    model_memory_mb: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="What the models of all recipes may need together, MB; those that were used longest ago go, and are"
        " loaded again when their recipe is selected. None: all of them are kept.",
    )
    accept_unverified: tuple[Name, ...] = Field(
        (),
        description="Bundles whose engines may run although too few golden pictures prove them; Warning stays on.",
    )
    grab_timeout_s: float = Field(2.0, gt=0, le=60, description="How long a triggered picture may take.")
    stop_timeout_s: float = Field(5.0, gt=0, le=60, description="How long open parts may finish at a stop.")
    real_time: RealTimeSettings | None = Field(None, description="Priority over other programs; None: like all others.")

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
    ledger: LedgerSettings = Field(default_factory=lambda: LedgerSettings.model_validate({}))
    images: ImageSettings | None = None
    line_rules: LineRuleSet = Field(
        (), max_length=32, description="Rules over many parts: they ask for a stop, raise an alarm or give a notice."
    )
    power: PowerSettings | None = Field(
        None, description="The board's power modes; None: they are only read, as far as the machine tells them."
    )
    web: WebSettings = Field(default_factory=lambda: WebSettings.model_validate({}))
    log: LogSettings = Field(default_factory=lambda: LogSettings.model_validate({}))
