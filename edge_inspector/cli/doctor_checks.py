"""All checks of `edge-inspector doctor`, in the order in which they are told."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from shlex import quote

from pydantic import BaseModel

from edge_inspector.cameras import basler
from edge_inspector.cameras.basler.discovery import EMULATOR
from edge_inspector.cli import doctor_station
from edge_inspector.cli.doctor_brokers import broker_findings, sparkplug_findings
from edge_inspector.cli.doctor_cameras import Seen, access, camera_findings, connects, fits, title
from edge_inspector.cli.doctor_certificates import broker_certificate, certificate_findings
from edge_inspector.cli.doctor_engines import engines_asked, program
from edge_inspector.cli.doctor_opcua import Links, plc_findings
from edge_inspector.cli.doctor_secrets import secret_findings
from edge_inspector.cli.doctor_time import in_time
from edge_inspector.config import Draft, StationConfig
from edge_inspector.errors import CameraError, EdgeInspectorError
from edge_inspector.health import disks, host, network, nvme, unit, usb, video
from edge_inspector.health.board_power import control_finding, power_findings
from edge_inspector.health.clock import SystemClock
from edge_inspector.health.finding import Finding, judged
from edge_inspector.health.jetson import jetson_findings
from edge_inspector.health.ownership import account_of
from edge_inspector.health.power.opening import how
from edge_inspector.health.power.sensors import BoardSensors, over_current_counts
from edge_inspector.health.routes import GigeCamera
from edge_inspector.health.rtc import rtc_finding
from edge_inspector.outputs import mqtt
from edge_inspector.outputs.sparkplug.config import Config as SparkplugConfig
from edge_inspector.settings.power import FixedPolicy, PowerSettings

FINDING_S = 90.0
"""For one finding: more than the slowest check takes that ends by itself."""
Told = Mapping[str, str] | str
"""The unit's properties, or why systemd does not tell them."""


def examined(root: Path, file: Path | None, draft: Draft | None, unit_name: str, told: Told) -> Iterator[Finding]:
    """`draft`: the station file as far as it could be read; `unit_name` empty: no unit runs it."""
    user = _service_user(told)
    place = _place(draft, user)
    if file is not None and draft is not None:
        yield from guarded("station", file, _station(file, draft, unit_name, told, place))
    yield from guarded("jetpack", file, jetson_findings(root, program(draft)))
    if file is not None and draft is not None and draft.station is not None:
        yield from guarded("engine", file, engines_asked(file))
    yield from guarded("camera", file, _cameras(root, draft, place, by_unit=not isinstance(told, str)))
    if file is not None and draft is not None:
        links = Links(file, _name(draft), place.state_dir, draft.plc)
        yield from guarded("plc", file, plc_findings(links, _now(), connects))
        yield from guarded("broker", file, _brokers(draft))
        yield from guarded("certificate", file, certificate_findings(draft, _now(), SystemClock().synced()))
    yield from _machine(root, file, draft, place)


def _station(file: Path, draft: Draft, unit_name: str, told: Told, place: host.Place) -> Iterator[Finding]:
    yield from doctor_station.file_findings(file, draft)
    if unit_name:
        yield from unit.unit_findings(unit_name, told)
    tables: dict[str, BaseModel] = {f"publishers.{name}": one for name, one in draft.publishers.items()}
    tables |= {f"plc.{name}": one for name, one in draft.plc.items()}
    if draft.station is None:
        yield from secret_findings(tables)
        return
    yield from doctor_station.running_findings(
        draft.station, f"sudo systemctl start {unit_name}" if unit_name else f"edge-inspector run {quote(str(file))}"
    )
    yield from doctor_station.ledger_findings(place.state_dir)
    yield from doctor_station.flight_findings(file, place.runtime_dir)
    yield from _owners(file, draft.station, place.user)
    yield from secret_findings({**tables, "web": draft.station.web, "backend": draft.station.backend})


def _owners(file: Path, settings: StationConfig, user: str) -> Iterator[Finding]:
    who = account_of(user)
    if who is None:
        why = "The service cannot start without its user."
        mend = "sudo ./install.sh upgrade --force # makes it"
        yield judged("files.user", user, "fail", "this machine has no such user", "a user", why, mend)
        return
    yield from doctor_station.owner_findings(file, settings, who)


