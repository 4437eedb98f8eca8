"""What `edge-inspector doctor` finds out about single cameras: who holds them, and those of a station file."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

from edge_inspector.calibration.file import load_calibration
from edge_inspector.cameras import basler, folder, opencv
from edge_inspector.cameras.basler.discovery import EMULATOR
from edge_inspector.errors import ConfigError
from edge_inspector.health.finding import Finding, judged
from edge_inspector.health.holders import GIGE_LIBRARY, Process, holders_of, users_of
from edge_inspector.health.usb import UsbCamera
from edge_inspector.health.video import VideoDevice
from edge_inspector.settings import CameraConfig

CONNECT_S = 3.0
"""A camera in the same building answers in milliseconds; one that is starting may need a second."""
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}

Connects = Callable[[str, int], str]
"""Host and port -> why nothing answers there, empty = something does."""


@dataclass(frozen=True)
class Seen:
    """The cameras of this machine, by pylon and by the kernel."""

    basler: Sequence[basler.CameraInfo]
    usb: Sequence[UsbCamera]
    video: Sequence[VideoDevice]


def title(camera: basler.CameraInfo) -> str:
    return f"{camera.model} {camera.serial}"


def access(root: Path, camera: basler.CameraInfo, usb: Sequence[UsbCamera], needed: bool) -> Finding:
    """Whether pylon may open a camera, and if not, who has it; `needed`: it belongs to the station file."""
    if camera.accessible is None:
        return judged("camera.access", title(camera), "note", "pylon does not say")
    if camera.accessible:
        return judged("camera.access", title(camera), "ok", "free to open")
    nodes = [one.node for one in usb if one.serial == camera.serial]
    holders = holders_of(root, nodes[0]) if nodes else users_of(root, GIGE_LIBRARY) if camera.ip else []
    station = [one for one in holders if one.is_station]
    if station:
        return _held_by_station(camera, station[0], certain=bool(nodes))
    who = ", ".join(str(one) for one in holders)
    return judged(
        "camera.access",
        title(camera),
        "fail" if needed else "warn",
        "held by a program that this user cannot see, by another machine, or out of reach"
        if not holders
        else f"held by {who}"
        if nodes
        else f"held, or out of reach; {who} uses pylon's GigE cameras",
        "free to open, or held by the station",
        "One program at a time controls a camera. After a crash a GigE camera is free again when its heartbeat has run"
        " out: 3 s, in a debugger 5 minutes (GevHeartbeatTimeout; pypylon #812).",
        f"kill {holders[0].pid}"
        if holders
        else "close pylon Viewer and other vision programs, on other machines too (all of this one: sudo edge-inspector"
        " doctor); then cut the camera's power for a moment",
    )


def _held_by_station(camera: basler.CameraInfo, station: Process, certain: bool) -> Finding:
    """Nothing tells which GigE cameras a program holds: this one may as well be out of reach."""
    if certain:
        return judged("camera.access", title(camera), "ok", f"held by a running station: {station}")
    found = f"held, or out of reach; a running station uses pylon's GigE cameras: {station}"
    return judged("camera.access", title(camera), "note", found, "held by the station")


def camera_findings(root: Path, name: str, settings: CameraConfig, seen: Seen, connects: Connects) -> Iterator[Finding]:
    """One camera of the station file: whether it is there, and whether its calibration is its own."""
    serial = ""
    if isinstance(settings, basler.Config):
        fitting = _fitting(settings, seen.basler)
        serial = fitting[0].serial if len(fitting) == 1 else ""
        yield _basler_seen(name, settings, fitting)
    elif isinstance(settings, opencv.Config):
        yield _source_seen(root, name, settings.source, seen.video, connects)
    elif isinstance(settings, folder.Config):
        yield _exists(name, settings.path)
    else:
        yield judged("camera.seen", name, "note", f"type {settings.type!r} is not known to this command")
    if settings.calibration is not None:
        yield _calibration(name, settings.calibration, serial)


def fits(settings: basler.Config, camera: basler.CameraInfo) -> bool:
    """Whether the station file may mean this camera."""
    emulated = settings.emulate_folder is not None
    wanted = {key: getattr(settings, key) for key in ("serial", "user_name", "model", "ip")}
    return emulated == (camera.vendor_class == EMULATOR) and all(
        value is None or getattr(camera, key) == value for key, value in wanted.items()
    )


def _fitting(settings: basler.Config, cameras: Sequence[basler.CameraInfo]) -> list[basler.CameraInfo]:
    return [camera for camera in cameras if fits(settings, camera)]


def _basler_seen(name: str, settings: basler.Config, fitting: Sequence[basler.CameraInfo]) -> Finding:
    if settings.emulate_folder is not None:
        played = _exists(name, settings.emulate_folder)
        return (
            judged("camera.seen", name, "note", f"emulated; it plays {played.found}")
            if played.level == "ok"
            else played
        )
    means = ", ".join(
        f"{key} = {value}" for key in ("serial", "user_name", "model", "ip") if (value := getattr(settings, key))
    )
    found = ", ".join(str(camera) for camera in fitting)
    return judged(
        "camera.seen",
        name,
        "ok" if len(fitting) == 1 else "fail",
        found or f"no camera with {means or 'any serial'}",
        "one camera" + (f" with {means}" if means else ""),
        "Several cameras fit: the station takes none of them, lest it judge the wrong side."
        if fitting
        else "pylon does not find it: no power, cable, another subnet, or another number than in the station file.",
        f'serial = "{fitting[0].serial}" in [cameras.{name}]' if fitting else "edge-inspector devices",
    )


def _source_seen(
    root: Path, name: str, source: int | str | Path, videos: Sequence[VideoDevice], connects: Connects
) -> Finding:
    if isinstance(source, str):
        return _answers(name, source, connects)
    path = Path(f"/dev/video{source}") if isinstance(source, int) else source
    if Path("/dev") not in path.parents:
        return _exists(name, path)
    real = f"/{(root / str(path).lstrip('/')).resolve().relative_to(root.resolve())}"
    device = next((one for one in videos if one.path == real), None)
    holders = [one for one in holders_of(root, real) if not one.is_station]
    if device is not None and device.accessible and holders:
        return judged(
            "camera.seen",
            name,
            "fail",
            f"{real} is held by {holders[0]}",
            "free, or held by the station",
            "One program at a time gets the pictures of a V4L2 device.",
            f"kill {holders[0].pid}",
        )
    return judged(
        "camera.seen",
        name,
        "ok" if device is not None and device.accessible else "fail",
        f"no {path}" if device is None else f"{real}: {device.name}" + ("" if device.accessible else ", not permitted"),
        "a V4L2 device that this user may open",
        "Numbers of /dev/video change with the order of plugging; /dev/v4l/by-id/... does not.",
        "edge-inspector devices",
    )


def _answers(name: str, url: str, connects: Connects) -> Finding:
    """Without user and password: they stand in the URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        why, mend = (
            "The stream comes from there.",
            f"write source in [cameras.{name}] as rtsp://USER:WORD@HOST:PORT/PATH",
        )
        return judged("camera.seen", name, "fail", "source is no URL with a port of digits", "a URL", why, mend)
    why_not = connects(host, port)
    return judged(
        "camera.seen",
        name,
        "fail" if why_not else "ok",
        f"{host}:{port} " + (f"does not answer: {why_not}" if why_not else "answers"),
        f"an answer within {CONNECT_S:g} s",
        "The stream comes from there.",
        f"ping -c 3 {quote(host)}",
    )


