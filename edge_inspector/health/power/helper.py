"""The root helper: `mode N` and `clocks on|off` over a Unix socket. Nothing but the standard library.

One line in, one line out: `ok`, `reboot WHY` or `failed WHY`. systemd hands over the listening socket and starts the
helper again when somebody calls; it ends by itself after a quiet minute, so that nothing of root stays.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power.tools import BoardTools

QUIET_S = 60.0
ASK_S = 2.0
"""A client must have said what it wants by then: there is one helper for all."""
MAX_ANSWER = 600
"""Bytes."""
_REQUEST = re.compile(rb"(?:mode (?P<mode>[0-9]{1,3})|clocks (?P<clocks>on|off))\n")
_LONGEST = len(b"clocks off\n")
_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python does not name it
_GROUPS_BYTES = 1024
"""The most that Python asks for: 256 groups."""
_FIRST_FD = 3  # sd_listen_fds(3)


@dataclass(frozen=True)
class Peer:
    """Who is at the other end, as the kernel says; `groups` are all of its process."""

    pid: int
    uid: int
    groups: frozenset[int]


def serve(
    listener: socket.socket, board: BoardTools, allowed: Callable[[Peer], bool], quiet_s: float = QUIET_S
) -> None:
    """Answer one client after the other, until none has come for `quiet_s`."""
    listener.settimeout(quiet_s)
    while True:
        try:
            client, _ = listener.accept()
        except TimeoutError:
            return
        with client, _unbroken(), suppress(OSError):  # a client that went away misses its answer, no more
            _attend(client, board, allowed)


@contextmanager
def _unbroken() -> Iterator[None]:
    """A stop waits for the end of a change, which would leave the board half changed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def peer(client: socket.socket) -> Peer:
    pid, uid, gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        raw = client.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # more groups than Python asks for: only the first counts
        raw = b""
    return Peer(pid, uid, frozenset((gid, *(group for (group,) in struct.iter_unpack("I", raw)))))


def members_of(group: int) -> Callable[[Peer], bool]:
    """Root, and whoever is in this group: the one that owns the socket."""
    return lambda caller: caller.uid == 0 or group in caller.groups


def _attend(client: socket.socket, board: BoardTools, allowed: Callable[[Peer], bool]) -> None:
    caller = peer(client)
    request = _line(client)
    if not allowed(caller):
        answer = "failed you may not change this machine's power mode"
    elif _gone(client):  # it has waited for too long, and counts on nothing being changed behind its back
        answer = "failed you have gone"
    else:
        answer = _carried_out(request, board)
    sys.stderr.write(f"pid {caller.pid} of user {caller.uid}: {request!r}: {answer}\n")
    client.settimeout(ASK_S)
    client.sendall(answer.encode()[: MAX_ANSWER - 1] + b"\n")


def _line(client: socket.socket) -> bytes:
    """The request; what is longer than any request comes back as it is, and is refused."""
    said, end = b"", time.monotonic() + ASK_S
    while len(said) <= _LONGEST and b"\n" not in said:
        client.settimeout(max(end - time.monotonic(), 0.001))
        more = client.recv(_LONGEST + 1)
        if not more:
            break
        said += more
    return said


def _gone(client: socket.socket) -> bool:
    """Whether nobody is there any more to read the answer."""
    poll = select.poll()
    poll.register(client, 0)  # POLLHUP is told unasked
    return bool(poll.poll(0))


def _carried_out(request: bytes, board: BoardTools) -> str:
    found = _REQUEST.fullmatch(request)
    if not found:
        return "failed expected 'mode N', 'clocks on' or 'clocks off' and a line end"
    try:
        if found["mode"]:
            board.set_mode(int(found["mode"]))
        else:
            board.set_clocks(found["clocks"] == b"on")
    except RebootNeededError as exc:
        return f"reboot {_one_line(exc)}"
    except (PowerError, OSError) as exc:
        return f"failed {_one_line(exc)}"
    return "ok"


def _one_line(exc: Exception) -> str:
    return re.sub(r"[^\x20-\x7e]+", " ", str(exc))


def main() -> None:
    """Serve systemd's socket; of a helper started by hand nothing is served."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        sys.exit("the power helper is started by edge-inspector-power.socket of systemd, with one socket")
    with socket.socket(fileno=_FIRST_FD) as listener:
        group = os.stat(listener.getsockname()).st_gid
        kept = os.environ.get("STATE_DIRECTORY")
        serve(listener, BoardTools(Path("/"), Path(kept) if kept else None), members_of(group))


if __name__ == "__main__":
    main()
