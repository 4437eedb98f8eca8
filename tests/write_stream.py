"""What a program wrote, call by call as strace saw it, and every state in which a power cut may leave its folder.

What may be lost: the content of a file since its last fsync (all of it, or it reads as zeros), and changes of names
since the last fsync of their folder. Names change in order, as file systems with a journal have it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CALLS = (
    "openat,close,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,fallocate,sendfile,copy_file_range,writev,pwritev,truncate"
)
_LINE = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_ARGUMENT = re.compile(r'\s*(?:"((?:\\x[0-9a-f]{2})*)"|([^,]+))')
Name = tuple[Literal["file", "folder"], int]
Kind = Literal["kept", "lost", "zeros"]
KINDS: tuple[Kind, ...] = ("kept", "lost", "zeros")
"""What became of content that was not synchronised."""


def recorded(command: Sequence[str], trace: Path) -> list[Call]:
    """Run the program under strace. AssertionError: it failed."""
    # No -f: a second thread's calls would come in between, and the program that we run has none.
    options = ["-qq", "-xx", "-s", "100000000", "-e", "signal=none", "-e", f"trace={CALLS}"]
    done = subprocess.run(
        ["strace", *options, "-o", str(trace), *command], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [call for line in trace.read_text().splitlines() if (call := _call(line)) is not None]


@dataclass(frozen=True)
class Call:
    """`words` are its arguments: bytes for a string, text for what else stands there."""

    name: str
    words: tuple[str | bytes, ...]
    result: int


def _call(line: str) -> Call | None:
    found = _LINE.match(line)
    if found is None:
        return None
    words = tuple(
        bytes.fromhex(string.replace("\\x", "")) if not other else other.strip()
        for string, other in _ARGUMENT.findall(found[2])
        if other.strip() or not other
    )
    return Call(found[1], words, int(found[3]))


@dataclass(frozen=True)
class _Change:
    """Of names: `path` becomes `name`, None = it is gone; all in one rename come together."""

    names: tuple[tuple[str, Name | None], ...]
    folder: str


class Replay:
    """Follows the calls on what lies below `folder`, which was empty when the program began."""

    def __init__(self, folder: Path) -> None:
        self._root = str(folder)
        self._base: dict[str, Name] = {self._root: ("folder", 0)}
        self._names = dict(self._base)
        self._changes: list[_Change] = []
        self._durable = 0
        self._content: dict[int, bytes] = {}
        self._synced: dict[int, bytes] = {}
        self._open: dict[int, tuple[str, int, int]] = {}  # descriptor: path, number of the file or -1, where it writes
        self._numbers = 0

    def settle(self) -> None:
        """Everything until now is on the disk."""
        self._base, self._changes, self._durable = dict(self._names), [], 0
        self._synced = dict(self._content)

    def states(self, below: Path) -> Iterator[dict[str, bytes | None]]:
        """What a power cut may leave of a folder now: path in it -> content, None = a folder."""
        for came in range(self._durable, len(self._changes) + 1):
            names = dict(self._base)
            for change in self._changes[:came]:
                _apply(names, change)
            for kind in KINDS:
                yield {
                    os.path.relpath(path, below): None if what == "folder" else self._left(number, kind)
                    for path, (what, number) in names.items()
                    if path.startswith(f"{below}/")
                }

    def follow(self, call: Call) -> None:
        """One call that has succeeded; AssertionError: this model does not know what it does to our files."""
        handler = getattr(self, f"_{call.name}", None)
        if handler is not None:
            handler(call)
        else:
            assert not self._touches(call), f"{call.name} is not modelled: {call.words[:2]!r}"

    def _touches(self, call: Call) -> bool:
        named = any(isinstance(word, bytes) and word.startswith(self._root.encode()) for word in call.words)
        return named or str(call.words[0]) in {str(one) for one in self._open}

    def _left(self, number: int, kind: Kind) -> bytes:
        content, synced = self._content[number], self._synced.get(number, b"")
        if kind == "kept" or content == synced:
            return content
        return synced if kind == "lost" else bytes(len(content))

    def _path(self, folder: str | bytes, name: str | bytes) -> str:
        assert isinstance(folder, str)
        assert isinstance(name, bytes)
        text = os.fsdecode(name)
        if folder != "AT_FDCWD" and not text.startswith("/"):
            text = f"{self._open[int(folder)][0]}/{text}" if int(folder) in self._open else text
        return os.path.normpath(text)

    def _change(self, *names: tuple[str, Name | None]) -> None:
        change = _Change(names, os.path.dirname(names[-1][0]))
        _apply(self._names, change)
        self._changes.append(change)

    def _openat(self, call: Call) -> None:
        path, flags = self._path(call.words[0], call.words[1]), str(call.words[2]).split("|")
        self._open.pop(call.result, None)
        if not path.startswith(self._root):
            return
        if path not in self._names:
            self._numbers += 1
            self._content[self._numbers] = b""
            self._change((path, ("file", self._numbers)))
        kind, number = self._names[path]
        if kind == "folder":
            number = -1
        elif "O_TRUNC" in flags:
            self._content[number] = b""
        at = len(self._content[number]) if number >= 0 and "O_APPEND" in flags else 0
        self._open[call.result] = (path, number, at)

    def _close(self, call: Call) -> None:
        self._open.pop(int(str(call.words[0])), None)

    def _write(self, call: Call) -> None:
        descriptor = int(str(call.words[0]))
        if descriptor in self._open:
            path, number, at = self._open[descriptor]
            self._put(number, at, call)
            self._open[descriptor] = (path, number, at + call.result)

    def _pwrite64(self, call: Call) -> None:
        descriptor = int(str(call.words[0]))
        if descriptor in self._open:
            self._put(self._open[descriptor][1], int(str(call.words[3])), call)

    def _put(self, number: int, at: int, call: Call) -> None:
        data = call.words[1]
        assert isinstance(data, bytes)
        before = self._content[number].ljust(at, b"\0")
        self._content[number] = before[:at] + data[: call.result] + before[at + call.result :]

    def _ftruncate(self, call: Call) -> None:
        descriptor = int(str(call.words[0]))
        if descriptor in self._open:
            number, size = self._open[descriptor][1], int(str(call.words[1]))
            self._content[number] = self._content[number][:size].ljust(size, b"\0")

    def _fsync(self, call: Call) -> None:
        path, number, _ = self._open.get(int(str(call.words[0])), ("", -2, 0))
        if number >= 0:
            self._synced[number] = self._content[number]
        elif number == -1:
            synced = [i for i, change in enumerate(self._changes, 1) if change.folder == path]
            self._durable = max([self._durable, *synced])

    _fdatasync = _fsync

    def _rename(self, call: Call) -> None:
        self._moved(self._path("AT_FDCWD", call.words[0]), self._path("AT_FDCWD", call.words[1]))

    def _renameat(self, call: Call) -> None:
        self._moved(self._path(*call.words[:2]), self._path(*call.words[2:4]))

    _renameat2 = _renameat

    def _moved(self, old: str, new: str) -> None:
        if not old.startswith(self._root):
            return
        inside = [path for path in self._names if path == old or path.startswith(f"{old}/")]
        gone: list[tuple[str, Name | None]] = [(path, None) for path in inside]
        self._change(*gone, *((new + path[len(old) :], self._names[path]) for path in reversed(inside)))

    def _unlink(self, call: Call) -> None:
        self._gone(self._path("AT_FDCWD", call.words[0]))

    _rmdir = _unlink

    def _unlinkat(self, call: Call) -> None:
        self._gone(self._path(*call.words[:2]))

    def _gone(self, path: str) -> None:
        if path in self._names:
            self._change((path, None))

    def _mkdir(self, call: Call) -> None:
        self._made(self._path("AT_FDCWD", call.words[0]))

    def _mkdirat(self, call: Call) -> None:
        self._made(self._path(*call.words[:2]))

    def _made(self, path: str) -> None:
        if path.startswith(self._root):
            self._change((path, ("folder", 0)))


def _apply(names: dict[str, Name], change: _Change) -> None:
    for path, name in change.names:
        if name is None:
            names.pop(path, None)
        else:
            names[path] = name


def restored(state: dict[str, bytes | None], folder: Path) -> None:
    """Make the folder, which is not there, as the power cut left it."""
    folder.mkdir(parents=True)
    for name, content in sorted(state.items()):
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
