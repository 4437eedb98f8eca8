"""A program of its own that talks to jtop's service: jtop's client hangs or dies at times, and then only this does.

Run as a file, with the standard library and jtop alone. A line of JSON in, a line of JSON out: `ready` or `trouble` at
the start, then one answer to each request (`jtop_process.py`).
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

INTERVAL_S = 1.0
SETTLED = 4
"""Readings in a row at which the service does nothing and the board is not as ordered: it never will be."""
PATIENCE_S = 30
"""Without a request for so long, beyond the time that the last one has, the station is gone or this program hangs."""
_BUSY = ("booting", "activating", "deactivating")


class Trouble(Exception):
    """The order was not carried out; the connection is still good."""


def answer(board: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """What is told about one request; `board` is an open jtop client."""
    try:
        if "mode" in request:
            set_mode(board, request["mode"], request["name"])
        elif "clocks" in request:
            set_clocks(board, request["clocks"])
        return reading(board)
    except Trouble as exc:
        return {"trouble": str(exc)}


def reading(board: Any) -> dict[str, Any]:
    """What the service said last, as it said it; `uptime_s` says when that was."""
    board.ok(spin=True)
    clocks = board.jetson_clocks
    return {
        "uptime_s": board.uptime.total_seconds(),
        "mode": _mode(board),
        "locked": None if clocks is None else bool(clocks),
        "loads": [gpu.get("status", {}).get("load") for gpu in board.gpu.values()],
        "total_mw": (board.power or {}).get("tot", {}).get("power"),
        "rails_mw": {name: rail.get("power") for name, rail in (board.power or {}).get("rail", {}).items()},
        "celsius": {name: zone.get("temp") for name, zone in (board.temperature or {}).items() if zone.get("online")},
    }


def set_mode(board: Any, number: int, name: str) -> None:
    """Order a mode and wait until the service says that it is so."""
    models = list(board.nvpmodel.models) if board.nvpmodel is not None else []
    if models[number : number + 1] != [name]:
        raise Trouble(
            f"jtop's service has the modes {models}, expected {name!r} at {number}; sudo systemctl restart jtop"
        )
    if _mode(board) is None:
        raise Trouble("jtop's service does not know in which power mode the board is; sudo nvpmodel -q")
    clocks = board.jetson_clocks
    if clocks is not None and bool(clocks) and not clocks.is_config():
        raise Trouble(
            "the clocks were locked by somebody else than jtop's service, which cannot unlock them for a change"
        )
    board.nvpmodel.set_nvpmodel_id(number)
    if not _comes_true(board, lambda: _mode(board) == number, board.nvpmodel.is_running):
        raise Trouble(
            f"jtop's service has not set power mode {number} {name}; it does not say why, and a mode that needs a"
            f" reboot is one cause: sudo nvpmodel -m {number}, or journalctl -u jtop"
        )


def set_clocks(board: Any, locked: bool) -> None:
    """Order locked or free clocks and wait until the service says that it is so."""
    clocks = board.jetson_clocks
    if clocks is None:
        raise Trouble("jtop's service has found no jetson_clocks on this machine")
    if bool(clocks) is locked:
        return
    if clocks.status in (*_BUSY, "uncontrolled"):
        raise Trouble(f"jtop's service does not touch the clocks now: jetson_clocks is {clocks.status}")
    clocks.set_enable(locked)
    if not _comes_true(board, lambda: bool(clocks) is locked, lambda: clocks.status in _BUSY):
        raise Trouble(f"jtop's service has not {'locked' if locked else 'unlocked'} the clocks; journalctl -u jtop")


def _comes_true(board: Any, wanted: Callable[[], bool], busy: Callable[[], bool]) -> bool:
    quiet = 0
    while quiet < SETTLED:
        if not board.ok():
            raise EOFError("jtop's service has sent nothing for three intervals")
        quiet = 0 if busy() else quiet + 1
        if quiet and wanted():
            return True
    return False


def _mode(board: Any) -> int | None:
    """None = there is no nvpmodel, or it told nothing that jtop understands."""
    try:
        found: int = board.nvpmodel.id
    except (AttributeError, KeyError, TypeError):
        return None
    return found


def main() -> None:
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that jtop prints can be taken for an answer

    def say(said: Mapping[str, Any]) -> None:
        out.write(json.dumps(said) + "\n")
        out.flush()

    signal.alarm(PATIENCE_S)
    try:
        jtop = importlib.import_module("jtop")
    except ImportError as exc:
        say({"trouble": f"{exc}; pip install 'edge-inspector[jetson]'"})
        return
    try:
        board = jtop.jtop(INTERVAL_S)
        board.start()
        say({"ready": True})
        for line in sys.stdin:
            request = json.loads(line)
            signal.alarm(PATIENCE_S + int(request["limit_s"]))
            say(answer(board, request))
    except (jtop.JtopException, OSError, EOFError) as exc:
        say({"trouble": f"jtop: {' '.join(str(exc).split()) or type(exc).__name__}", "lost": True})
    os._exit(0)  # jtop's own threads may hang


if __name__ == "__main__":
    main()
