"""The verdict core on a null backend, forked from one process that has imported everything: many kills in little time.

    python tests/core_station.py FOLDER

`run N` on standard input forks a station whose PLC goes on with trigger N and answers with its process id; `wait PID`
answers with its exit code.

What the PLC has seen is one line each in FOLDER/plc.log, written before the call returns, so that it survives a kill.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import cv2
from station_rig import FakeLink, Rig

from edge_inspector.control import Control
from edge_inspector.datatypes import InspectionResult
from edge_inspector.interfaces import PlcMessage, ResultAcknowledged, StationStatus, TriggerAccepted
from edge_inspector.station import daemon


class DrivingLink(FakeLink):
    """A PLC that triggers the next part as soon as the last one has its verdict; odd parts are black, so good.

    `saw(what, number, text)` is called with each part that was accepted and each result, before `tell` returns.
    """

    def __init__(self, rig: Rig, first: int, saw: Callable[[str, int, str], None]) -> None:
        super().__init__()
        self._rig = rig
        self._next = first
        self._saw = saw
        self._waiting = False
        self._ready = False

    async def tell(self, message: PlcMessage) -> None:
        if isinstance(message, TriggerAccepted):
            self._saw("accepted", message.trigger_seq, "")
        elif isinstance(message, InspectionResult):
            self._saw("result", message.trigger.trigger_seq, f"{message.result_id} {message.evaluation.name}")
            self._waiting = False
            self.ask(ResultAcknowledged(message.trigger.trigger_seq, (message.result_id,)))
        elif isinstance(message, StationStatus):
            self._ready = message.ready
        if self._ready and not self._waiting:
            self._waiting = True
            self._rig.cameras["a"].gray = 0 if self._next % 2 else 255
            self.trigger(self._next)
            self._next += 1


def forked(folder: Path, first: int) -> int:
    """The process id of a new station whose PLC goes on with trigger `first`."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    os.dup2(2, 1)  # what the station logs is no answer
    try:
        rig = Rig(folder)
        rig.boot_id = first  # another one for each start
        with (folder / "plc.log").open("ab", buffering=0) as log:
            rig.link = DrivingLink(rig, first, lambda *words: log.write(" ".join(map(str, words)).encode() + b"\n"))
            rig.recipe("r", deadline_ms=2000.0)
            anyio.run(daemon.run, rig.parts(), Control(folder / "c.sock"))
        code = 0
    finally:
        os._exit(code)


def answer(*numbers: int) -> None:
    sys.stdout.write(" ".join(map(str, numbers)) + "\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    cv2.setNumThreads(1)
    for line in sys.stdin:
        order, _, first = line.strip().partition(" ")
        if order == "run":
            answer(forked(folder, int(first)))
        else:
            pid, status = os.waitpid(int(first), 0)
            answer(pid, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(Path(sys.argv[1]))
