"""An HTTP camera that does as it is told: pauses, bursts, damage, a cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64
STEP = 8
"""Gray values between two pictures' numbers, far beyond what JPEG changes."""


def jpeg(number: int) -> bytes:
    picture = np.full((HEIGHT, WIDTH, 3), number % (256 // STEP) * STEP, np.uint8)
    return bytes(cv2.imencode(".jpg", picture)[1])


class MjpegServer:
    """Serves one client; sends picture n (gray n * STEP) every `period_s`, `first` of them at once."""

    def __init__(self, period_s: float = 0.04, first: int = 3) -> None:
        self.period_s = period_s
        self.sent_ns: list[int] = []
        """When each picture was taken, which a pause of the network does not change."""
        self.hold = threading.Event()
        """While set, pictures are taken and wait, as on a network that stalls; then all are sent at once."""
        self.mute = threading.Event()
        """While set, no picture is taken."""
        self.damage: set[int] = set()
        self._first = first
        self._stop = threading.Event()
        self._cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="mjpeg")

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.port}/video"

    def cut(self) -> None:
        """Close the connection."""
        self._cut.set()

    def __enter__(self) -> MjpegServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):  # wakes an accept that nobody answered
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            client.recv(4096)
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n--x\r\n")
            waiting = b""
            while not (self._stop.is_set() or self._cut.is_set()):
                if not self.mute.is_set():
                    waiting += self._part(len(self.sent_ns))
                    self.sent_ns.append(time.monotonic_ns())
                if not self.hold.is_set():
                    client.sendall(waiting)
                    waiting = b""
                if len(self.sent_ns) >= self._first:
                    self._stop.wait(self.period_s)

    def _part(self, number: int) -> bytes:
        body = b"\xff\xd8 no jpeg" if number in self.damage else jpeg(number)
        return b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n--x\r\n" % (len(body), body)
