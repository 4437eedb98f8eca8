"""What a probe makes of a station's answers, over a real Unix socket."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from edge_inspector.control import Control
from edge_inspector.datatypes import Mode
from edge_inspector.health import ready
from edge_inspector.interfaces import StationStatus

STATUS = StationStatus(
    ready=True, busy=False, acquiring=True, halted=False, mode=Mode.PRODUCTION, recipe="board", recipe_no=1,
    recipe_ready=True, warning=False, error_code=0, error_text="", clock_synced=True, queue_depth=0,
)  # fmt: skip


@contextlib.contextmanager
def answering(path: Path, *answers: bytes | None) -> Iterator[list[bytes]]:
    """A station that says these, one a connection; None = nothing at all. Gives what it was asked."""
    asked: list[bytes] = []
    kept: list[socket.socket] = []

    def serve() -> None:
        for answer in answers:
            client, _ = server.accept()
            asked.append(client.recv(4096))
            kept.append(client)
            if answer is not None:
                client.sendall(answer)
                client.close()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            thread.join()
            for client in kept:
                client.close()


def said(**status: object) -> bytes:
    return json.dumps({"status": {"ready": False, "recipe": "board", **status}}).encode() + b"\n"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        pytest.param(said(ready=True), 0, "READY, recipe board", id="ready"),
        pytest.param(said(ready="yes"), 4, "not READY: no error told", id="only true is ready"),
        pytest.param(said(ready=1), 4, "not READY: no error told", id="not even 1"),
        pytest.param(said(error_code=301, error_text="no such recipe"), 4, "error 301: no such recipe", id="its error"),
        pytest.param(said(halted=True), 4, "it was halted", id="halted"),
        pytest.param(said(golden_due=True), 4, "golden parts are due", id="golden parts"),
        pytest.param(said(line_stop=12), 4, "it asks for a line stop", id="line stop"),
        pytest.param(said(error_code=0, error_text="it warms up"), 4, "not READY: it warms up", id="what it waits for"),
        pytest.param(said(recipe_ready=False), 4, "recipe board is not loaded yet", id="loading"),
        pytest.param(said(error_code=1, error_text="a\x1b[2Jb\nc"), 4, "error 1: a?[2Jb?c", id="no terminal codes"),
        pytest.param(b'{"status": null}\n', 4, "it is just starting", id="starting"),
        pytest.param(b'{"error": "too many"}\n', 5, "too many", id="refused"),
        pytest.param(b"[1]\n", 5, "has no status to tell", id="a list"),
        pytest.param(b"220 smtp\n", 5, "no JSON", id="another server"),
        pytest.param(b"\xff\xfe\n", 5, "no JSON", id="bytes"),
        pytest.param(b'{"status": {"ready": true}}', 5, "no JSON", id="hung up before the end of the line"),
        pytest.param(b"", 5, "no JSON", id="hung up"),
    ],
)
def test_probe_says_what_the_answer_means(tmp_path, answer, code, words):
    with answering(tmp_path / "s", answer) as asked:
        found = ready.ask(tmp_path / "s")
    assert asked == [b'{"command": "status"}\n']
    assert (found.exit_code, words in found.why) == (code, True), found.why


def test_station_that_hangs_is_away(tmp_path):
    with answering(tmp_path / "s", None):
        found = ready.ask(tmp_path / "s", timeout_s=0.2)
    assert (found.exit_code, "hangs" in found.why) == (5, True)


def test_socket_of_a_dead_station_is_away(tmp_path):
    with answering(tmp_path / "s"):
        pass
    assert ready.ask(tmp_path / "s").exit_code == 5
    assert "No such file" in ready.ask(tmp_path / "none").why


def test_waiting_ends_with_the_first_ready_answer(tmp_path):
    with answering(tmp_path / "s", b'{"status": null}\n', said(ready=True)) as asked:
        found = ready.wait_until_ready(tmp_path / "s", 30.0)
    assert (found.ready, len(asked)) == (True, 2)


def test_waiting_ends_when_the_time_is_over(tmp_path):
    with answering(tmp_path / "s", said(halted=True)) as asked:
        found = ready.wait_until_ready(tmp_path / "s", ready.AGAIN_S / 2)
    assert (found.exit_code, found.why, len(asked)) == (4, "not READY: it was halted", 1)


@pytest.mark.parametrize(
    ("status", "options", "code"),
    [(STATUS, [], 0), (replace(STATUS, ready=False), [], 4), (replace(STATUS, ready=False), ["--alive"], 0)],
    ids=["ready", "not ready", "alive"],
)
def test_probe_understands_the_daemons_own_socket(tmp_path, capsys, status, options, code):
    control = Control(tmp_path / "control.sock")
    control.status = lambda: status
    control.facts = lambda: {"version": "9.9.9"}

    async def probed() -> tuple[int, ready.Answer]:
        async with anyio.create_task_group() as tasks:
            await tasks.start(control.serve)
            found = await anyio.to_thread.run_sync(ready.main, [str(control.path), *options])
            told = await anyio.to_thread.run_sync(ready.ask, control.path)
            tasks.cancel_scope.cancel()
        return found, told

    found, told = anyio.run(probed)
    assert (found, told.told["version"]) == (code, "9.9.9")
    assert "READY" in capsys.readouterr().out


def test_probe_imports_nothing_but_the_standard_library():
    heavy = ("pydantic", "anyio", "numpy", "structlog")
    code = f"import sys, edge_inspector.health.ready; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


def test_nobody_alive_is_not_alive(tmp_path, capsys):
    assert ready.main([str(tmp_path / "none"), "--alive"]) == 5
    assert "No such file" in capsys.readouterr().out
