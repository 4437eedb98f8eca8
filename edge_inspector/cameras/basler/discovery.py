"""Which cameras pylon sees, and which of them a station file means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_inspector.cameras.basler.config import Config
from edge_inspector.cameras.basler.sdk import sdk, translated
from edge_inspector.errors import CameraError

EMULATOR = "BaslerCamEmu"


@dataclass(frozen=True)
class CameraInfo:
    """One camera that pylon sees; `vendor_class` is BaslerGigE, BaslerUsb or BaslerCamEmu.

    GigE only, else empty: `ip` and `subnet` (mask) of the camera, `interface` = address of the network card that sees
    it. `accessible` is whether it could be opened now, None = not asked.
    """

    model: str
    serial: str
    user_name: str
    ip: str
    vendor_class: str
    interface: str = ""
    subnet: str = ""
    accessible: bool | None = None

    def __str__(self) -> str:
        named = f" {self.user_name!r}" if self.user_name else ""
        return f"{self.model}{named} serial {self.serial} ({self.ip or self.vendor_class})"


def seen(ownership: bool = False) -> list[CameraInfo]:
    """Every camera on this machine's buses and networks. CameraError when pypylon is missing or pylon fails.

    `ownership` also asks each whether it could be opened, which takes a GigE camera that does not answer some time.
    """
    pylon, genicam = sdk()
    with translated(genicam, "pylon: cameras cannot be listed"):
        factory = pylon.TlFactory.GetInstance()
        devices = factory.EnumerateDevices()
        return [info(device, accessible(factory, genicam, device) if ownership else None) for device in devices]


def info(device: Any, is_accessible: bool | None = None) -> CameraInfo:
    """What pylon knows of a camera without opening it."""
    return CameraInfo(
        model=str(device.GetModelName()),
        serial=str(device.GetSerialNumber()),
        user_name=str(device.GetUserDefinedName()),
        ip=str(device.GetIpAddress()) if device.IsIpAddressAvailable() else "",
        vendor_class=str(device.GetDeviceClass()),
        interface=str(device.GetInterface()) if device.IsInterfaceAvailable() else "",
        subnet=str(device.GetSubnetMask()) if device.IsSubnetMaskAvailable() else "",
        accessible=is_accessible,
    )


def accessible(factory: Any, genicam: Any, device: Any) -> bool | None:
    """Whether control of the camera could be had now; None = pylon cannot say. The emulator always says yes."""
    try:
        return bool(factory.IsDeviceAccessible(device))  # pylon's default is to ask for control
    except genicam.GenericException:
        return None


def chosen(name: str, config: Config, devices: Sequence[Any]) -> Any:
    """The one device that the config means; an emulated one only with emulate_folder, lest it judge real parts."""
    wanted = {"serial": config.serial, "user_name": config.user_name, "model": config.model, "ip": config.ip}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    infos = [info(device) for device in devices]
    fitting = [
        device
        for device, one in zip(devices, infos, strict=True)
        if (one.vendor_class == EMULATOR) == (config.emulate_folder is not None)
        and all(getattr(one, key) == value for key, value in wanted.items())
    ]
    if len(fitting) == 1 or (fitting and config.emulate_folder):
        return fitting[0]
    means = ", ".join(f"{key} = {value}" for key, value in wanted.items()) or "no serial, user_name, model or ip"
    if config.emulate_folder:
        means += ", emulated"
    hint = "; an emulated camera is taken only with emulate_folder" if _emulated_alone(infos, config) else ""
    raise CameraError(
        f"camera {name}: {means} fits {len(fitting)} cameras, expected one; "
        f"seen: {'; '.join(str(one) for one in infos) or 'none (power, cable, IP address?)'}{hint}"
    )


def _emulated_alone(infos: Sequence[CameraInfo], config: Config) -> bool:
    """Whether somebody who tries pylon's emulator must wonder why its cameras do not count."""
    return config.emulate_folder is None and bool(infos) and all(one.vendor_class == EMULATOR for one in infos)


def not_opened(name: str, camera: CameraInfo, said: str) -> CameraError:
    """Why a camera that is seen does not open; `said` is what pylon says.

    A program that dies keeps its GigE camera until the heartbeat time-out has passed (pypylon #812). The driver leaves
    GevHeartbeatTimeout as pylon sets it, 3 s, so that a station that is killed has its cameras back soon.
    """
    if camera.accessible is False:
        return CameraError(
            f"camera {name}: {camera} is held by another program, or by one that crashed: close pylon Viewer or "
            "a second station; a GigE camera comes free by itself after its heartbeat time-out (GevHeartbeatTimeout, "
            f"3 s unless changed), and the station tries again ({said})"
        )
    return CameraError(f"camera {name}: {camera} cannot be opened; the station tries again ({said})")
