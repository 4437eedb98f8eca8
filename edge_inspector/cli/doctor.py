"""`edge-inspector doctor`: what is wrong with this machine, its cameras and brokers, and the command that mends it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from edge_inspector import config
from edge_inspector.cameras import basler
from edge_inspector.cameras.basler.discovery import EMULATOR
from edge_inspector.cli.doctor_brokers import broker_findings
from edge_inspector.cli.doctor_cameras import Seen, access, camera_findings, connects, fits, title
from edge_inspector.cli.doctor_secrets import secret_findings
from edge_inspector.config import Draft
from edge_inspector.errors import CameraError, ConfigError
from edge_inspector.health import host, network, usb, video
from edge_inspector.health.clock import SystemClock
from edge_inspector.health.finding import Finding, Level, judged
from edge_inspector.health.routes import GigeCamera
from edge_inspector.outputs import mqtt

EXIT_FAILED = 1
"""Something fails."""
_COLOURS: dict[Level, str | None] = {
    "ok": typer.colors.GREEN,
    "note": None,
    "warn": typer.colors.YELLOW,
    "fail": typer.colors.RED,
}


def doctor(
    file: Annotated[
        Path | None,
        typer.Option("--config", help="Look for the cameras and brokers of this station file too.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Check what makes cameras fail in the field: network, USB, permissions, limits, who holds a camera, disks, clock.

    Changes nothing, opens no camera and needs no root; root sees more of who holds a camera. It logs in to the MQTT
    brokers of the station file and publishes one empty message on the station's own topic `doctor`. For each thing that
    is not in order it says what was found, what is expected, why, and the command that mends it. note: there is nothing
    to judge, such as the network of a machine without a GigE camera. Ends with 1 when something fails, else with 0.

    Examples: `edge-inspector doctor`, `edge-inspector doctor --config station.toml`, `edge-inspector doctor --json`
    """
    draft, unread = None, []
    try:
        draft = None if file is None else config.draft(file)
    except ConfigError as exc:
        why = "No camera of it can be looked for."
        unread = [judged("station.file", str(file), "fail", str(exc), "a file", why, f"edge-inspector check {file}")]
    found = [*unread, *_examined(Path("/"), file, draft)]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    else:
        for one in found:
            _print(one)
        counts = ((level, sum(one.level == level for one in found)) for level in ("fail", "warn", "note", "ok"))
        typer.echo("\n" + ", ".join(f"{count} {level}" for level, count in counts))
    if any(one.level == "fail" for one in found):
        raise typer.Exit(EXIT_FAILED)


def _examined(root: Path, file: Path | None, draft: Draft | None) -> Iterator[Finding]:
    on_usb, videos = usb.usb_cameras(root), video.video_devices(root)
    of_file = {} if draft is None else draft.cameras
    means_basler = [one for one in of_file.values() if isinstance(one, basler.Config)]
    pylon, cameras = _pylon(needed=bool(means_basler or on_usb), wanted=draft is None)
    gige = [GigeCamera(title(one), one.ip, one.interface, one.subnet) for one in cameras if one.ip]
    place = _place(draft)
    yield pylon
    for camera in cameras:
        if camera.vendor_class != EMULATOR:
            yield access(root, camera, on_usb, needed=any(fits(one, camera) for one in means_basler))
    yield from network.network_findings(root, gige, network.ring_sizes)
    yield from usb.usb_findings(root, on_usb)
    yield from video.video_findings(videos, place.user)
    yield from host.host_findings(root, place, SystemClock().synced(), bool(gige), host.free_bytes)
    if draft is None:
        return
    if draft.problems:
        yield _file_problems(file, draft)
    for name, settings in of_file.items():
        yield from camera_findings(root, name, settings, Seen(cameras, on_usb, videos), connects)
    station = "doctor" if draft.station is None else draft.station.station.name
    for name, publisher in draft.publishers.items():
        if isinstance(publisher, mqtt.Config):
            yield from broker_findings(station, name, publisher)
    tables: dict[str, BaseModel] = {f"publishers.{name}": one for name, one in draft.publishers.items()}
    tables |= {f"plc.{name}": one for name, one in draft.plc.items()}
    yield from secret_findings(tables if draft.station is None else {**tables, "web": draft.station.web})


def _pylon(needed: bool, wanted: bool) -> tuple[Finding, list[basler.CameraInfo]]:
    """`needed`: a Basler camera is here or in the station file; `wanted`: nobody has said that there is none."""
    try:
        cameras = basler.seen(ownership=True)
    except CameraError as exc:
        finding = judged(
            "pylon",
            "",
            "fail" if needed else "warn" if wanted else "note",
            str(exc),
            "pypylon",
            "Basler cameras are used through it.",
            "pip install 'edge-inspector[basler]'",
        )
        return finding, []
    version = importlib.metadata.version("pypylon")
    return judged("pylon", "", "ok", f"pypylon {version} sees {len(cameras)} cameras"), cameras


def _place(draft: Draft | None) -> host.Place:
    """The station's own folders, or those that it would take here."""
    if draft is not None and draft.station is not None:
        state, runtime = draft.station.station.state_dir, draft.station.station.runtime
    else:
        state = Path(os.environ.get("STATE_DIRECTORY", "state"))
        runtime = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/edge-inspector"))
    return host.Place(state.absolute(), runtime.absolute(), _user())


def _user() -> str:
    """By name; a container's user may have only a number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _file_problems(file: Path | None, draft: Draft) -> Finding:
    return judged(
        "station.file",
        str(file),
        "fail",
        f"{len(draft.problems)} problems; the first: {draft.problems[0]}",
        "none",
        "The station does not start with them.",
        f"edge-inspector check {file}",
    )


def _print(one: Finding) -> None:
    level = typer.style(f"{one.level:4}", fg=_COLOURS[one.level], bold=one.level == "fail")
    bad = one.level in ("warn", "fail")
    expected = f" (expected: {one.expected})" if one.expected and not bad else ""
    typer.echo(f"{level}  {one.check}{f' {one.subject}' if one.subject else ''}: {one.found}{expected}")
    if bad:
        for word, text in (("expected", one.expected), ("why", one.why), ("mend", one.remedy)):
            typer.echo(f"      {word + ':':10}{text}")
