"""GET /v1/events: what happens, as server-sent events. GET /v1/state: how it is now."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from edge_inspector import __version__
from edge_inspector.errors import EdgeInspectorError
from edge_inspector.web.access import Caller, Reader
from edge_inspector.web.events import STATE_S, Feed, Happening, Place, State
from edge_inspector.web.listeners import ALL, OF_ONE, Stream
from edge_inspector.web.problems import Refused, problems
from edge_inspector.web.service import Service, service_of
from edge_inspector.web.tokens import Role

router = APIRouter(prefix="/v1", tags=["events"])
LOOK_S = 0.2
"""A verdict is shown at most so much later."""
HEARTBEAT_S = 2.0
"""How often the state is sent at the least: who hears nothing for some times of it must not trust what they show."""
_RETRY_MS = 1000


class You(BaseModel):
    """Who asks."""

    name: str
    role: Role
    expires_utc: str | None


class StateAndYou(State):
    """The station at this moment, and for whom it is shown."""

    version: str
    you: You


@router.get("/state", responses=problems())
def state(request: Request, caller: Reader) -> StateAndYou:
    """The station at this moment."""
    now = service_of(request).feed.state()
    you = You(name=caller.name, role=caller.role, expires_utc=caller.expires_utc)
    return StateAndYou(**now.model_dump(), version=__version__, you=you)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        **problems(),
        200: {
            "description": "`event: result`, `image`, `event` (JSON, as in the other answers) and, at least every"
            " two seconds, `state`. `id` is where to go on; every result comes at least once.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def events(request: Request, caller: Reader) -> StreamingResponse:
    """What happens from now on or, with the header Last-Event-ID, from there."""
    service = service_of(request)
    last = request.headers.get("last-event-id", "")
    try:
        place = service.feed.place_of(last) if last else await anyio.to_thread.run_sync(service.feed.place_now)
    except ValueError as exc:
        raise Refused(422, f"Last-Event-ID: {last[:80]!r} is none of ours; leave it out to begin with now") from exc
    if service.listeners.full_for(caller.name):
        text = f"too many listeners: at most {OF_ONE} of one token, and {ALL} together"
        raise Refused(503, text, retry_after_s=HEARTBEAT_S)
    return Stream(_told(service, caller, place))


async def _told(service: Service, caller: Caller, place: Place) -> AsyncGenerator[str, None]:
    """Until the listener hangs up, or may listen no more."""
    with service.listeners.one_more(caller.name):
        yield f"retry: {_RETRY_MS}\n\n"
        heard, happened = -HEARTBEAT_S, list[Happening]()
        while True:
            if anyio.current_time() - heard >= (STATE_S if happened else HEARTBEAT_S):
                if not service.door.still(caller):
                    return
                yield _message(await anyio.to_thread.run_sync(_state, service.feed), None)
                heard = anyio.current_time()
            try:
                happened, place = await anyio.to_thread.run_sync(service.feed.after, place)
            except EdgeInspectorError:  # the ledger is away: the state says so, and its results come when it is back
                happened = []
            for one in happened:
                yield _message(one, place if one is happened[-1] else None)
            if not happened:
                await anyio.sleep(LOOK_S)


def _state(feed: Feed) -> Happening:
    return Happening("state", feed.state().model_dump_json())


def _message(happening: Happening, place: Place | None) -> str:
    number = "" if place is None else f"id: {place}\n"
    return f"event: {happening.kind}\n{number}data: {happening.data}\n\n"
