"""Misbehaving clients of the web service, each a process of its own, until they are killed.

python benchmarks/web_flood.py 8080 requests=5 connects=5 streams=5 slow=5
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

PATHS = ("/v1/results?limit=100", "/metrics", "/v1/state", "/", "/health", "/openapi.json", "/v1/results?part_id=%00")
_TIMEOUT_S = 5.0
_AGAIN_S = 0.05  # a client that was refused comes back
_STREAMS = 50


def requests(port: int) -> None:
    """Ask for all that it has, over and over, on one connection, as fast as the answers come."""
    with _connected(port) as one:
        for path in itertools.cycle(PATHS):
            one.sendall(_request(path))
            if not one.recv(1 << 20):
                return


def connects(port: int) -> None:
    """Connect and reset: after nothing, after half a request, after a whole one."""
    for said in itertools.cycle((b"", b"GET /v1/res", _request(PATHS[0]))):
        with _connected(port) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.sendall(said)


def streams(port: int) -> None:
    """Open event streams and never read what comes."""
    opened = [_connected(port) for _ in range(_STREAMS)]
    for one in opened:
        one.sendall(_request("/v1/events"))
    signal.pause()


def slow(port: int) -> None:
    """Say a request byte by byte, so that it never ends."""
    with _connected(port) as one:
        one.sendall(_request(PATHS[0])[:-2])
        while True:
            one.sendall(b"X-More: yes\r\n")
            time.sleep(0.1)


KINDS: dict[str, Callable[[int], None]] = {
    "requests": requests,
    "connects": connects,
    "streams": streams,
    "slow": slow,
}


def main() -> None:
    port, told = int(sys.argv[1]), sys.argv[2:]
    # They stand for other machines: what they cost must not be the cores of this one.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    for kind, count in (one.split("=") for one in told):
        for _ in range(int(count)):
            if os.fork() == 0:
                _misbehave(KINDS[kind], port)
    signal.pause()


def _misbehave(kind: Callable[[int], None], port: int) -> None:
    while True:
        try:
            kind(port)
        except OSError:
            time.sleep(_AGAIN_S)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


if __name__ == "__main__":
    main()
