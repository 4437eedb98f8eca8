"""The real program, forked from one process that has imported everything: many short runs in little time.

    python tests/forked_station.py      reads orders, one a line, and answers each with one line

`fork FILE LOG LOOP` makes a station of this file, on uvloop or asyncio's own loop, and answers with its process id; it
begins with `go PID`, so that a tracer can be there first. `wait PID` answers with its exit code when it has ended.
"""

from __future__ import annotations

import os
import sys

import cv2
import onnxruntime  # noqa: F401 - each of these would be imported by each station
import paho.mqtt.client  # noqa: F401
import typer

from edge_inspector.backends import onnxruntime as _backend  # noqa: F401
from edge_inspector.cameras import folder as _camera  # noqa: F401
from edge_inspector.cli.run import run
from edge_inspector.outputs import modbus, mqtt  # noqa: F401


def forked(station_file: str, log: str, loop: str) -> tuple[int, int]:
    """The new process's id, and where to write a byte so that it begins."""
    begin, gate = os.pipe()
    pid = os.fork()
    if pid:
        os.close(begin)
        return pid, gate
    code = 70
    try:
        os.close(gate)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.read(begin, 1)
        os.close(begin)
        if loop == "asyncio":
            sys.modules["uvloop"] = None  # type: ignore[assignment]  # it cannot be imported
        program = typer.Typer()
        program.command()(run)
        program([station_file])
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    finally:
        os._exit(code)


def main() -> None:
    cv2.setNumThreads(1)
    gates: dict[int, int] = {}
    for line in sys.stdin:
        order, first, *rest = line.split()
        if order == "fork":
            pid, gates[pid] = forked(first, *rest)
            answer = pid
        elif order == "go":
            os.close(gates.pop(int(first)))
            answer = 0
        else:
            answer = os.waitstatus_to_exitcode(os.waitpid(int(first), 0)[1])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
