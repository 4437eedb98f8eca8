"""`edge-inspector devices`: what this machine has, and why the rest is not usable."""

from __future__ import annotations

import importlib

import typer
from rich.console import Console
from rich.table import Table

from edge_inspector import plugins
from edge_inspector.cameras import basler
from edge_inspector.errors import CameraError

_SDKS = {"basler": ("pypylon", "basler"), "onnxruntime": ("onnxruntime", "ort"), "mqtt": ("paho.mqtt.client", "")}


def devices() -> None:
    """List cameras, and which plugins this machine can use and why not.

    Example: `edge-inspector devices` (PYLON_CAMEMU=2 adds two emulated cameras)
    """
    console = Console()
    try:
        found = basler.seen()
    except CameraError as exc:
        console.print(f"[yellow]Basler cameras: {exc}[/]")
    else:
        table = Table("model", "serial", "user name", "address", title="Basler cameras", title_justify="left", box=None)
        for camera in found:
            table.add_row(camera.model, camera.serial, camera.user_name, camera.ip or camera.vendor_class)
        console.print(table if found else "Basler cameras: none seen")
    usable = Table("kind", "type", "usable", title="\nPlugins", title_justify="left", box=None)
    kinds: tuple[plugins.Kind, ...] = ("camera", "backend", "decoder", "plc", "publisher")
    for kind in kinds:
        for name in sorted(plugins.names(kind)):
            usable.add_row(kind, name, _why_not(kind, name) or "[green]yes[/]")
    console.print(usable)
    typer.echo()


def _why_not(kind: plugins.Kind, name: str) -> str:
    """Empty = usable."""
    try:
        plugins.load(kind, name)
        if name in _SDKS:
            importlib.import_module(_SDKS[name][0])
    except ImportError as exc:
        extra = _SDKS.get(name, ("", ""))[1]
        remedy = f"; pip install 'edge-inspector\\[{extra}]'" if extra else ""
        return f"[yellow]no: {exc}{remedy}[/]"
    return ""
