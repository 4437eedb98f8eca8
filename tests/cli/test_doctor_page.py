"""The page of `edge-inspector doctor`: sections, the command below each thing that is wrong, exit codes."""

from __future__ import annotations

import json

import pytest

from edge_inspector.cli import doctor_page
from edge_inspector.health.finding import Finding, Level, judged

DISK = judged("disk.free", "/var", "fail", "12 MB free", "at least 2000 MB", "The ledger is full.", "sudo du -x /var")
CLOCK = judged("clock.synchronised", "", "warn", "not synchronised", "synchronised", "Times.", "sudo timedatectl")
FILE = judged("station.file", "s.toml", "ok", "nothing is wrong with it")
CAMERA = judged("usb.camera", "", "note", "no Basler USB camera seen", "one")


def test_checks_stand_in_sections_and_what_mends_stands_below_what_is_wrong() -> None:
    assert list(doctor_page.page([DISK, CLOCK, FILE, CAMERA])) == [
        "Station",
        "ok    station.file s.toml: nothing is wrong with it",
        "",
        "Cameras",
        "note  usb.camera: no Basler USB camera seen (expected: one)",
        "",
        "Machine",
        "fail  disk.free /var: 12 MB free",
        "      expected: at least 2000 MB",
        "      why:      The ledger is full.",
        "      mend:     sudo du -x /var",
        "warn  clock.synchronised: not synchronised",
        "      expected: synchronised",
        "      why:      Times.",
        "      mend:     sudo timedatectl",
        "",
        "fail: disk.free /var",
        "warn: clock.synchronised",
        "1 fail, 1 warn, 1 note, 1 ok",
    ]


def test_a_check_of_no_section_is_not_lost() -> None:
    assert "ok    new.check: all is well" in doctor_page.page([judged("new.check", "", "ok", "all is well")])


def test_what_strangers_have_written_cannot_drive_a_terminal() -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07\n\u202efail  nothing: is wrong\r"
    one = Finding("camera.seen", hostile, "fail", hostile, hostile, hostile, hostile)
    lines = list(doctor_page.page([one]))
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 8
    assert json.loads(doctor_page.as_json([one]))[0]["found"] == hostile


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ([], 0),
        (["ok", "note"], 0),
        (["ok", "warn", "note"], 6),
        (["warn", "fail", "ok"], 1),
        (["fail"], 1),
    ],
)
def test_the_exit_code_is_that_of_the_worst(levels: list[Level], code: int) -> None:
    assert doctor_page.exit_code([judged("a.b", "", level, "x") for level in levels]) == code


def test_each_section_begins_with_checks_of_its_own_only() -> None:
    prefixes = [prefix for those in doctor_page.SECTIONS.values() for prefix in those]
    assert len(prefixes) == len(set(prefixes))


def test_a_narrow_terminal_wraps_words_but_never_a_command() -> None:
    long = judged("disk.free", "/var", "fail", "word " * 30, "e", "because " * 20, "sudo " + "x" * 200)
    lines = list(doctor_page.lines_of(long, 60))
    *text, mend = lines
    assert max(map(len, text)) <= 60
    assert mend == f"      mend:     sudo {'x' * 200}"
    assert all(line.startswith(("fail  ", "      ")) for line in lines)
