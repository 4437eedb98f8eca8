"""The real program in a process of its own, with a folder camera and a tiny model, for tests of its PLC side."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import networks

READY_S = 60.0
STATION = """\
schema = 1
[station]
name = "bench"
recipe = "spots"
state_dir = "state"
[cameras.cam]
type = "folder"
path = "pictures"
[backend]
type = "onnxruntime"
threads = 1
warm_up_runs = 1
[recipes.spots]
number = 7
trigger = "plc"
deadline_ms = 2000.0
bundle = "little"
views = [{ camera = "cam" }]
"""
OPCUA = '[plc.line]\ntype = "opcua_server"\nport = {port}\n'


class RealStation:
    """`edge-inspector run` on good and bad pictures in turn: the first part is OK, the second NOT_OK, and so on."""

    def __init__(self, folder: Path, plc: str) -> None:
        """`plc` is the part of the station file with the links to test."""
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        networks.bundle("yolo", folder / "little", golden=2)
        (folder / "pictures").mkdir()
        for number, name in enumerate(("good_000", "bad_000", "good_001", "bad_001")):
            shutil.copy(folder / "little" / "golden" / f"{name}.png", folder / "pictures" / f"{number}.png")
        self.file = folder / "station.toml"
        self.file.write_text(STATION + plc)

    def start(self) -> RealStation:
        command = [sys.executable, "-m", "edge_inspector", "run", str(self.file)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return self

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def rss_mb(self) -> float:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = READY_S) -> None:
        """Until the condition holds; fails when the station ends or the time is over."""
        assert self.process is not None
        end = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, (
                f"the station ended with {self.process.returncode}:\n{self.said[-3000:]}"
            )
            assert time.monotonic() < end, f"not within {timeout_s} s: {what}\n{self.said[-3000:]}"
            time.sleep(0.02)

    def wait_until_listening(self, port: int) -> None:
        self.wait(f"port {port} answers", lambda: listens(port))

    @property
    def _log(self) -> Path:
        return self.folder / "station.log"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def real_station(folder: Path, plc: str, *ports: int) -> Iterator[RealStation]:
    """Running, and listening on every port, until the end of the block."""
    made = RealStation(folder, plc).start()
    try:
        for port in ports:
            made.wait_until_listening(port)
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.kill()
