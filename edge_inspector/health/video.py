"""V4L2 cameras as the kernel lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.health.finding import Finding, judged, number, text
from edge_inspector.health.usb import may_use


@dataclass(frozen=True)
class VideoDevice:
    """One /dev/video file; of one camera's several, `index` 0 gives the pictures, others often only metadata."""

    path: str
    name: str
    index: int
    accessible: bool


def video_devices(root: Path) -> list[VideoDevice]:
    folder = root / "sys/class/video4linux"
    names = [path.name for path in folder.iterdir() if path.name.startswith("video")] if folder.is_dir() else []
    return [
        VideoDevice(
            path=f"/dev/{name}",
            name=text(root, f"sys/class/video4linux/{name}/name") or "",
            index=number(root, f"sys/class/video4linux/{name}/index") or 0,
            accessible=may_use(root, f"dev/{name}"),
        )
        for name in sorted(names, key=lambda name: (len(name), name))
    ]


def video_findings(devices: list[VideoDevice], user: str) -> Iterator[Finding]:
    if not devices:
        yield judged("video.camera", "", "note", "no V4L2 camera seen")
    for device in devices:
        yield judged(
            "video.permission",
            device.path,
            "ok" if device.accessible else "fail",
            f"{device.name}; {'may' if device.accessible else 'may not'} be read and written by this user",
            "read and write",
            "Video devices belong to the group video.",
            f"sudo usermod -aG video {user} # then log in again",
        )
