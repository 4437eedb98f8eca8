"""The operators' page: three files of our own, nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def _served(name: str, media: str) -> None:
    content = files("edge_inspector.web").joinpath(f"static/{name}").read_bytes()

    async def served() -> Response:
        return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

    path = next(path for path, (file, _) in _FILES.items() if file == name)
    router.add_api_route(path, served, name=name, methods=["GET"], response_class=Response)


for _name, _media in _FILES.values():
    _served(_name, _media)
