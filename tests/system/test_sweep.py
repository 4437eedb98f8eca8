"""The k-th system call of each kind fails, for every k until none is left: safe verdicts, whole books, a next start.

SWEEP_FROM=NAME/K goes on with the K-th call of that sweep.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from outage_rig import tell
from real_station import free_port
from sweep_rig import STRACE, Bench, Fault, Nursery

from edge_inspector.demo.broker import wait_until_listening

MOSQUITTO = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
FROM, _, FIRST = os.environ.get("SWEEP_FROM", "").partition("/")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto"),
    pytest.mark.skipif(STRACE is None, reason="strace is not installed: apt-get install strace"),
]


@dataclass(frozen=True)
class Sweep:
    """Calls that fail, in sessions of one kind: `new` begins with an empty state folder, the others with a used one.

    `late`: counted from the first verdict on. `on_files`: only those on the files of the station. `loop` as in `Fault`.
    """

    calls: str
    error: str
    kind: Literal["new", "used", "late"]
    on_files: bool = False
    loop: str = "uvloop"

    @property
    def name(self) -> str:
        return f"{self.calls.partition(',')[0]}-{self.error}-{self.kind}"

    def fault(self, k: int, files: tuple[Path, ...]) -> Fault:
        paths = files if self.on_files else ()
        return Fault(self.calls, self.error, k, paths, self.loop, late=self.kind == "late")


RENAMES = "rename,renameat,renameat2"
NAMES = "mkdir,mkdirat,unlink,unlinkat,rmdir"
SWEEPS = [
    Sweep("fdatasync,fsync", "EIO", "new"),
    Sweep("fdatasync,fsync", "ENOSPC", "used"),
    Sweep("fdatasync,fsync", "EIO", "late"),
    Sweep(RENAMES, "EIO", "new"),
    Sweep(RENAMES, "ENOSPC", "late"),
    Sweep(NAMES, "ENOSPC", "new"),
    Sweep(NAMES, "EIO", "used"),
    Sweep(NAMES, "ENOSPC", "late"),
    Sweep("ftruncate,fallocate", "ENOSPC", "new"),
    Sweep("ftruncate,fallocate", "EIO", "used"),
    Sweep("openat", "EIO", "used", on_files=True),
    Sweep("openat", "EMFILE", "late", on_files=True),
    Sweep("write", "ENOSPC", "used", on_files=True),
    Sweep("write", "EIO", "late", on_files=True),
    Sweep("mmap", "ENOMEM", "used", on_files=True),
    Sweep("socket,accept4", "EMFILE", "used", loop="asyncio"),
    Sweep("bind,listen", "EADDRINUSE", "used", loop="asyncio"),
    Sweep("connect", "ECONNREFUSED", "used", loop="asyncio"),
    Sweep("sendto,sendmsg", "ECONNRESET", "used", loop="asyncio"),
    Sweep("sendto,sendmsg", "EPIPE", "late", loop="asyncio"),
    Sweep("pwrite64", "EIO", "new"),
    Sweep("pwrite64", "ENOSPC", "used"),
    Sweep("pwrite64", "EIO", "late"),
]
ORDER = [sweep.name for sweep in SWEEPS]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    port = free_port()
    conf = tmp_path / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with ExitStack() as stack, (tmp_path / "mosquitto.log").open("ab") as log:
        broker = stack.enter_context(subprocess.Popen([str(MOSQUITTO), "-c", str(conf)], stdout=log, stderr=log))
        stack.callback(broker.terminate)
        nursery = stack.enter_context(Nursery())
        wait_until_listening(port, 20)
        yield Bench(tmp_path, nursery, port)


def test_the_first_sync_that_fails_is_survived_with_whole_books(bench: Bench) -> None:
    bench.begin(used=False)
    outcome = bench.fail(Fault("fdatasync", "EIO", 2))
    assert outcome.injected


@pytest.mark.heavy
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("sweep", [pytest.param(sweep, id=sweep.name) for sweep in SWEEPS])
def test_sweep_of_every_call_that_may_fail(bench: Bench, sweep: Sweep) -> None:
    if FROM and ORDER.index(sweep.name) < ORDER.index(FROM):
        pytest.skip(f"SWEEP_FROM={FROM}")
    files = bench.prepare()
    k, slowest = int(FIRST or 1) if sweep.name == FROM else 1, 0.0
    ends: Counter[tuple[int, ...]] = Counter()
    while True:
        bench.begin(used=sweep.kind != "new")
        outcome = bench.fail(sweep.fault(k, files))
        if not outcome.injected:
            break
        ends[outcome.codes] += 1
        slowest = max(slowest, outcome.judged_s)
        tell(f"SWEEP_FROM={sweep.name}/{k}: {len(outcome.injected)} failed, ended with {outcome.codes}")
        k += 1
    tell(f"sweep {sweep.name}: {k - 1} calls, sessions ended with {dict(ends)}, the longest took {slowest:.1f} s")
    assert k > 1, f"the station does none of {sweep.calls}"
