"""`edge-inspector devices`: what this machine has, and why the rest is not usable."""

from __future__ import annotations

import dataclasses
import importlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edge_inspector import plugins
from edge_inspector.cameras import basler
from edge_inspector.errors import CameraError, ConfigError
from edge_inspector.health.video import VideoDevice, video_devices

_SDKS = {"basler": ("pypylon", "basler"), "triton": ("tritonclient.grpc", "triton"), "mqtt": ("paho.mqtt.client", "")}


def devices(as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False) -> None:
    """List cameras, and which plugins this machine can use and why not. No camera is opened.

    The JSON has `basler` (model, serial, user_name, ip, vendor_class, accessible, interface, subnet), `v4l2` (path,
    name, index, accessible), `plugins` (kind, type, usable, reason) and `problems`, a list of texts. `accessible` is
    false while another program holds a camera, null where it cannot be asked. Keys may be added, never renamed.

    Examples: `edge-inspector devices`, `edge-inspector devices --json` (PYLON_CAMEMU=2 adds two emulated cameras)
    """
    problems = []
    found: list[basler.CameraInfo] = []
    try:
        found = basler.seen(ownership=True)
    except CameraError as exc:
        problems.append(f"Basler cameras: {exc}")
    videos = video_devices(Path("/"))
    usable = [
        {"kind": kind, "type": name, "usable": not reason, "reason": reason}
        for kind in get_args(plugins.Kind)
        for name in sorted(plugins.names(kind))
        for reason in [_why_not(kind, name)]
    ]
    if as_json:
        lists = {
            "basler": [dataclasses.asdict(camera) for camera in found],
            "v4l2": [dataclasses.asdict(video) for video in videos],
            "plugins": usable,
            "problems": problems,
        }
        typer.echo(json.dumps(lists, indent=2))
    else:
        _print(found, videos, usable, problems)


def _print(
    found: list[basler.CameraInfo], videos: list[VideoDevice], usable: list[dict[str, Any]], problems: list[str]
) -> None:
    console = Console(highlight=False)
    for problem in problems:
        console.print(f"[yellow]{escape(problem)}[/]")
    if not problems:
        table = _table("Basler cameras", "model", "serial", "user name", "address", "interface", "state")
        for one in found:
            table.add_row(
                one.model, one.serial, one.user_name, one.ip or one.vendor_class, one.interface, _state(one.accessible)
            )
        console.print(table if found else "Basler cameras: none seen")
    table = _table("Video cameras (V4L2)", "device", "name", "state")
    for video in videos:
        table.add_row(
            video.path, escape(video.name), "free to open" if video.accessible else "[yellow]not permitted[/]"
        )
    console.print("", table if videos else "Video cameras (V4L2): none seen", sep="\n")
    table = _table("Plugins", "kind", "type", "usable")
    for plugin in usable:
        reason = f"[yellow]no: {escape(plugin['reason'])}[/]"
        table.add_row(plugin["kind"], plugin["type"], "[green]yes[/]" if plugin["usable"] else reason)
    console.print("", table, sep="\n")


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=None)


def _state(accessible: bool | None) -> str:
    return {True: "free", False: "[yellow]held, or not reachable[/]", None: "not known"}[accessible]


def _why_not(kind: plugins.Kind, name: str) -> str:
    """Empty = usable."""
    try:
        made = plugins.load(kind, name)
        if name in _SDKS:
            importlib.import_module(_SDKS[name][0])
        elif kind == "backend":
            with suppress(ValidationError):  # it must know more of its device than its name
                made(plugins.config_model(kind, name).model_validate({"type": name})).facts()
    except ConfigError as exc:
        return str(exc)
    except ImportError as exc:
        extra = _SDKS.get(name, ("", ""))[1]
        return f"{exc}; pip install 'edge-inspector[{extra}]'" if extra else str(exc)
    return ""
