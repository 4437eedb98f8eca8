"""The files of an engine: on the disk for good, and still what they were when it was built."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_inspector.engine.passport import FILE, DamagedPassportError, FileSum, Passport, read_passport
from edge_inspector.errors import BundleError, ConfigError

PASSPORT_BYTES = 16 << 20
"""The most that a passport may hold; a real one has some kilobytes."""
_CHUNK = 1 << 20


class DamagedEngineError(BundleError):
    """An engine's files are not those of its passport."""


def sums(folder: Path) -> dict[str, FileSum]:
    """Every file in `folder` and below but the passport, by its path in there. DamagedEngineError: one is a link."""
    return {
        name: FileSum(sha256=sha256(folder / name), size=(folder / name).stat().st_size)
        for name in _names(folder)
        if name != FILE
    }


def passport_in(folder: Path) -> Passport:
    """The passport of the engine in `folder`, whose name is its digest.

    DamagedEngineError, DamagedPassportError, NewerPassportError; FileNotFoundError when the folder is gone.
    """
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise DamagedEngineError(f"{folder.name} is a link or a file, expected a folder")
    path = folder / FILE
    try:
        found = path.lstat()
    except FileNotFoundError:
        folder.lstat()
        raise DamagedPassportError(f"{FILE} is missing") from None
    if not stat.S_ISREG(found.st_mode) or found.st_size > PASSPORT_BYTES:
        raise DamagedPassportError(f"{FILE} is no plain file of at most {PASSPORT_BYTES} bytes")
    passport = read_passport(path.read_bytes())
    if passport.digest != folder.name:
        raise DamagedEngineError(f"its passport is that of engine {passport.digest[:12]}: the folder was renamed")
    return passport


def checked(folder: Path) -> Passport:
    """As `passport_in`, and every file has the size and the sum that the passport says."""
    passport = passport_in(folder)
    there = set(_names(folder)) - {FILE}
    for name in sorted(passport.files.keys() - there):
        raise DamagedEngineError(f"{name} is missing")
    for name in sorted(there - passport.files.keys()):
        raise DamagedEngineError(f"{name} is not in the passport")
    for name, expected in passport.files.items():
        size = (folder / name).stat().st_size
        if size != expected.size:
            raise DamagedEngineError(f"{name} has {size} bytes, expected {expected.size}")
    for name, expected in passport.files.items():
        if sha256(folder / name) != expected.sha256:
            raise DamagedEngineError(f"{name} is not what was built: its SHA-256 differs")
    return passport


def sha256(path: Path) -> str:
    """Of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of a folder's files; what cannot be read, or is gone by now, counts nothing."""
    if path.is_symlink() or not path.is_dir():
        return _size(path)
    return sum(_size(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def remove(path: Path) -> None:
    """A file, a link or a folder with all in it; nothing when there is none."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def write_through(path: Path, content: bytes) -> None:
    """Returns when the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Returns when the disk has this file, or this folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """As `sync`, of all that is in the folder and below."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def _names(folder: Path) -> Iterator[str]:
    """Plain files in `folder` and below, as the passport names them."""
    for parent, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path.relative_to(folder).as_posix()
            elif not stat.S_ISDIR(mode):
                raise DamagedEngineError(f"{path.relative_to(folder)} is a link or a device, expected a plain file")


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _raise(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A folder on the same file system as `out` that is gone afterwards unless it was renamed.

    ConfigError: nothing can be written there, or the disk is full.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as exc:
        raise ConfigError(f"{out} cannot be written: {exc.strerror}; give another folder with --out") from exc
    work.chmod(0o755)  # mkdtemp's is for its owner alone
    try:
        yield work
    except OSError as exc:
        raise ConfigError(f"{out} cannot be written: {exc}; free space, or give another folder with --out") from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)
