"""Rows 13, 30 and 33 of the fault table: no memory, no processor, and what a long run takes more of."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_record import FaultBook
from fault_rig import Scene, scene

from edge_inspector.datatypes import Evaluation, Reason

pytestmark = [pytest.mark.system, pytest.mark.heavy]
STRESS = shutil.which("stress-ng")
MEMORY = Path("/sys/fs/cgroup/memory")
"""cgroup v1, or where v2 has its units."""
UNIFIED = Path("/sys/fs/cgroup")
DEADLINE_MS = 500.0
DEADLINE = ("deadline_ms = 2000.0", f"deadline_ms = {DEADLINE_MS}")
HOGS = 4
FIFO_S = 3
OBJECTS = 40_000_000
"""Some gigabytes: more than the unit may have."""
FIRST, LAST = 100, 900
RSS_MB, FDS = 12.0, 3


@contextlib.contextmanager
def unit(megabytes: int) -> Iterator[Path]:
    """A memory unit of that size; a process joins it by its number in cgroup.procs."""
    root, limit = (MEMORY, "memory.limit_in_bytes") if MEMORY.is_dir() else (UNIFIED, "memory.max")
    folder = root / f"edge-inspector-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(megabytes * 2**20))
    except OSError as exc:
        pytest.skip(f"no memory unit of its own here: {exc}")
    try:
        yield folder
    finally:
        folder.rmdir()


def test_a_process_that_takes_more_memory_than_its_unit_has_is_ended_and_the_next_one_goes_on(
    tmp_path: Path, fault: FaultBook
) -> None:
    with unit(600) as folder, scene(tmp_path) as made:
        assert made.process is not None
        (folder / "cgroup.procs").write_text(str(made.process.pid))
        since_ns, since = time.monotonic_ns(), made.plc_at
        made.sabotage("garbage", s=60, n=OBJECTS)
        assert made.process.wait(60) in (-signal.SIGKILL, 75), "by the kernel, or by itself before"
        made.restart()
        up = made.judged()
        made.finish()
        made.testify(fault, 13, "memory unit of 600 MB, a thread that takes more", since_ns, since, up)


@contextlib.contextmanager
def hogged(*command: str) -> Iterator[None]:
    """Beside the station, on its own core."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as hog:
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(hog.pid, signal.SIGKILL)


@pytest.mark.skipif(STRESS is None, reason="stress-ng is not installed: apt-get install stress-ng")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: SCHED_FIFO for the hog")
@pytest.mark.timeout(300)
def test_a_station_without_a_processor_is_on_time_or_undefined(tmp_path: Path, fault: FaultBook) -> None:
    core = str(min(os.sched_getaffinity(0)))
    with scene(tmp_path, settings=[DEADLINE]) as made:
        assert made.process is not None
        subprocess.run(["taskset", "-a", "-p", "-c", core, str(made.process.pid)], check=True, capture_output=True)
        since_ns, since = time.monotonic_ns(), made.plc_at
        stress = ("taskset", "-c", core, str(STRESS), "--quiet")
        with hogged(*stress, "--cpu", str(HOGS)):
            made.judged(20, timeout_s=90)
        with hogged("chrt", "-f", "50", *stress, "--cpu", "1", "--timeout", str(FIFO_S)):
            time.sleep(FIFO_S)  # the fault itself
        begun = time.monotonic_ns()
        up = made.judged()
        made.finish()
        for row in made.rows.values():
            if row.evaluation is Evaluation.OK:
                assert row.cycle_ms <= DEADLINE_MS
            if row.evaluation is Evaluation.UNDEFINED:
                assert row.reason in (Reason.DEADLINE, Reason.PLC_LINK, Reason.OVERLOAD), row
        assert all(one.round_trip_ms is None or one.round_trip_ms <= 2500 for one in made.plc.results)
        fault.tell(
            30,
            injected=f"all on one core: {HOGS} hogs beside it, then a SCHED_FIFO hog for {FIFO_S} s",
            saw=made.saw(since_ns, since, up),
            books=made.balance(),
            recovery_s=round((up - begun) / 1e9, 2),
        )


def size(made: Scene) -> tuple[float, int, int]:
    """RSS in MB, file descriptors, threads."""
    assert made.process is not None
    folder = Path(f"/proc/{made.process.pid}")
    return made.rss_mb, len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))


@pytest.mark.timeout(300)
def test_hundreds_of_parts_leave_no_thread_no_descriptor_and_no_memory_behind(tmp_path: Path, fault: FaultBook) -> None:
    with scene(tmp_path) as made:
        since_ns, since = time.monotonic_ns(), made.plc_at
        made.end_plc()
        made.start_plc(rate_hz=80)
        made.judged(FIRST)
        rss, fds, threads = size(made)
        made.judged(LAST - FIRST, timeout_s=200)
        more = [after - before for after, before in zip(size(made), (rss, fds, threads), strict=True)]
        made.finish()
        assert more[0] <= RSS_MB
        assert abs(more[1]) <= FDS
        assert more[2] <= 1  # a worker of anyio's pool
        fault.tell(
            33,
            injected=f"{LAST - FIRST} parts: {more[0]:+.1f} MB of {rss:.0f}, {more[1]:+.0f} descriptors,"
            f" {more[2]:+.0f} threads",
            saw=made.saw(since_ns, since),
            books=made.balance(),
        )
