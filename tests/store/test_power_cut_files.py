"""A power cut at any moment of a write leaves the old content or the new one, whole: of all that is not the ledger."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import power_cut_cases
import pytest
from power_cut_cases import CASES, MARK
from write_stream import KINDS, Call, Replay, recorded, restored

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: apt-get install strace"),
]
TESTS = Path(__file__).parents[1]
State = dict[str, bytes | None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[State]]]:
    """For each case what a power cut may leave after each call between its marks, the first and last states settled."""
    place = tmp_path_factory.mktemp("written") / "w"
    place.mkdir()
    command = ["env", f"PYTHONPATH={TESTS.parent}", sys.executable, power_cut_cases.__file__, str(place)]
    replay, found, now = Replay(place), dict[str, list[list[State]]](), ""
    for call in recorded(command, place.with_name("trace")):
        marked = _marked(call)
        if marked is not None:
            what, _, now = marked.partition(" ")
            if what == "begin":
                replay.settle()
                found[now] = [list(replay.states(place / now))]
            else:
                now = ""
        elif call.result >= 0:
            replay.follow(call)
            if now:
                found[now].append(list(replay.states(place / now)))
    return found


def _marked(call: Call) -> str | None:
    word = call.words[0] if call.name == "rmdir" else b""
    return os.fsdecode(word).removeprefix(MARK) if isinstance(word, bytes) and word.startswith(MARK.encode()) else None


def different(states: Iterator[State]) -> list[State]:
    return list({repr(sorted(state.items())): state for state in states}.values())


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_after_a_power_cut_is_the_old_or_the_new_whole(
    tmp_path: Path, written: dict[str, list[list[State]]], name: str
) -> None:
    case, steps, numbers = CASES[name], written[name], count()

    def read(state: State) -> object:
        folder = tmp_path / f"{next(numbers)}"
        restored(state, folder)
        return case.read(folder)

    old, new = read(steps[0][0]), read(steps[-1][-len(KINDS)])
    assert old != new
    assert len(steps) > 3, "hardly a call was seen"
    for state in different(state for states in steps for state in states):
        assert read(state) in (old, new)
    if case.lasting:
        assert all(read(state) == new for state in different(iter(steps[-1])))


def test_a_file_that_gets_its_name_before_it_is_on_the_disk_is_found_torn(
    written: dict[str, list[list[State]]],
) -> None:
    kept = {state["kept"] for states in written["careless"] for state in states}
    assert kept == {b"first" * 500, b"second" * 500, b"", bytes(3000)}
