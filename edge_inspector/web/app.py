"""The web application of one station."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import FastAPI

from edge_inspector import __version__
from edge_inspector.web import health, images, manual, orders, page, problems, results, session, stream, thresholds
from edge_inspector.web.gate import Gate
from edge_inspector.web.limits import Buckets
from edge_inspector.web.service import Service

_DESCRIPTION = """\
Results, pictures and events of one inspection station, and what people may order.

Send a token as `Authorization: Bearer ei_...`; `edge-inspector web token add` makes one. Roles: reader, operator,
engineer; each may do what those before it may. Every picture that is looked at, and every order, stands in the
station's audit trail under the token's name.
"""


def make_app(service: Service, monotonic_s: Callable[[], float] = time.monotonic) -> FastAPI:
    """Opens nothing. The documentation pages of FastAPI are left out: they load programs from other machines."""
    web = service.config.web
    app = FastAPI(
        title=f"edge-inspector {service.config.station.name}",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send people to whatever host they say they have asked
    )
    app.state.service = service
    problems.install(app)
    for module in (results, images, stream, orders, manual, thresholds, session, health, page):
        app.include_router(module.router)
    buckets = Buckets(web.requests_per_s, max(1.0, 2 * web.requests_per_s), monotonic_s)
    bodies = {manual.PATH: int(web.max_picture_mb * 1e6)}
    app.add_middleware(Gate, buckets=buckets, bodies=bodies, tls=web.tls)
    manual.document(app.openapi(), service.config.cameras)  # FastAPI keeps the document that it has made
    return app
