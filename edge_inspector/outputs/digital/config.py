"""What a station file says about digital outputs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge_inspector.outputs.digital.signals import ROLES, Role
from edge_inspector.settings import Name, PlcConfig, Settings

_READY = "Energised while a part may come: the station is ready, and no part is in work."
_OK = "One pulse of result_hold_ms for each part that is OK."
_NOT_OK = "One pulse for each part that is not given as OK; for a lamp or a counter, never in place of ok."
_HEALTHY = "Energised while the station has no error; what falls when something is wrong."
_HEARTBEAT = "Changes every 100 ms while the verdict path makes progress; with it a PLC notices also a dead computer."

GenicamLine = Annotated[str, Field(min_length=1, max_length=64)]
GpioLine = Annotated[int, Field(ge=0, le=65535)] | Annotated[str, Field(min_length=1, max_length=64)]
Coil = Annotated[int, Field(ge=0, le=65535)]


class CameraLines(Settings):
    """Output lines of a camera, by their GenICam names such as Line2."""

    camera: Name = Field(description="The camera whose output lines are used.")
    ready: GenicamLine = Field(description=_READY)
    ok: GenicamLine = Field(description=_OK)
    not_ok: GenicamLine | None = Field(None, description=_NOT_OK)
    healthy: GenicamLine | None = Field(None, description=_HEALTHY)
    heartbeat: GenicamLine | None = Field(None, description=_HEARTBEAT)


class GpioLines(Settings):
    """Output lines of this machine, by offset or by name as `gpioinfo` lists them."""

    chip: str = Field("/dev/gpiochip0", description="The character device of the GPIO chip.")
    ready: GpioLine = Field(description=_READY)
    ok: GpioLine = Field(description=_OK)
    not_ok: GpioLine | None = Field(None, description=_NOT_OK)
    healthy: GpioLine | None = Field(None, description=_HEALTHY)
    heartbeat: GpioLine | None = Field(None, description=_HEARTBEAT)


class RemoteIo(Settings):
    """Coils of a Modbus TCP remote I/O, numbered from 0 as in a request. Its own output watchdog must be on."""

    host: str = Field(min_length=1, description="Address of the remote I/O.")
    port: int = Field(502, ge=1, le=65535, description="Its port.")
    unit: int = Field(1, ge=0, le=255, description="Its unit address; most take any.")
    ready: Coil = Field(description=_READY)
    ok: Coil = Field(description=_OK)
    not_ok: Coil | None = Field(None, description=_NOT_OK)
    healthy: Coil | None = Field(None, description=_HEALTHY)
    heartbeat: Coil | None = Field(None, description=_HEARTBEAT)
    refresh_ms: float = Field(
        100.0,
        ge=10,
        le=10_000,
        description="All coils are written again this often; the device's watchdog: three times as long or more.",
    )
    timeout_s: float = Field(0.5, gt=0, le=10, description="A device that does not answer within is lost.")


class Config(PlcConfig):
    """Digital outputs by exactly one of `camera`, `gpio` and `modbus`; a line that is energised says good."""

    type: Literal["digital"]
    acknowledge: Literal[False] = Field(False, description="Lines have nobody who acknowledges: always false.")
    result_hold_ms: float = Field(
        100.0,
        ge=5,
        le=10_000,
        description="Length of a pulse, and of the pause after it: at least two scans of the PLC.",
    )
    camera: CameraLines | None = Field(None, description="Output lines of a camera.")
    gpio: GpioLines | None = Field(None, description="Output lines of this machine.")
    modbus: RemoteIo | None = Field(None, description="Coils of a remote I/O.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Config:
        given = [name for name in ("camera", "gpio", "modbus") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"found {found}, expected exactly one of camera, gpio and modbus")
        lines = list(self.lines.values())
        if len(set(lines)) != len(lines):
            raise ValueError(f"two signals share a line: {', '.join(f'{r} = {at!r}' for r, at in self.lines.items())}")
        return self

    @property
    def wiring(self) -> CameraLines | GpioLines | RemoteIo:
        """The one that is given."""
        one = self.camera or self.gpio or self.modbus
        if one is None:
            raise ValueError("a digital link without lines")
        return one

    @property
    def output_cameras(self) -> tuple[str, ...]:
        """The cameras whose output lines the link drives."""
        return () if self.camera is None else (self.camera.camera,)

    @property
    def output_lines(self) -> tuple[str, ...]:
        wiring = self.wiring
        if isinstance(wiring, CameraLines):
            return tuple(f"output {line} of camera {wiring.camera}" for line in self.lines.values())
        if isinstance(wiring, GpioLines):
            return tuple(f"line {line} of {wiring.chip}" for line in self.lines.values())
        where = f"{wiring.host}:{wiring.port}, unit {wiring.unit}"
        return tuple(f"coil {line} of {where}" for line in self.lines.values())

    @property
    def lines(self) -> dict[Role, str | int]:
        """Where each signal that is wired goes."""
        return {role: line for role in ROLES if (line := getattr(self.wiring, role)) is not None}
