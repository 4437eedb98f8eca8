"""/health and /metrics: for those who watch the station from outside."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from edge_inspector import __version__
from edge_inspector.health.metrics import CONTENT_TYPE, away
from edge_inspector.web.access import Reader
from edge_inspector.web.problems import problems
from edge_inspector.web.service import service_of

router = APIRouter(tags=["health"])


class Live(BaseModel):
    """The web service runs."""

    live: bool = True


class Ready(BaseModel):
    """Whether the web service can do its work."""

    ready: bool = Field(description="The daemon answers and the ledger can be read.")


class Health(Ready):
    """The same with the reasons, for those who bring a token."""

    station: str
    version: str
    daemon: bool
    ledger: bool
    station_ready: bool | None = Field(description="Whether a part would be inspected now; null: nobody knows.")
    trouble: str


@router.get("/health/live")
async def live() -> Live:
    """200 as long as the service answers at all. Needs no token."""
    return Live()


@router.get("/health/ready", responses={503: {"model": Ready, "description": "It cannot; a station that is away."}})
def ready(request: Request) -> JSONResponse:
    """200 when it can answer questions, else 503. Needs no token, and tells no more than that."""
    able = _health(request).ready
    return JSONResponse(Ready(ready=able).model_dump(), 200 if able else 503)


@router.get("/health", responses=problems())
def health(request: Request, _caller: Reader) -> Health:
    """What is well and what is not; always 200."""
    return _health(request)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **problems(),
        200: {
            "description": "OpenMetrics; `edge_inspector_up 0` alone while the station is away.",
            "content": {"application/openmetrics-text": {"schema": {"type": "string"}}},
        },
    },
)
def metrics(request: Request, _caller: Reader) -> Response:
    """For Prometheus."""
    text = service_of(request).station.metrics()
    return Response(away() if text is None else text, headers={"Content-Type": CONTENT_TYPE})


def _health(request: Request) -> Health:
    state = service_of(request).feed.state()
    return Health(
        ready=state.online and state.counts is not None,
        station=state.station,
        version=__version__,
        daemon=state.online,
        ledger=state.counts is not None,
        station_ready=None if state.status is None else bool(state.status.get("ready")),
        trouble=state.trouble,
    )
