"""POST /v1/orders/{name}: what people may order; the daemon audits each under the name of the token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edge_inspector.settings import Name
from edge_inspector.web.access import Caller, Engineer, Operator
from edge_inspector.web.models import Done
from edge_inspector.web.problems import Refused, problems
from edge_inspector.web.service import service_of

router = APIRouter(prefix="/v1", tags=["orders"])


class Setup(BaseModel):
    """Setup mode: the station is not READY, and its cameras can be adjusted."""

    model_config = ConfigDict(extra="forbid", strict=True)
    on: bool


class Golden(BaseModel):
    """Golden mode: known parts show that the station still judges rightly."""

    model_config = ConfigDict(extra="forbid", strict=True)
    on: bool


def _whole(value: object) -> object:
    """1.0 is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class RecipeName(BaseModel):
    """A recipe by its name."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Name


class RecipeNumber(BaseModel):
    """A recipe by the number that the PLC knows."""

    model_config = ConfigDict(extra="forbid", strict=True)
    number: Annotated[int, Field(ge=1, le=65535), BeforeValidator(_whole)]


class LiveView(BaseModel):
    """A camera's latest picture in Setup mode, and what is measured on it."""

    jpeg: str | None = Field(description="Base64; null: no picture has come yet.")
    sharpness: float | None = Field(description="Variance of the Laplacian: larger is sharper, of the same scene.")
    mean: float | None = Field(description="Mean brightness, 0..1 of full scale.")
    saturated: float | None = Field(description="Part of the pixels at full scale, 0..1.")
    age_ms: float | None
    width: int | None
    height: int | None


@router.post("/orders/ack_line_stop", responses=problems(409))
def ack_line_stop(request: Request, caller: Operator) -> Done:
    """Somebody has seen why the line was stopped, and it may go on."""
    return _ordered(request, caller, "ack_line_stop", {})


@router.post("/orders/reset", responses=problems(409))
def reset(request: Request, caller: Operator) -> Done:
    """Somebody has seen the alarms."""
    return _ordered(request, caller, "reset", {})


@router.post("/orders/halt", responses=problems(409))
def halt(request: Request, caller: Engineer) -> Done:
    """The station accepts no part until `resume`."""
    return _ordered(request, caller, "halt", {})


@router.post("/orders/resume", responses=problems(409))
def resume(request: Request, caller: Engineer) -> Done:
    """Go on after `halt`; what the PLC has halted, the PLC resumes."""
    return _ordered(request, caller, "resume", {})


@router.post("/orders/recipe", responses=problems(408, 409, 413))
def recipe(request: Request, caller: Engineer, body: RecipeName | RecipeNumber) -> Done:
    """Select a recipe; only where no PLC is the master."""
    return _ordered(request, caller, "recipe", body.model_dump())


@router.post("/orders/setup", responses=problems(408, 409, 413))
def setup(request: Request, caller: Engineer, body: Setup) -> Done:
    """Setup mode on or off; it ends by itself when nobody has watched a live view for ten minutes."""
    return _ordered(request, caller, "setup", body.model_dump())


@router.post("/orders/golden", responses=problems(408, 409, 413))
def golden(request: Request, caller: Engineer, body: Golden) -> Done:
    """Golden mode on or off: the parts that come are master parts. Only where no PLC is the master."""
    return _ordered(request, caller, "golden", body.model_dump())


@router.get("/live/{camera}", responses=problems(404, 409))
def live(request: Request, caller: Operator, camera: Annotated[str, Path(max_length=63)]) -> LiveView:
    """A camera's latest picture in Setup mode; asked for every 200 to 1000 ms. Who watches is audited."""
    service = service_of(request)
    if camera not in service.config.cameras:
        known = ", ".join(sorted(service.config.cameras))
        raise Refused(404, f"camera {camera!r}: the station has none of this name; it has {known}")
    facts = service.station.order(caller, "live", {"camera": camera})
    return LiveView(**{name: facts.get(name) for name in LiveView.model_fields})


def _ordered(request: Request, caller: Caller, name: str, arguments: dict[str, object]) -> Done:
    service_of(request).station.order(caller, name, arguments)
    return Done()
