"""Pictures that the web service hands over: files of raw pixels in the runtime folder, read once and deleted."""

from __future__ import annotations

import math
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import structlog
from pydantic import Field

from edge_inspector.datatypes import PixelFormat
from edge_inspector.errors import FrameError
from edge_inspector.settings import Settings

log = structlog.get_logger()
FOLDER = "inbox"
MOST_BYTES = 256 * 2**20
LEFT_S = 60.0
"""A file that nobody has named in an order for this long was left behind."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_Side = Annotated[int, Field(ge=1, le=65_535)]


class Posted(Settings):
    """One picture: the file's base name, and what is in it: rows one after the other, little endian."""

    file: str = Field(pattern=f"^{_NAME.pattern}$")
    shape: tuple[_Side, _Side] | tuple[_Side, _Side, Literal[3]]
    dtype: Literal["uint8", "uint16"]
    pixel_format: PixelFormat

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Inbox:
    """On the thread of `Manual`; the folder is beside the control socket, for those who may use that."""

    def __init__(self, runtime: Path) -> None:
        self.folder = runtime / FOLDER

    def make(self) -> None:
        """Make the folder; what an earlier process has left in it, or in its place, is deleted.

        Without it pictures are refused, and nothing else.
        """
        self._make_folder()
        self.sweep(0.0)

    def keep(self) -> None:
        """After each picture: delete what was left behind; the folder is made again if somebody has deleted it."""
        if not self._is_a_folder:
            self._make_folder()
        self.sweep()

    def _make_folder(self) -> None:
        try:
            if not self._is_a_folder:
                self.folder.unlink(missing_ok=True)
            self.folder.mkdir(exist_ok=True)
            self.folder.chmod(0o770)
        except OSError as exc:
            log.warning("no_inbox", folder=str(self.folder), error=str(exc))

    @property
    def _is_a_folder(self) -> bool:
        """And no link to one, in which other people's files may lie."""
        return self.folder.is_dir() and not self.folder.is_symlink()

    def sweep(self, older_than_s: float = LEFT_S) -> None:
        """Delete what was left behind."""
        newest = time.time() - older_than_s
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):  # somebody else was faster
                    if entry.stat(follow_symlinks=False).st_mtime <= newest:
                        os.unlink(entry.path)

    def take(self, posted: Posted) -> npt.NDArray[Any]:
        """The pixels; the file is gone afterwards. FrameError when it is not what was said."""
        path = self.folder / posted.file
        try:
            return _read(path, posted)
        except OSError as exc:
            raise FrameError(f"picture {posted.file} cannot be read: {exc.strerror}") from exc
        finally:
            self.discard(posted)

    def discard(self, posted: Posted) -> None:
        with suppress(OSError):
            (self.folder / posted.file).unlink(missing_ok=True)


def _read(path: Path, posted: Posted) -> npt.NDArray[Any]:
    expected = posted.size_bytes
    if expected > MOST_BYTES:
        raise FrameError(f"picture {posted.file} would have {expected} bytes, expected at most {MOST_BYTES}")
    # no link to somewhere else, and no pipe that would be waited for
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise FrameError(f"picture {posted.file} is not a file")
        if found.st_size != expected:
            what = f"{'x'.join(map(str, posted.shape))} {posted.dtype}"
            raise FrameError(f"picture {posted.file} has {found.st_size} bytes, expected {expected} for {what}")
        pixels = np.empty(posted.shape, posted.dtype)
        rest = pixels.data.cast("B")
        while rest and (count := os.readv(fd, [rest])):
            rest = rest[count:]
    finally:
        os.close(fd)
    if rest:
        raise FrameError(f"picture {posted.file} has become shorter while it was read")
    return pixels
