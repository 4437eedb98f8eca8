"""POST /v1/inspect: pictures in, verdict out. Production goes before; the part is booked in mode MANUAL."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from edge_inspector.datatypes import PixelFormat
from edge_inspector.store.reading import StoredResult, read_result
from edge_inspector.web.access import Caller, Operator
from edge_inspector.web.models import Result
from edge_inspector.web.picture import Unpacked, unpack_all
from edge_inspector.web.problems import AWAY_RETRY_S, Refused, problems
from edge_inspector.web.service import Service, service_of

router = APIRouter(prefix="/v1", tags=["inspect"])
PATH = "/v1/inspect"
ANSWER_S = 30.0
"""The daemon answers when the part is judged; a recipe's deadline is less, or the caller reads the result later."""
BOOKED_S = 5.0
_LOOK_S = 0.02
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {"type": "object"}}}}}


def document(schema: dict[str, Any], cameras: Iterable[str]) -> None:
    """Write into the OpenAPI document which fields the form has: the cameras of this station."""
    form = schema["paths"][PATH]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    form |= {
        "description": "One PNG or JPEG for each camera of the active recipe, in a field of its name.",
        "properties": {name: {"type": "string", "format": "binary"} for name in sorted(cameras)},
        "additionalProperties": False,
        "minProperties": 1,
    }


@router.post("/inspect", responses=problems(408, 409, 413, 415), openapi_extra=_BODY)
async def inspect(
    request: Request,
    caller: Operator,
    part_id: Annotated[str, Query(max_length=254, pattern=r"^[^\x00-\x1f\x7f]*$")] = "",
    pixel_format: Annotated[PixelFormat | None, Query(description="What gray pixels are; default: Mono8.")] = None,
) -> Result:
    """Inspect pictures with the active recipe, as if its cameras had taken them: not undistorted.

    503 while a part is in work. The result is booked in mode MANUAL: it is told to no PLC and counts nowhere.
    """
    service = service_of(request)
    if not service.inspecting.acquire(blocking=False):
        raise Refused(503, "busy: another picture is being inspected", retry_after_s=AWAY_RETRY_S)
    try:
        pictures = await _pictures(request, service)
        return await anyio.to_thread.run_sync(_inspected, service, caller, part_id, pictures, pixel_format)
    finally:
        service.inspecting.release()


async def _pictures(request: Request, service: Service) -> dict[str, bytes]:
    """The files of the form, by camera."""
    cameras = service.config.cameras
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused(415, "expected multipart/form-data with one PNG or JPEG for each camera of the active recipe")
    found: dict[str, bytes] = {}
    try:
        async with request.form(max_files=len(cameras), max_fields=0) as form:
            for name, value in form.multi_items():
                if name not in cameras or name in found or not isinstance(value, UploadFile):
                    expected = ", ".join(sorted(cameras))
                    raise Refused(422, f"field {name[:80]!r}: expected one file for each camera, of: {expected}")
                found[name] = await value.read()
    except ClientDisconnect as exc:
        raise Refused(408, "the caller has hung up") from exc
    if not found:
        raise Refused(422, "no picture; expected one file for each camera of the active recipe")
    return found


def _inspected(
    service: Service, caller: Caller, part_id: str, pictures: Mapping[str, bytes], pixel_format: PixelFormat | None
) -> Result:
    largest = service.config.web.max_picture_mpx
    unpacked = unpack_all(pictures, largest, pixel_format)
    with _handed_over(service.inbox, unpacked) as described:
        arguments = {"part_id": part_id, "pictures": described}
        facts = service.station.order(caller, "inspect", arguments, ANSWER_S, refused=422)
    return Result.of(_booked(service, str(facts["result_id"])))


@contextmanager
def _handed_over(inbox: Path, pictures: Mapping[str, Unpacked]) -> Iterator[dict[str, Any]]:
    """The raw pixels in files for the daemon alone, which deletes what it has read; so do we."""
    inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    files: list[Path] = []
    described = {}
    try:
        for camera, picture in pictures.items():
            path = inbox / f"{secrets.token_hex(16)}.raw"
            files.append(path)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(picture.pixels.data)
            described[camera] = {
                "file": path.name,
                "shape": picture.pixels.shape,
                "dtype": picture.pixels.dtype.name,
                "pixel_format": picture.pixel_format,
            }
        yield described
    except OSError as exc:
        text = f"pictures cannot be handed over in {inbox}: {exc.strerror}"
        raise Refused(503, text, retry_after_s=AWAY_RETRY_S) from exc
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def _booked(service: Service, result_id: str) -> StoredResult:
    """The result as the ledger has it, which is a moment later."""
    end = time.monotonic() + BOOKED_S
    while True:
        with service.book.open() as book:
            found = read_result(book, result_id)
        if found is not None:
            return found
        if time.monotonic() > end:
            text = f"judged, but not booked yet; get /v1/results/{result_id} later"
            raise Refused(503, text, retry_after_s=AWAY_RETRY_S)
        time.sleep(_LOOK_S)
