"""Whether a running station answers, and is ready: for probes of Docker, Kubernetes and Ansible.

`python -I -m edge_inspector.health.ready SOCKET [--alive] [--wait SECONDS]`: the standard library alone, because a
probe runs each few seconds beside the station.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXIT_NOT_READY = 4
"""It answers, and would not inspect a part now."""
EXIT_AWAY = 5
"""Nothing answers."""
ANSWER_S = 5.0
AGAIN_S = 0.5
MAX_ANSWER = 2**20


@dataclass(frozen=True)
class Answer:
    """What a station said to {"command": "status"}."""

    alive: bool
    """It answered at all."""
    ready: bool
    why: str
    """In words, on one line; why it is not ready, if it is not."""
    told: dict[str, Any] = field(default_factory=dict)
    """As it came; empty when nothing did."""

    @property
    def exit_code(self) -> int:
        if self.ready:
            return 0
        return EXIT_NOT_READY if self.alive else EXIT_AWAY


def ask(path: Path, timeout_s: float = ANSWER_S) -> Answer:
    """Ask the station whose control socket is `path`; blocks for `timeout_s` at most and never raises."""
    try:
        told = json.loads(_exchange(path, timeout_s))
    except TimeoutError:
        return Answer(False, False, f"no answer at {path} within {timeout_s:g} s: the station hangs")
    except OSError as exc:
        why = f"no station answers at {path} ({exc.strerror or exc}); does it run, and may this user ask it?"
        return Answer(False, False, why)
    except ValueError:
        return Answer(False, False, f"{path} answered with something that is no JSON: no station of this version")
    if not isinstance(told, dict) or "status" not in told:
        return Answer(False, False, f"{path} has no status to tell: {_plain(told)}")
    status = told["status"]
    if not isinstance(status, dict):
        return Answer(True, False, "it is just starting", told)
    if status.get("ready") is True:
        return Answer(True, True, f"READY, recipe {_plain(status.get('recipe'))}", told)
    return Answer(True, False, f"not READY: {_reason(status)}", told)


def wait_until_ready(path: Path, within_s: float, timeout_s: float = ANSWER_S) -> Answer:
    """Ask until it is ready, for about `within_s`: the last question may take its own time-out. The last answer."""
    end = time.monotonic() + within_s
    while True:
        answer = ask(path, timeout_s)
        if answer.ready or time.monotonic() + AGAIN_S > end:
            return answer
        time.sleep(AGAIN_S)


def _exchange(path: Path, timeout_s: float) -> bytes:
    """One question, and its answer to the end of the line. TimeoutError: the whole took longer than `timeout_s`."""
    end = time.monotonic() + timeout_s
    answer = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as station:
        station.settimeout(timeout_s)
        station.connect(str(path))
        station.sendall(b'{"command": "status"}\n')
        while not answer.endswith(b"\n"):
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            station.settimeout(left_s)
            piece = station.recv(65536)
            if not piece or len(answer) > MAX_ANSWER:
                raise ValueError("no whole line")
            answer += piece
    return bytes(answer)


def _reason(status: dict[str, Any]) -> str:
    if status.get("error_code"):
        return f"error {_plain(status['error_code'])}: {_plain(status.get('error_text'))}"
    if status.get("error_text"):  # no error, but what it waits for
        return _plain(status["error_text"])
    for key, words in (
        ("halted", "it was halted"),
        ("golden_due", "golden parts are due"),
        ("line_stop", "it asks for a line stop"),
    ):
        if status.get(key):
            return words
    if status.get("recipe_ready") is False:
        return f"recipe {_plain(status.get('recipe'))} is not loaded yet"
    return "no error told"


def _plain(value: object) -> str:
    """On one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(value))[:300]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 ready (or alive, if that was asked), else EXIT_NOT_READY or EXIT_AWAY."""
    parser = argparse.ArgumentParser(prog="python -m edge_inspector.health.ready", description=__doc__)
    parser.add_argument("socket", type=Path, help="the station's control.sock")
    parser.add_argument("--alive", action="store_true", help="0 as soon as it answers, ready or not")
    parser.add_argument("--wait", type=float, default=0.0, metavar="S", help="ask again for so many seconds")
    options = parser.parse_args(arguments)
    answer = ask(options.socket) if options.alive else wait_until_ready(options.socket, options.wait)
    sys.stdout.write(f"{answer.why}\n")
    return 0 if options.alive and answer.alive else answer.exit_code


if __name__ == "__main__":
    sys.exit(main())
