"""Basler cameras through pylon: GigE, USB3, and pylon's own emulator."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from edge_inspector.cameras import Statistics
from edge_inspector.cameras.ring import FrameRing
from edge_inspector.datatypes import Frame, PixelFormat
from edge_inspector.errors import CameraError, FrameError
from edge_inspector.settings import CameraConfig, LocalPath

EMULATOR = "BaslerCamEmu"
LOST_CHECK_MS = 100
"""pylon does not wake a waiting RetrieveResult when the camera is unplugged: it is asked this often."""
READY_TIMEOUT_MS = 1000
"""How long a camera may need, beyond its exposure, to be ready for the next software trigger."""
DEFAULT_EXPOSURE_US = 1e6
"""Allowed for when the exposure is left as it is in the camera."""
NO_BLOCK_ID = 2**64 - 1
"""pylon's BlockID of a device that gives none, as the emulator of pypylon 4."""
EXPOSURE_OF_ACE_CLASSIC = "ExposureTimeAbs"
"""What GigE cameras from before SFNC 2 call ExposureTime; microseconds, too."""

Pixels = npt.NDArray[Any]

_SAMPLES: Mapping[PixelFormat, tuple[type[np.generic], int]] = {
    "Mono8": (np.uint8, 1),
    "Mono12": (np.uint16, 1),
    "BGR8": (np.uint8, 3),
    "RGB8": (np.uint8, 3),
    "BayerRG8": (np.uint8, 1),
    "BayerGB8": (np.uint8, 1),
    "BayerGR8": (np.uint8, 1),
    "BayerBG8": (np.uint8, 1),
}
"""Sample type and samples a pixel. Mono12 is the unpacked one: 16 bits, the upper four empty."""


class Config(CameraConfig):
    """Which Basler camera, and how it takes pictures."""

    type: Literal["basler"]
    serial: str | None = Field(default=None, description="Serial number. Without any of the four: the only camera.")
    user_name: str | None = Field(default=None, description="The name given to the camera in pylon (DeviceUserID).")
    model: str | None = Field(default=None, description="Model name, such as a2A1920-51gmBAS.")
    ip: str | None = Field(default=None, description="IP address of a GigE camera.")
    trigger: Literal["software", "line", "free"] = Field(
        default="software", description="software: by the station; line: by trigger_source; free: as fast as it can."
    )
    trigger_source: str = Field(default="Line1", description="Input of the camera, for trigger = line.")
    pixel_format: PixelFormat = Field(default="Mono8", description="What the camera sends.")
    exposure_us: float | None = Field(default=None, gt=0, description="Left out: as stored in the camera.")
    gain_db: float | None = Field(default=None, ge=0, description="Left out: as stored in the camera.")
    buffers: int = Field(default=10, ge=2, le=1000, description="Buffers that pylon may fill ahead.")
    slots: int = Field(default=8, ge=1, le=256, description="Frames that may be in use at once.")
    emulate_folder: LocalPath | None = Field(
        default=None, description="Play this folder through pylon's emulator; no real camera is ever taken then."
    )
    emulate_count: int = Field(
        default=8, ge=1, le=256, description="Emulated cameras to make, unless PYLON_CAMEMU is set."
    )

    @model_validator(mode="after")
    def _emulated_is_triggered(self) -> Config:
        if self.emulate_folder is not None and self.trigger == "line":
            raise ValueError("the emulator has no line input; use trigger = software or free with emulate_folder")
        return self


@dataclass(frozen=True)
class CameraInfo:
    """One camera that pylon sees; `ip` is empty for USB, `vendor_class` is BaslerGigE, BaslerUsb or BaslerCamEmu."""

    model: str
    serial: str
    user_name: str
    ip: str
    vendor_class: str

    def __str__(self) -> str:
        named = f" {self.user_name!r}" if self.user_name else ""
        return f"{self.model}{named} serial {self.serial} ({self.ip or self.vendor_class})"


def seen() -> list[CameraInfo]:
    """Every camera on this machine's buses and networks. CameraError when pypylon is missing or pylon fails."""
    pylon, genicam = _sdk()
    with _translated(genicam, "pylon: cameras cannot be listed"):
        return [_info(device) for device in pylon.TlFactory.GetInstance().EnumerateDevices()]


