"""`edge-inspector grab`: pictures of one camera into files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
import typer

from edge_inspector.cli.camera import FileOption, SerialOption, UserNameOption, camera_of
from edge_inspector.cli.failures import EXIT_USER, tell, told_to_the_user
from edge_inspector.cli.files import check_free, write_whole
from edge_inspector.datatypes import Frame
from edge_inspector.errors import CameraError, ConfigError, FrameError
from edge_inspector.interfaces import Camera
from edge_inspector.stages.prepare import LAYOUTS

SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
SUFFIXES_16_BIT = (".png", ".tif", ".tiff")

BRIGHTEST_8_BIT, BRIGHTEST_12_BIT = 255, 4095

Pixels = npt.NDArray[Any]


def grab(
    name: Annotated[str | None, typer.Argument(help="A camera of the station file.", show_default=False)] = None,
    file: FileOption = Path("station.toml"),
    serial: SerialOption = None,
    user_name: UserNameOption = None,
    out: Annotated[
        Path, typer.Option(help=f"The picture's file: {', '.join(SUFFIXES)}; 12-bit formats only png and tif.")
    ] = Path("grab.png"),
    count: Annotated[
        int, typer.Option("-n", "--count", min=1, max=9999, help="So many pictures: OUT-0001.png and so on.")
    ] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for each picture.")] = 10.0,
    raw: Annotated[bool, typer.Option("--raw", help="Write a Bayer mosaic as it is, not as colour.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Take pictures as the station would, write them to files and say how bright they are.

    A camera with trigger = "software" is triggered, one with trigger = "line" is waited for, a free one gives its next
    picture. 12 bits stay 0..4095 in a 16-bit file, as a camera of type "folder" reads them. Damaged pictures are told,
    the others written; the exit code is then 2.

    Examples: `edge-inspector grab top --out top.png`, `edge-inspector grab top --config line3.toml -n 20`,
    `edge-inspector grab --serial 40012345 --out look.png`
    """
    called = name or serial or user_name or ""
    with told_to_the_user():
        files = _files(out, count, force)
        damaged = 0
        with camera_of(name, file, serial, user_name) as camera:
            if camera.trigger_mode == "line":
                typer.echo(f"waiting up to {timeout:g} s for an edge at the camera's trigger input", err=True)
            for path in files:
                try:
                    _take(camera, called, timeout, path, raw)
                except FrameError as exc:
                    tell(exc)
                    damaged += 1
    if damaged:
        typer.echo(f"{damaged} of {count} pictures were damaged", err=True)
        raise typer.Exit(EXIT_USER)


def _files(out: Path, count: int, force: bool) -> list[Path]:
    """Where the pictures go; ConfigError before the camera is touched."""
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {out}: expected a file that ends in one of {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it, or give another one")
    files = [out] if count == 1 else [out.with_name(f"{out.stem}-{i:04}{out.suffix}") for i in range(1, count + 1)]
    check_free(files, force)
    return files


def _take(camera: Camera, called: str, timeout_s: float, path: Path, raw: bool) -> None:
    """One picture into one file, and a line about it. FrameError: it is damaged; the camera can go on."""
    begun_ns = time.monotonic_ns()
    if camera.trigger_mode == "software":
        camera.trigger()
    frame = camera.grab(timeout_s)
    if frame is None:
        raise CameraError(f"camera {called}: " + _NONE_CAME[camera.trigger_mode].format(timeout_s=timeout_s))
    try:
        took_ms = (frame.arrival_ns - begun_ns) / 1e6
        write_whole(path, _encoded(path, _picture(frame, raw)))
        typer.echo(f"{path}: {_described(frame)}, {took_ms:.1f} ms")
    finally:
        frame.release()


_NONE_CAME = {
    "software": "no picture within {timeout_s:g} s of the trigger; look at ExposureTime, or give a longer --timeout",
    "line": "no edge at the camera's trigger input within {timeout_s:g} s; look at the sensor's wiring and at the "
    "features TriggerSource and TriggerActivation, or give a longer --timeout",
    "free": "no picture within {timeout_s:g} s; look at the camera's frame rate, or give a longer --timeout",
}


def _picture(frame: Frame, raw: bool) -> Pixels:
    """The pixels as OpenCV writes them: gray, or blue first."""
    layout = LAYOUTS[frame.pixel_format]
    if layout.mosaic and not raw:
        bgr: Pixels = cv2.cvtColor(frame.pixels, layout.mosaic["bgr"])
        return bgr
    if layout.order == "rgb":
        return frame.pixels[:, :, ::-1]
    return frame.pixels


def _encoded(path: Path, picture: Pixels) -> bytes:
    if picture.dtype == np.uint16 and path.suffix.lower() not in SUFFIXES_16_BIT:
        raise ConfigError(f"--out {path}: the picture has 12 bits; expected {' or '.join(SUFFIXES_16_BIT)}")
    done, content = cv2.imencode(path.suffix, picture)
    if not done:
        raise ConfigError(f"--out {path}: OpenCV cannot write this format; use .png")
    return bytes(content)


def _described(frame: Frame) -> str:
    """Brightness and saturation as shares of full scale."""
    height, width = frame.hw
    full = BRIGHTEST_12_BIT if frame.pixels.dtype == np.uint16 else BRIGHTEST_8_BIT
    saturated = np.count_nonzero(frame.pixels >= full) / frame.pixels.size
    return (
        f"{width}x{height} {frame.pixel_format}, brightness {frame.pixels.mean() / full:.3f},"
        f" saturated {saturated:.2%}, frame {frame.frame_id}"
    )
