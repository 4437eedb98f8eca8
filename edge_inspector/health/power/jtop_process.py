"""Keeps the program that talks to jtop's service: asks it within a time, ends it when it hangs, starts it again."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_inspector.errors import PowerError
from edge_inspector.health.power import jtop_child

START_S = 15.0
"""To import jtop and get the first values; a second or two where the service is well."""
AGAIN_S = 30.0
"""So long nothing is asked after the program was lost, unless somebody wants a mode."""
ALIVE_S = 1.0
_ENDED_S = 2.0
_MAX_LINE = 2**20


def child_command(python: str = sys.executable) -> list[str]:
    return [python, "-I", str(Path(jtop_child.__file__))]


class JtopProcess:
    """One child process at a time; used on one thread at a time. `command` is what is run."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._ready = False
        self._start_by = 0.0
        self._again_at = 0.0

    def reading(self, limit_s: float) -> Mapping[str, Any] | None:
        """What jtop says, None = nothing now. A program that has just been started is not waited for."""
        try:
            if self._process is None:
                if time.monotonic() < self._again_at:
                    return None
                self._start()
            if not self._greeted(0.0):
                return None
            return self._ask({}, limit_s)
        except PowerError:
            return None

    def order(self, request: Mapping[str, Any], limit_s: float) -> None:
        """Have something done; PowerError says why it was not."""
        deadline = time.monotonic() + limit_s
        if self._ready:
            self.reading(min(limit_s, ALIVE_S))  # one that was lost since the last reading is not ordered
        if self._process is None:
            self._start()
        if not self._greeted(min(limit_s, START_S)):
            raise self._lost("jtop's client has not got through to jtop's service; systemctl status jtop")
        self._ask(request, max(deadline - time.monotonic(), 0.1))

    def close(self) -> None:
        """End the program and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDED_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not read by a dead program is lost
                    pipe.close()

    def _start(self) -> None:
        self._buffer, self._ready = b"", False
        self._start_by = time.monotonic() + START_S
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as exc:
            raise self._lost(f"the program for jtop cannot be started: {exc}") from exc

    def _greeted(self, limit_s: float) -> bool:
        """Whether the program has got through; PowerError when it never will."""
        if not self._ready:
            said = self._line(limit_s)
            if said is None and time.monotonic() > self._start_by:
                raise self._lost("jtop's client hangs at the start")
            self._ready = said is not None and bool(self._checked(said))
        return self._ready

    def _ask(self, request: Mapping[str, Any], limit_s: float) -> Mapping[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({**request, "limit_s": limit_s}).encode() + b"\n")
        except OSError as exc:
            raise self._lost(f"the program for jtop has ended: {exc}") from exc
        said = self._line(limit_s)
        if said is None:
            raise self._lost(f"jtop has not answered within {limit_s:.0f} s; systemctl status jtop")
        return self._checked(said)

    def _line(self, limit_s: float) -> Mapping[str, Any] | None:
        """The next line, None = not yet."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit_s
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        while b"\n" not in self._buffer:
            if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
                return None
            more = self._process.stdout.read(65536)
            if not more or len(self._buffer) > _MAX_LINE:
                raise self._lost("the program for jtop has ended by itself")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError as exc:
            raise self._lost(f"the program for jtop said {line!r:.100}") from exc
        if not isinstance(said, dict):
            raise self._lost(f"the program for jtop said {said!r:.100}")
        return said

    def _checked(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        trouble = said.get("trouble")
        if trouble is None:
            return said
        if said.get("lost") or not self._ready:
            raise self._lost(str(trouble))
        raise PowerError(str(trouble))

    def _lost(self, why: str) -> PowerError:
        self.close()
        self._again_at = time.monotonic() + AGAIN_S
        return PowerError(why)
