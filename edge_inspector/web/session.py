"""/v1/sign-in, /v1/sign-out: a browser's pictures and event streams can send no token, but a cookie."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from edge_inspector.web.access import from_our_page
from edge_inspector.web.problems import Refused, problems
from edge_inspector.web.service import service_of
from edge_inspector.web.stream import You

router = APIRouter(prefix="/v1", tags=["session"])
_KEEP_S = 365 * 24 * 3600
"""A panel in the hall stays signed in; the token's own end comes first, where it has one."""


class SignIn(BaseModel):
    """The token, once."""

    model_config = ConfigDict(extra="forbid", strict=True)
    token: Annotated[str, StringConstraints(min_length=1, max_length=256)]


@router.post("/sign-in", responses=problems(408, 413))
def sign_in(request: Request, response: Response, body: SignIn) -> You:
    """Keep the token in a cookie that no script can read and no other web site can use."""
    if not from_our_page(request):
        raise Refused(403, "only the page of this service signs in here; programs send the token with each request")
    service = service_of(request)
    token = service.door.token(body.token)
    expires = None if token.expires_utc is None else datetime.fromisoformat(token.expires_utc)
    left_s = _KEEP_S if expires is None else int((expires - service.now()).total_seconds())
    response.set_cookie(
        service.door.cookie,
        body.token,
        max_age=min(_KEEP_S, left_s),
        path="/",
        secure=service.config.web.tls,
        httponly=True,
        samesite="strict",
    )
    return You(name=token.name, role=token.role, expires_utc=token.expires_utc)


@router.post("/sign-out", status_code=204, responses=problems())
def sign_out(request: Request, response: Response) -> None:
    """Forget the cookie."""
    service = service_of(request)
    response.delete_cookie(service.door.cookie, path="/", secure=service.config.web.tls, httponly=True)