def connects(host: str, port: int) -> str:
    """Try a TCP connection, send nothing."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as exc:
        return exc.strerror or str(exc)
    except UnicodeError:  # of a name with empty parts
        return "no name of a host"
    return ""


def _exists(name: str, path: Path) -> Finding:
    there = path.exists()
    return judged(
        "camera.seen",
        name,
        "ok" if there else "fail",
        f"{path}" if there else f"{path} does not exist",
        "a folder of pictures, or a file",
        "Its pictures come from there.",
        f"ls -l {quote(str(path.parent))}",
    )


def _calibration(name: str, path: Path, serial: str) -> Finding:
    try:
        loaded = load_calibration(path)
    except ConfigError as exc:
        return judged(
            "camera.calibration",
            name,
            "fail",
            " ".join(str(exc).splitlines()),
            "a calibration file",
            "The station does not start with a calibration that it cannot read.",
            f"correct calibration in [cameras.{name}], or calibrate the camera: edge-inspector calibrate --help",
        )
    whose = f"made with camera {loaded.serial}" if loaded.serial else "does not say with which camera it was made"
    known = bool(serial and loaded.serial)
    size = f"{loaded.image_hw[1]}x{loaded.image_hw[0]}"
    return judged(
        "camera.calibration",
        name,
        "note" if not known else "ok" if loaded.serial == serial else "fail",
        f"{path.name}, {size}, {whose}"
        + ("" if serial or not loaded.serial else "; the camera is not there to compare"),
        f"made with camera {serial}" if serial else "the serial number of the camera",
        "Another camera has another lens and another place: boxes and millimetres are wrong, and nothing shows it.",
        f"edge-inspector calibrate # this camera, or mount camera {loaded.serial} again",
    )
