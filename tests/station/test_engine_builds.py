"""The thread that has engines built, on its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from edge_inspector.station.engine_builds import SILENT_S, EngineBuilds
from edge_inspector.station.events import EngineBuilt, EngineProgress, LineEvent


@contextmanager
def building(command: Sequence[str], again: bool) -> Iterator[queue.SimpleQueue[LineEvent]]:
    told: queue.SimpleQueue[LineEvent] = queue.SimpleQueue()
    builds = EngineBuilds(lambda recipe: command, again, lambda recipe, proof, digest: None, told.put)
    thread = threading.Thread(target=builds.run)
    thread.start()
    builds.put("r")
    try:
        yield told
    finally:
        builds.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("script", "again", "said", "is_tried_again"),
    [
        pytest.param("kill -9 $$", False, "killed by signal 9", True, id="memory ran out: once more later"),
        pytest.param("echo no such layer >&2; exit 2", False, "no such layer", False, id="what nobody mends stays so"),
        pytest.param("echo server down >&2; exit 2", True, "server down", True, id="a server may come back"),
        pytest.param("exit 3", False, "ended with code 3 and said nothing", False, id="no last words"),
        pytest.param("printf '\\377\\n[[[['; exit 2", False, "ended with code 2", False, id="garbage on its output"),
    ],
)
def test_a_build_that_ends_without_an_engine_is_told(script: str, again: bool, said: str, is_tried_again: bool) -> None:
    with building(["sh", "-c", script], again) as told:
        event = told.get(timeout=10)
    assert isinstance(event, EngineBuilt)
    assert event.outcome == ""
    assert said in event.text
    assert ("tried again in 10 s" in event.text) is is_tried_again


def test_a_build_that_says_nothing_for_two_hours_is_ended_and_tried_again() -> None:
    told: queue.SimpleQueue[LineEvent] = queue.SimpleQueue()
    script = 'echo \'{"progress": 0.5, "text": "half"}\'; exec sleep 600'
    builds = EngineBuilds(lambda recipe: ["sh", "-c", script], False, lambda recipe, proof, digest: None, told.put)
    thread = threading.Thread(target=builds.run)
    thread.start()
    builds.put("r")
    assert isinstance(told.get(timeout=10), EngineProgress)
    builds.check(time.monotonic() + SILENT_S - 60)
    assert told.empty()
    builds.check(time.monotonic() + SILENT_S + 60)
    event = told.get(timeout=10)
    builds.stop()
    thread.join(10)
    assert isinstance(event, EngineBuilt)
    assert event.text == "the build has said nothing for 7200 s and was ended; tried again in 10 s"


def test_a_program_that_is_not_there_is_told() -> None:
    with building(["/nowhere/edge-inspector"], again=False) as told:
        event = told.get(timeout=10)
    assert isinstance(event, EngineBuilt)
    assert "cannot be run" in event.text


def test_a_build_of_a_bundle_that_was_changed_meanwhile_is_given_up_and_tells_nothing() -> None:
    told: queue.SimpleQueue[LineEvent] = queue.SimpleQueue()
    slow = """echo '{"progress": 0.1, "text": "begun"}'; exec sleep 60"""
    scripts = iter([slow, "echo no such layer >&2; exit 2"])
    builds = EngineBuilds(lambda _: ["sh", "-c", next(scripts)], False, lambda recipe, proof, digest: None, told.put)
    thread = threading.Thread(target=builds.run)
    thread.start()
    try:
        builds.put("r")
        assert isinstance(told.get(timeout=10), EngineProgress)
        builds.forget({"other"})
        builds.put("r")
        builds.forget({"r"})
        event = told.get(timeout=10)
    finally:
        builds.stop()
        thread.join(10)
    assert isinstance(event, EngineBuilt)
    assert "no such layer" in event.text
    assert told.empty()


def test_a_recipe_that_is_gone_is_not_built() -> None:
    with building([], again=True) as told, pytest.raises(queue.Empty):
        told.get(timeout=0.5)
