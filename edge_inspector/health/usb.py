"""Checks of the USB ports that Basler cameras hang on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.health.finding import Finding, judged, number, text

NO_CAMERA = "no Basler USB camera seen"
BASLER = "2676"
"""USB vendor number."""
SUPER_SPEED = 5000
USBFS_MB = 1000
"""Basler's README of pylon for Linux; Linux's own 16 MB are used up by one camera's transfers."""
USBFS_DEFAULT_MB = 16
_LIMIT = "sys/module/usbcore/parameters/usbfs_memory_mb"
_RULE = 'SUBSYSTEM=="usb", ATTRS{idVendor}=="2676", MODE="0666", TAG+="uaccess"'


@dataclass(frozen=True)
class UsbCamera:
    """A Basler camera as the kernel sees it, whether pylon does or not; `node` is its file in /dev/bus/usb."""

    serial: str
    model: str
    speed_mbit: int
    node: str


def usb_cameras(root: Path) -> list[UsbCamera]:
    folder = root / "sys/bus/usb/devices"
    devices = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [_camera(root, f"sys/bus/usb/devices/{name}") for name in devices if _is_basler(root, name)]


def usb_findings(root: Path, cameras: list[UsbCamera]) -> Iterator[Finding]:
    if not cameras:
        yield judged("usb.camera", "", "note", NO_CAMERA)
    for camera in cameras:
        yield _speed(camera)
        yield _permission(root, camera)
    limit = number(root, _LIMIT)
    if limit is not None:
        yield _usbfs(limit, bool(cameras))


def may_use(root: Path, node: str) -> bool:
    """Whether this user may read and write a device file; access lists count, as the kernel counts them."""
    effective = os.access in os.supports_effective_ids
    return os.access(root / node.lstrip("/"), os.R_OK | os.W_OK, effective_ids=effective)


def _is_basler(root: Path, name: str) -> bool:
    return text(root, f"sys/bus/usb/devices/{name}/idVendor") == BASLER


def _camera(root: Path, device: str) -> UsbCamera:
    bus, number_on_bus = (number(root, f"{device}/{name}") or 0 for name in ("busnum", "devnum"))
    return UsbCamera(
        serial=text(root, f"{device}/serial") or "",
        model=text(root, f"{device}/product") or "",
        speed_mbit=number(root, f"{device}/speed") or 0,
        node=f"/dev/bus/usb/{bus:03}/{number_on_bus:03}",
    )


def _speed(camera: UsbCamera) -> Finding:
    return judged(
        "usb.speed",
        camera.serial,
        "ok" if camera.speed_mbit >= SUPER_SPEED else "fail",
        f"{camera.speed_mbit} Mbit/s",
        f"at least {SUPER_SPEED} (USB 3)",
        "A USB 3 camera falls back to USB 2 in a USB 2 port, behind a USB 2 hub or with a bad or long cable: a tenth of"
        " the pictures, and many cameras do not start at all.",
        "plug it into a USB 3 port of the machine itself, with a screwed USB 3 cable up to 5 m; then: lsusb -t",
    )


def _permission(root: Path, camera: UsbCamera) -> Finding:
    return judged(
        "usb.permission",
        camera.serial,
        "ok" if may_use(root, camera.node) else "fail",
        f"{camera.node} {'may' if may_use(root, camera.node) else 'may not'} be read and written by this user",
        "read and write",
        "pylon speaks to the camera through this file; pylon's installer brings a udev rule for it, pypylon does not.",
        f"echo '{_RULE}' | sudo tee /etc/udev/rules.d/69-basler-cameras.rules && sudo udevadm control --reload"
        f" && sudo udevadm trigger --attr-match=idVendor={BASLER}",
    )


def _usbfs(limit_mb: int, needed: bool) -> Finding:
    """0 = no limit (drivers/usb/core/devio.c)."""
    enough = limit_mb == 0 or limit_mb >= USBFS_MB
    line = f"w /{_LIMIT} - - - - {USBFS_MB}"
    file = "/etc/tmpfiles.d/60-usbfs.conf"
    return judged(
        "usb.usbfs_memory",
        "",
        "ok" if enough else "note" if not needed else "fail" if limit_mb <= USBFS_DEFAULT_MB else "warn",
        f"{limit_mb or 'no limit of'} MB" + ("" if enough or needed else f"; {NO_CAMERA}"),
        f"at least {USBFS_MB}",
        "All USB transfers of all cameras share this memory; Basler recommends 1000 MB, because Linux's own 16 MB are"
        " used up by one camera.",
        f"echo '{line}' | sudo tee {file} && sudo systemd-tmpfiles --create {file}",
    )
