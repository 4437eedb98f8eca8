"""The kernel is asked for what the settings say, thread by thread; what it refuses is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edge_inspector.settings.real_time import RealTimeSettings
from edge_inspector.station.real_time import RealTime

MAY = os.geteuid() == 0
needs_root = pytest.mark.skipif(not MAY, reason="only root may take a real-time priority without the drop-in")


def settings(**given: Any) -> RealTimeSettings:
    return RealTimeSettings.model_validate(given)


def on_a_thread(work: Callable[[], None]) -> tuple[int, int, set[int]]:
    """Policy, priority and cores of a thread after the work."""
    seen: list[tuple[int, int, set[int]]] = []

    def run() -> None:
        work()
        priority = os.sched_getparam(0).sched_priority
        seen.append((os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, priority, os.sched_getaffinity(0)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return seen[0]


def test_nothing_is_asked_for_when_nothing_is_set() -> None:
    told: list[str] = []
    cores = os.sched_getaffinity(0)
    for wanted in (None, settings()):
        real_time = RealTime(wanted, told.append)
        assert on_a_thread(real_time.prefer) == (os.SCHED_OTHER, 0, cores)
    assert told == []


@needs_root
def test_a_thread_gets_its_priority_and_its_cores_and_no_other_thread_does() -> None:
    told: list[str] = []
    last = max(os.sched_getaffinity(0))
    real_time = RealTime(settings(priority=20, cores=[last]), told.append)
    assert on_a_thread(real_time.prefer) == (os.SCHED_FIFO, 20, {last})
    assert on_a_thread(lambda: None) == (os.SCHED_OTHER, 0, os.sched_getaffinity(0))
    assert told == []


@needs_root
def test_a_thread_that_works_for_the_loop_lets_it_go_first() -> None:
    real_time = RealTime(settings(priority=20), lambda text: None)
    assert on_a_thread(lambda: real_time.prefer(below=1))[:2] == (os.SCHED_FIFO, 19)


@needs_root
def test_what_an_urgent_thread_starts_has_no_priority() -> None:
    real_time = RealTime(settings(priority=20), lambda text: None)
    policies: list[int] = []

    def start_another() -> None:
        real_time.prefer()
        policies.append(on_a_thread(lambda: None)[0])

    on_a_thread(start_another)
    assert policies == [os.SCHED_OTHER]


def test_cores_that_are_not_there_are_told_and_the_thread_goes_on() -> None:
    told: list[str] = []
    real_time = RealTime(settings(cores=[1023]), told.append)
    assert on_a_thread(real_time.prefer)[2] == os.sched_getaffinity(0)
    assert told == ["station.real_time.cores 1023: Invalid argument"]


WITHOUT_RIGHTS = """
import os, resource
from edge_inspector.settings.real_time import RealTimeSettings
from edge_inspector.station.real_time import RealTime
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
os.setuid(65534)
RealTime(RealTimeSettings.model_validate({"priority": 20}), lambda text: print("told:", text)).prefer()
print("told:", os.sched_getscheduler(0))
"""


@pytest.mark.heavy
@needs_root
def test_a_unit_without_the_right_is_told_and_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_RIGHTS], capture_output=True, text=True, check=True)
    told = [line.removeprefix("told: ") for line in done.stdout.splitlines() if line.startswith("told: ")]
    assert told == [
        "station.real_time.priority 20: Operation not permitted; "
        "the unit lacks the right: see docs/how-to/real-time.md",
        str(os.SCHED_OTHER),
    ]


@pytest.mark.parametrize("given", [{"priority": 1}, {"priority": 50}, {"cores": [-1]}, {"cores": [1024]}, {"fifo": 1}])
def test_what_no_kernel_or_only_its_own_threads_may_have_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="RealTimeSettings"):
        settings(**given)
