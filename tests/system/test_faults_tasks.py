"""Row 23 of the fault table: an exception that nobody expected, in each thread and each task of the station in turn."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fault_record import FaultBook
from fault_rig import Scene, scene
from real_station import free_port

pytestmark = pytest.mark.system
EVERYTHING = """\
[images]
[publishers.broker]
type = "mqtt"
host = "127.0.0.1"
port = {port}
"""
LEFT_OUT = ("AnyIO worker thread", "MainThread", "manual")
"""The pool of anyio: what is raised in it comes up in the task that asked. The loop's: what runs there are tasks. And
`manual` waits in a queue written in C, as those that the saboteur calls asleep: it feels nothing until it gets work.
"""
END_S = 30.0


def strike(made: Scene, kind: str, name: str) -> float:
    """Raise it there; the process must end with a code that systemd answers with a new start. Seconds until then."""
    assert made.process is not None
    begun = time.monotonic()
    assert made.sabotage("raise", name=name, **{"in": kind}), f"there is no {kind} {name} any more"
    code = made.process.wait(END_S)
    assert code > 0, f"the {kind} {name} has died, and the process ended with {code}"
    assert "Sabotage" in made.log("station_died")[-1]["error"] + made.said[-4000:]
    return time.monotonic() - begun


def everything(made: Scene) -> list[tuple[str, str]]:
    """All that can be struck."""
    found = made.sabotage("list")
    awake = [name for name in found["threads"] if name not in found["asleep"] and not name.startswith(LEFT_OUT)]
    threads = [("thread", name) for name in awake]
    return threads + [("task", name) for name in found["tasks"]]


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_thread_or_task_that_dies_ends_the_process_and_the_next_one_has_the_same_books(
    tmp_path: Path, fault: FaultBook
) -> None:
    """A station that goes on without one of them would be half alive."""
    struck, longest, down = [], 0.0, 0.0
    with scene(tmp_path, EVERYTHING.format(port=free_port())) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        victims = everything(made)
        assert {("thread", "gpu"), ("task", "plc-line")} <= set(victims)
        for kind, name in victims:
            begun = time.monotonic()
            longest = max(longest, strike(made, kind, name))
            made.restart()
            made.judged(1)
            down = max(down, time.monotonic() - begun)
            struck.append(name)
        made.finish()
        books = made.books
        assert books.unknown == ()
        fault.tell(
            23,
            injected=f"an exception raised in {', '.join(struck)}; the process ended within {longest:.1f} s",
            saw=made.saw(since_ns, since),
            books=made.balance(),
            recovery_s=round(down, 2),
        )
