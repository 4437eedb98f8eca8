"""pylon itself: imported when a camera is opened, and its errors translated."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from edge_inspector.errors import CameraError


def sdk(emulated: int = 0) -> tuple[Any, Any]:
    """pylon and genicam, imported now; pylon reads PYLON_CAMEMU each time it lists the cameras.

    Seen with pylon 26: it installs a handler for SIGALRM and runs its timers on it. Nobody else in the process may.
    """
    if emulated:
        os.environ.setdefault("PYLON_CAMEMU", str(emulated))
    try:
        from pypylon import genicam, pylon
    except ImportError as exc:
        raise CameraError(f"pypylon cannot be imported ({exc}); run: pip install edge-inspector[basler]") from exc
    return pylon, genicam


@contextlib.contextmanager
def translated(genicam: Any, what: str) -> Iterator[None]:
    """pylon's errors as CameraError beginning with `what`."""
    try:
        yield
    except genicam.GenericException as exc:
        raise CameraError(f"{what}: {exc}") from exc