def _cameras(root: Path, draft: Draft | None, place: host.Place, by_unit: bool) -> Iterator[Finding]:
    on_usb, videos = usb.usb_cameras(root), video.video_devices(root)
    of_file = {} if draft is None else draft.cameras
    means_basler = [one for one in of_file.values() if isinstance(one, basler.Config)]
    pylon, cameras = _pylon(needed=bool(means_basler or on_usb), wanted=draft is None)
    gige = [GigeCamera(title(one), one.ip, one.interface, one.subnet) for one in cameras if one.ip]
    yield pylon
    for camera in cameras:
        if camera.vendor_class != EMULATOR:
            yield access(root, camera, on_usb, needed=any(fits(one, camera) for one in means_basler))
    for name, settings in of_file.items():
        yield from camera_findings(root, name, settings, Seen(cameras, on_usb, videos), connects)
    yield from network.network_findings(root, gige, network.ring_sizes)
    yield from usb.usb_findings(root, on_usb)
    yield from video.video_findings(videos, place.user)
    yield from host.camera_limits(root, place.user, bool(gige), by_unit)


def _brokers(draft: Draft) -> Iterator[Finding]:
    station = _name(draft)
    for name, publisher in draft.publishers.items():
        if isinstance(publisher, mqtt.Config):
            yield from broker_findings(station, name, publisher)
            yield from broker_certificate(name, publisher, _now())
        elif isinstance(publisher, SparkplugConfig):
            yield from sparkplug_findings(station, name, publisher)
            yield from broker_certificate(name, publisher, _now())


def _machine(root: Path, file: Path | None, draft: Draft | None, place: host.Place) -> Iterator[Finding]:
    yield from guarded(
        "power", file, _power(root, None if draft is None or draft.station is None else draft.station.power)
    )
    synced = SystemClock().synced()
    yield from guarded("machine", file, host.host_findings(root, place, synced, host.free_bytes))
    yield from guarded("clock", file, iter([rtc_finding(root, time.time(), synced)]))
    folders = [place.state_dir]
    if draft is not None and draft.station is not None and draft.station.images is not None:
        folders += [draft.station.images.folder] if draft.station.images.folder is not None else []
    yield from guarded("disk", file, disks.disk_findings(root, folders, disks.room, nvme.smart))


def _power(root: Path, settings: PowerSettings | None) -> Iterator[Finding]:
    """In a container the board may lie elsewhere."""
    board = root if settings is None else root / str(settings.root).lstrip("/")
    policy = None if settings is None else settings.policy
    wanted = policy.mode if isinstance(policy, FixedPolicy) else None
    sensors = BoardSensors(board)
    yield from power_findings(sensors.read(), sensors.modes(), over_current_counts(board), wanted)
    if settings is not None and (policy is not None or settings.lock_clocks):
        yield control_finding(how(board) if settings.through == "auto" else settings.through)


def guarded(what: str, file: Path | None, findings: Iterable[Finding], limit_s: float = FINDING_S) -> Iterator[Finding]:
    """What this user may not look at, what hangs or goes away meanwhile ends these checks and not the page.

    ValueError: what a broker, a disk or a file says cannot be understood.
    """
    try:
        yield from in_time(findings, limit_s)
    except (OSError, ValueError, EdgeInspectorError) as exc:
        why = "Nothing is known of the rest of these checks."
        mend = "sudo edge-inspector doctor" + ("" if file is None else f" --config {quote(str(file))}")
        yield judged(f"{what}.not_seen", "", "warn", f"these checks ended: {exc}", "all of them", why, mend)


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


def _place(draft: Draft | None, user: str) -> host.Place:
    """The station's own folders, or those that it would take here."""
    if draft is not None and draft.station is not None:
        state, runtime = draft.station.station.state_dir, draft.station.station.runtime
    else:
        state = Path(os.environ.get("STATE_DIRECTORY", "state"))
        runtime = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/edge-inspector"))
    return host.Place(state.absolute(), runtime.absolute(), user)


def _service_user(told: Told) -> str:
    """The unit's, where there is one, else who runs this; a container's user may have only a number."""
    named = "" if isinstance(told, str) else told.get("User", "") or ("root" if told.get("FragmentPath") else "")
    if named:
        return named
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _name(draft: Draft) -> str:
    return "doctor" if draft.station is None else draft.station.station.name


def _now() -> datetime:
    return datetime.now(timezone.utc)