def emulated_order(folder: Path) -> list[Path]:
    """What the emulator plays: picture n after opening (`frame_id` n) is entry n modulo the length. OSError as iterdir.

    Tried with pypylon 4.1 and 26.9: every entry takes its turn, by the bytes of its name (C before a, img10 before
    img2), hidden files and sub-folders too; what it cannot read (in 4.1 all but png and tif) comes as a failed buffer.
    New files are not seen until reopening.
    """
    return sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name))


class BaslerCamera:
    """One camera; pictures are copied out of pylon's buffers at once.

    `frame_id` is pylon's BlockID carried on beyond 16 bits; `camera_ticks` its time stamp (0 from the emulator).
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.software_triggered = config.trigger == "software"
        self.statistics = Statistics()
        self._config = config
        self._ring = FrameRing(config.slots)
        self._pylon: Any = None
        self._genicam: Any = None
        self._device: Any = None
        self._hw = (0, 0)
        self._block_id = 0
        self._owed = 0

    def __enter__(self) -> BaslerCamera:
        """Find the camera, set it and start it. CameraError when that fails."""
        self._pylon, self._genicam = _sdk(self._config.emulate_count if self._config.emulate_folder else 0)
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            with self._translated("cannot be opened; is another program using it?"):
                factory = self._pylon.TlFactory.GetInstance()
                self._device = self._pylon.InstantCamera(factory.CreateDevice(self._chosen(factory.EnumerateDevices())))
                self._device.Open()
            with self._translated("does not take its settings"):
                self._set_up()
                self._device.StartGrabbing(self._pylon.GrabStrategy_OneByOne)
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def trigger(self) -> None:
        """Expose once. CameraError: lost, never ready, or the picture of the trigger before has not come.

        The latter so that a late picture is never taken for the next part's: one that was given up is thrown away here.
        """
        if not self.software_triggered:
            raise RuntimeError(f"camera {self.name}: trigger() needs trigger = software, not {self._config.trigger}")
        with self._translated("is lost"):
            while self._owed:
                with self._device.RetrieveResult(0, self._pylon.TimeoutHandling_Return) as late:
                    if not late.IsValid():
                        self._check_there()
                        raise CameraError(f"camera {self.name}: the picture of the last trigger never came; reopen it")
                    self._owed -= 1
                    self.statistics = replace(self.statistics, discarded_late=self.statistics.discarded_late + 1)
            exposure_ms = (self._config.exposure_us or DEFAULT_EXPOSURE_US) / 1e3
            timeout_ms = READY_TIMEOUT_MS + math.ceil(exposure_ms)
            if not self._device.WaitForFrameTriggerReady(timeout_ms, self._pylon.TimeoutHandling_Return):
                self._check_there()
                raise CameraError(f"camera {self.name}: not ready for a trigger within {timeout_ms} ms; reopen it")
            self._check_there()
            self._device.ExecuteSoftwareTrigger()
            self._owed += 1

    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame; None when none came in time. CameraError: lost.

        FrameError: the buffer is incomplete, not of the size that was set, or a triggered one found every slot held.
        A free-running camera skips frames while every slot is held, and counts them.
        """
        deadline_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        while True:
            left_ms = max(0, math.ceil((deadline_ns - time.monotonic_ns()) / 1e6))
            with (
                self._translated("is lost"),
                self._device.RetrieveResult(min(left_ms, LOST_CHECK_MS), self._pylon.TimeoutHandling_Return) as result,
            ):
                arrival_ns = time.monotonic_ns()
                if not result.IsValid():
                    self._check_there()
                elif (frame := self._frame(result, arrival_ns)) is not None:
                    return frame
            if left_ms == 0:
                return None

    def _chosen(self, devices: Any) -> Any:
        """The one device that the config means; an emulated one only with emulate_folder, lest it judge real parts."""
        config = self._config
        wanted = {"serial": config.serial, "user_name": config.user_name, "model": config.model, "ip": config.ip}
        wanted = {key: value for key, value in wanted.items() if value is not None}
        infos = [_info(device) for device in devices]
        fitting = [
            device
            for device, info in zip(devices, infos, strict=True)
            if (info.vendor_class == EMULATOR) == (config.emulate_folder is not None)
            and all(getattr(info, key) == value for key, value in wanted.items())
        ]
        if len(fitting) == 1 or (fitting and config.emulate_folder):
            return fitting[0]
        means = ", ".join(f"{key} = {value}" for key, value in wanted.items()) or "no serial, user_name, model or ip"
        if config.emulate_folder:
            means += ", emulated"
        raise CameraError(
            f"camera {self.name}: {means} fits {len(fitting)} cameras, expected one; "
            f"seen: {'; '.join(str(info) for info in infos) or 'none (power, cable, IP address?)'}"
        )

    def _set_up(self) -> None:
        """Everything is written at each opening. pylon's default has just switched all triggers off (continuous)."""
        config, device = self._config, self._device
        device.PixelFormat.Value = self._pixel_format_name()
        if config.emulate_folder is not None:
            self._set_up_emulator(config.emulate_folder)
        if config.trigger != "free":
            device.TriggerSelector.Value = "FrameStart"
            device.TriggerMode.Value = "On"
            device.TriggerSource.Value = "Software" if self.software_triggered else config.trigger_source
        if config.exposure_us is not None:
            self._switch_off("ExposureAuto")
            node = "ExposureTime" if self._writable("ExposureTime") else EXPOSURE_OF_ACE_CLASSIC
            getattr(device, node).Value = config.exposure_us
        if config.gain_db is not None:
            if not self._writable("Gain"):
                raise CameraError(f"camera {self.name}: no gain in dB; leave gain_db out and store it in the camera")
            self._switch_off("GainAuto")
            device.Gain.Value = config.gain_db
        device.MaxNumBuffer.Value = config.buffers
        if config.emulate_folder is None:
            self._hw = (int(device.Height.Value), int(device.Width.Value))

    def _pixel_format_name(self) -> str:
        """Older cameras and the emulator call BGR8 BGR8Packed."""
        offered = tuple(self._device.PixelFormat.Symbolics)
        for name in (self._config.pixel_format, f"{self._config.pixel_format}Packed"):
            if name in offered:
                return name
        raise CameraError(
            f"camera {self.name}: pixel_format = {self._config.pixel_format}, expected one of {', '.join(offered)}"
        )

    def _set_up_emulator(self, folder: Path) -> None:
        """Take the size of the first picture. The emulator crops a larger one to Width x Height without a word.

        So both are one more than the picture: a larger one then comes in a wrong size, and `grab` refuses it.
        """
        device = self._device
        height, width = _first_picture_hw(self.name, folder)
        device.WidthMax.Value = max(width + 1, device.WidthMax.Value)
        device.HeightMax.Value = max(height + 1, device.HeightMax.Value)
        device.Width.Value, device.Height.Value = width + 1, height + 1
        device.TestImageSelector.Value = "Off"
        device.ImageFileMode.Value = "On"
        device.ImageFilename.Value = str(folder.resolve())
        self._hw = (height, width)

    def _writable(self, node: str) -> bool:
        return bool(self._genicam.IsWritable(self._device.GetNodeMap().GetNode(node)))

    def _switch_off(self, node: str) -> None:
        if self._writable(node):
            getattr(self._device, node).Value = "Off"

    def _frame(self, result: Any, arrival_ns: int) -> Frame | None:
        """The picture, out of pylon's buffer; None when a camera that is not triggered found every slot held."""
        self._owed = max(0, self._owed - 1)
        block_id = _block_id(result)
        where = f"camera {self.name}, block {block_id}"
        try:
            pixels = self._pixels(result)
        except FrameError as exc:
            self.statistics = replace(self.statistics, failed_buffers=self.statistics.failed_buffers + 1)
            raise FrameError(f"{where}: {exc}") from exc
        self._block_id = continued(self._block_id, block_id)
        held = self._ring.copy_in(pixels, pixels.shape, pixels.dtype)
        if held is None:
            self.statistics = replace(self.statistics, dropped_no_slot=self.statistics.dropped_no_slot + 1)
            if self._config.trigger == "free":
                return None
            raise FrameError(f"{where}: all {self._ring.slots} slots are held; raise slots")
        self.statistics = replace(self.statistics, frames=self.statistics.frames + 1)
        ticks = int(result.GetTimeStamp())
        return Frame(self.name, self._block_id, ticks, arrival_ns, held[0], self._config.pixel_format, held[1])

    def _pixels(self, result: Any) -> Pixels:
        """A view of pylon's buffer. FrameError when it is incomplete or not of the size that was set."""
        if not result.GrabSucceeded():
            raise FrameError(
                f"{result.GetErrorDescription()} (pylon error {result.GetErrorCode():#x}); "
                "if it happens again check cable, packet size and bandwidth"
            )
        hw = (int(result.GetHeight()), int(result.GetWidth()))
        if hw != self._hw:
            raise FrameError(f"{hw[1]} x {hw[0]} pixels, expected {self._hw[1]} x {self._hw[0]} as when it was opened")
        sample, samples = _SAMPLES[self._config.pixel_format]
        return unpadded(result.GetImageMemoryView(), hw, np.dtype(sample), samples, int(result.GetPaddingX()))

    def _check_there(self) -> None:
        if self._device.IsCameraDeviceRemoved():
            raise CameraError(f"camera {self.name}: unplugged or without power; reopen it when it is back")
        if not self._device.IsGrabbing():
            raise CameraError(f"camera {self.name}: pylon has stopped grabbing; reopen it")

    def _close(self) -> None:
        """What is lost cannot be closed politely: pylon's complaints about that are of no use to anybody."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(self._genicam.GenericException):
                device.StopGrabbing()
            with contextlib.suppress(self._genicam.GenericException):
                device.Close()
            with contextlib.suppress(self._genicam.GenericException):
                device.DestroyDevice()

    def _translated(self, what: str) -> contextlib.AbstractContextManager[None]:
        return _translated(self._genicam, f"camera {self.name}: {what}")


def continued(previous: int, block_id: int) -> int:
    """`block_id` carried on past 65535, after which GigE Vision 1 goes back to 1; longer ids come out as they are."""
    return block_id + 65535 * max(0, round((previous - block_id) / 65535))


def unpadded(view: memoryview, hw: tuple[int, int], sample: np.dtype[Any], samples: int, padding_bytes: int) -> Pixels:
    """HxW or HxWx`samples` on the same memory, without the padding behind each row. FrameError when it is too short."""
    height, width = hw
    pixel_bytes = samples * sample.itemsize
    stride = width * pixel_bytes + padding_bytes
    expected = height * stride - padding_bytes
    if view.nbytes < expected:
        raise FrameError(f"{view.nbytes} bytes of pixels, expected {expected}")
    shape, strides = (height, width, samples), (stride, pixel_bytes, sample.itemsize)
    pixels: Pixels = np.ndarray(shape, sample, view, 0, strides)
    return pixels[:, :, 0] if samples == 1 else pixels


def _sdk(emulated: int = 0) -> tuple[Any, Any]:
    """pylon and genicam, imported now; pylon reads PYLON_CAMEMU each time it lists the cameras."""
    if emulated:
        os.environ.setdefault("PYLON_CAMEMU", str(emulated))
    try:
        from pypylon import genicam, pylon
    except ImportError as exc:
        raise CameraError(f"pypylon cannot be imported ({exc}); run: pip install edge-inspector[basler]") from exc
    return pylon, genicam


def _block_id(result: Any) -> int:
    """The camera's count; where it has none this machine's, in which failed buffers still leave a gap."""
    block_id = int(result.GetBlockID())
    return block_id if block_id != NO_BLOCK_ID else int(result.GetImageNumber()) - 1


@contextlib.contextmanager
def _translated(genicam: Any, what: str) -> Iterator[None]:
    try:
        yield
    except genicam.GenericException as exc:
        raise CameraError(f"{what}: {exc}") from exc


def _info(device: Any) -> CameraInfo:
    return CameraInfo(
        model=str(device.GetModelName()),
        serial=str(device.GetSerialNumber()),
        user_name=str(device.GetUserDefinedName()),
        ip=str(device.GetIpAddress()) if device.IsIpAddressAvailable() else "",
        vendor_class=str(device.GetDeviceClass()),
    )


def _first_picture_hw(name: str, folder: Path) -> tuple[int, int]:
    try:
        files = [path for path in emulated_order(folder) if path.is_file()]
    except OSError as exc:
        raise CameraError(f"camera {name}: emulate_folder {folder} cannot be read: {exc}") from exc
    for path in files:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is not None:
            return (int(picture.shape[0]), int(picture.shape[1]))
    raise CameraError(f"camera {name}: emulate_folder {folder} has no picture; expected png, bmp, tif or jpg files")
