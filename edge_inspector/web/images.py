"""GET /v1/images/{id}: pictures of parts. Who has seen which stands in the audit trail, or they have not seen it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Header, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from edge_inspector.store.reading import StoredImage, read_image
from edge_inspector.web.access import Reader
from edge_inspector.web.problems import Refused, problems
from edge_inspector.web.results import LARGEST
from edge_inspector.web.service import service_of

router = APIRouter(prefix="/v1", tags=["images"])
_MEDIA = {".png": "image/png", ".jpg": "image/jpeg"}
_BAYER = {
    "BayerRG": cv2.COLOR_BayerRGGB2BGR,
    "BayerGB": cv2.COLOR_BayerGBRG2BGR,
    "BayerGR": cv2.COLOR_BayerGRBG2BGR,
    "BayerBG": cv2.COLOR_BayerBGGR2BGR,
}
_QUALITY = 85


@router.get(
    "/images/{number}",
    response_class=Response,
    responses={
        **problems(404, 410, 500),
        200: {
            "description": "The file as it was stored, its SHA-256 compared first; with `width` a JPEG for people.",
            "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in _MEDIA.values()},
        },
        304: {"description": "It is the one that the caller has already (If-None-Match)."},
    },
)
def image(
    request: Request,
    caller: Reader,
    number: Annotated[int, InPath(ge=1, le=LARGEST)],
    width: Annotated[int | None, Query(ge=16, le=4096, description="Not wider than this, px.")] = None,
    if_none_match: Annotated[str | None, Header(max_length=1024)] = None,
) -> Response:
    """A picture. Who sees it is booked in the station's audit trail, or they do not see it."""
    service = service_of(request)
    with service.book.open() as book:
        stored = read_image(book, number)
    if stored is None:
        raise Refused(404, f"picture {number}: the ledger has none of this number")
    if stored.removed_utc is not None:
        raise Refused(410, f"picture {number} was removed at {stored.removed_utc}: its time was over")
    tag = f'"{stored.sha256}{"" if width is None else f"-{width}"}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    seen = f"{stored.result_id}, {stored.kind} of {stored.camera}, picture {number}"
    if if_none_match is not None and tag in (one.strip() for one in if_none_match.split(",")):
        service.station.audit_look(caller, seen)
        return Response(status_code=304, headers=headers)
    content = _read(service.images, stored)
    media = _MEDIA[Path(stored.path).suffix]
    if width is not None:
        content, media = _for_people(stored, content, width), "image/jpeg"
    service.station.audit_look(caller, seen)
    return Response(content, media_type=media, headers=headers)


def _read(folder: Path, stored: StoredImage) -> bytes:
    """The file's bytes. Refused 410: it is not there; 500: it is not what was stored."""
    path = (folder / stored.path).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Refused(500, f"picture {stored.id} lies outside of the image folder: the ledger was tampered with")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size != stored.size_bytes:
                raise _changed(stored)
            content = file.read(stored.size_bytes + 1)
    except FileNotFoundError as exc:
        raise Refused(410, f"picture {stored.id}: its file is gone; somebody has deleted it") from exc
    except OSError as exc:
        raise Refused(500, f"picture {stored.id}: its file cannot be read: {exc.strerror}") from exc
    if hashlib.sha256(content).hexdigest() != stored.sha256:
        raise _changed(stored)
    return content


def _changed(stored: StoredImage) -> Refused:
    return Refused(500, f"picture {stored.id}: its file is not what was stored; look who has changed {stored.path}")


def _for_people(stored: StoredImage, content: bytes, width: int) -> bytes:
    """8 bits, colours, a JPEG not wider than `width`."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:  # it has the right hash, so it was stored so
        raise Refused(500, f"picture {stored.id} cannot be unpacked: get it without `width`")
    shown = eight_bit_colors(pixels, stored.pixel_format)
    if shown.shape[1] > width:
        height = max(1, round(shown.shape[0] * width / shown.shape[1]))
        shown = np.asarray(cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def eight_bit_colors(pixels: npt.NDArray[np.generic], pixel_format: str) -> npt.NDArray[np.uint8]:
    """HxW or HxWx3 as a camera gives them -> what a screen shows."""
    shown = (pixels >> 4 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)  # type: ignore[operator]
    code = _BAYER.get(pixel_format[:7])
    if code is not None and shown.ndim == 2:
        shown = np.asarray(cv2.cvtColor(shown, code), np.uint8)
    return shown
