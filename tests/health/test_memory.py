"""How much memory is left, read from a made-up /proc and cgroup tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_inspector.health.memory import Memory, read_memory

MEMINFO = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     400 kB\nHugePages_Total:  0\n"
STATUS = "Name:\tpython\nVmRSS:\t  300 kB\nRssAnon:\t  200 kB\nCpus_allowed:\tff\n"

FREED = """
from edge_inspector.health.memory import give_back, read_memory
print(read_memory().own_bytes)
held = [bytes(1000) for _ in range(30_000)]
print(read_memory().own_bytes)
del held
give_back()
print(read_memory().own_bytes)
"""
"""In a process of its own: another one has memory of earlier tests to reuse."""


class Machine:
    """The files of a machine with 1000 kB, of which 400 are to be had; units by their path in the cgroup tree."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.cgroups.mkdir()
        (self.proc / "meminfo").write_text(MEMINFO)
        (self.proc / "self" / "status").write_text(STATUS)
        (self.proc / "self" / "cgroup").write_text("1:name=systemd:/\n0::/system.slice/edge.service\n")

    def unit(self, path: str, limit: str, used: int, cache: int = 0, read_again: int = 0, slab: int = 0) -> None:
        folder = self.cgroups / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(
            f"anon 1\ninactive_file {cache}\nactive_file {read_again}\nslab_reclaimable {slab}\nshmem 9\n"
        )

    @property
    def memory(self) -> Memory:
        return read_memory(self.proc, self.cgroups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_limited_unit_the_machine_counts(machine: Machine) -> None:
    machine.unit("system.slice/edge.service", "max", 10**9)
    assert machine.memory == Memory(40.0, 1000 * 1024, 200 * 1024)


def test_a_units_limit_counts_when_it_leaves_less_and_its_file_cache_is_free(machine: Machine) -> None:
    machine.unit("system.slice/edge.service", "100000", 90000, cache=5000)
    assert machine.memory == Memory(15.0, 100000, 200 * 1024)


def test_what_files_have_left_in_memory_is_free_however_often_it_was_read(machine: Machine) -> None:
    """As MemAvailable has it: a ledger that is read again and again must not look like memory that is spent."""
    machine.unit("system.slice/edge.service", "100000", 99000, cache=2000, read_again=20000, slab=1000)
    assert machine.memory.free_pct == 24.0


def test_a_unit_around_ours_counts_too(machine: Machine) -> None:
    machine.unit("system.slice/edge.service", "max", 0)
    machine.unit("system.slice", "200000", 198000)
    assert machine.memory == Memory(1.0, 200000, 200 * 1024)


def test_a_unit_that_has_more_left_than_the_machine_does_not_count(machine: Machine) -> None:
    machine.unit("system.slice/edge.service", "100000", 10000)
    assert machine.memory.free_pct == 40.0


def test_a_unit_over_its_limit_has_nothing_left(machine: Machine) -> None:
    machine.unit("system.slice/edge.service", "1000", 1200)
    assert machine.memory.free_pct == 0.0


def test_nothing_above_the_tree_is_asked(machine: Machine, tmp_path: Path) -> None:
    for name, text in (("memory.max", "100"), ("memory.current", "100")):
        (tmp_path / name).write_text(text)
    assert machine.memory.free_pct == 40.0


@pytest.mark.parametrize("line", ["0::/../..\n", "0::\n", "4:memory:/old\n", "", "garbage"])
def test_a_process_whose_unit_is_not_told_has_that_of_the_machine(machine: Machine, line: str) -> None:
    (machine.proc / "self" / "cgroup").write_text(line)
    assert machine.memory == Memory(40.0, 1000 * 1024, 200 * 1024)


def test_what_the_kernel_does_not_tell_is_not_known(tmp_path: Path) -> None:
    assert read_memory(tmp_path, tmp_path) == Memory()
    (tmp_path / "meminfo").write_bytes(b"MemTotal: \xff kB\nMemAvailable: 4\n: 5\n\n")
    assert read_memory(tmp_path, tmp_path) == Memory()


def test_this_machine_tells_all_of_it() -> None:
    memory = read_memory()
    assert memory.free_pct is not None
    assert 0 < memory.free_pct <= 100
    assert memory.own_bytes is not None
    assert memory.limit_bytes is not None
    assert 2**20 < memory.own_bytes < memory.limit_bytes


def test_what_was_freed_is_handed_back() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, timeout=60, check=True)
    before, grown, after = map(int, done.stdout.split())
    assert grown - before > 20e6
    assert grown - after > (grown - before) / 2
