"""The folder in which the server keeps certificates and users, and how its files are written."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PRIVATE = 0o600
READABLE = 0o644
_OTHERS = 0o077


@dataclass(frozen=True)
class Pki:
    """The layout that OPC UA products share, below `root`, and the users beside it."""

    root: Path

    @property
    def own_certificate(self) -> Path:
        return self.root / "own" / "cert.der"

    @property
    def own_key(self) -> Path:
        return self.root / "own" / "key.pem"

    @property
    def next_certificate(self) -> Path:
        """The certificate that will follow the present one: with the same key, to be trusted beforehand."""
        return self.root / "own" / "next.der"

    @property
    def trusted(self) -> Path:
        return self.root / "trusted" / "certs"

    @property
    def issuers(self) -> Path:
        return self.root / "issuers" / "certs"

    @property
    def revocations(self) -> tuple[Path, Path]:
        return (self.root / "trusted" / "crl", self.root / "issuers" / "crl")

    @property
    def rejected(self) -> Path:
        return self.root / "rejected" / "certs"

    @property
    def users(self) -> Path:
        return self.root / "users.txt"

    def make(self) -> None:
        """Make the folders that do not exist. OSError."""
        for folder in (self.trusted, self.issuers, *self.revocations, self.rejected, self.own_key.parent):
            _make(folder)
        self.own_key.parent.chmod(0o700)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """All of it or nothing, on the disk when this returns; nobody else can read it for a moment. OSError.

    Written by root (somebody's `sudo edge-inspector opcua ...`) it belongs to the owner of its folder: the service.
    """
    _make(path.parent)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(descriptor, "wb") as file:
            _give(descriptor, path.parent)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def made_private(path: Path) -> bool:
    """Take the right to read a file from everybody but its owner; True when somebody else had it. OSError."""
    mode = path.stat().st_mode
    if not mode & _OTHERS:
        return False
    path.chmod(PRIVATE)
    return True


def stamps(*paths: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file is added, removed or rewritten in these folders, or in these files."""
    found: list[tuple[str, int, int, int]] = []
    for path in paths:
        for one in sorted(path.iterdir()) if path.is_dir() else [path]:
            with suppress(FileNotFoundError):
                seen = one.stat()
                found.append((str(one), seen.st_mtime_ns, seen.st_size, seen.st_ino))
    return tuple(found)


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    _make(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        _give(folder, folder.parent)


def _give(what: Path | int, folder: Path) -> None:
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    if isinstance(what, int):
        os.fchown(what, owner.st_uid, owner.st_gid)
    else:  # that owner may have put a link in the place of what we have just made
        os.lchown(what, owner.st_uid, owner.st_gid)


def sync(folder: Path) -> None:
    """Returns when the disk has this folder's list of names. OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
