"""`edge-inspector ledger` as its user meets it."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from edge_inspector.cli.ledger import ledger
from edge_inspector.cli.ledger_export import COLUMNS
from edge_inspector.datatypes import (
    AuditEntry,
    Defect,
    Evaluation,
    Event,
    InspectionResult,
    Mode,
    OutboxMessage,
    Reason,
    Refusal,
    SavedImage,
    Trigger,
)
from edge_inspector.store.ledger import Ledger
from edge_inspector.store.opening import open_book
from edge_inspector.store.reading import read_results
from edge_inspector.store.records import (
    BookAcknowledged,
    BookAudit,
    BookEvent,
    BookImage,
    BookRefusal,
    BookResult,
    BookStarted,
    BookTrigger,
)

WALL = "2026-11-22T06:30:00.000Z"
HOSTILE = "=cmd|' /C calc'!A1\x1b[2J\n\u202e"
BOOT, BOOT_AFTER = 4711, 4712


def trigger(seq: int, **changes: Any) -> Trigger:
    known: dict[str, Any] = {"part_id": f"P{seq:03d}", "mode": Mode.PRODUCTION, "wall_utc": WALL, "clock_synced": True}
    made = {**known, **changes}
    return Trigger(
        seq=seq,
        result_id=f"line1.0a1b2c3d.{seq}",
        trigger_seq=100 + seq,
        attempt=1,
        recipe="pcb",
        recipe_no=7,
        boot_id=BOOT,
        plc_boot_id=815,
        accepted_ns=seq * 10**9,
        deadline_ns=seq * 10**9 + 500_000_000,
        **made,
    )


def result(one: Trigger, **changes: Any) -> InspectionResult:
    made = InspectionResult(
        trigger=one,
        evaluation=Evaluation.OK,
        reason=Reason.NONE,
        reason_text="",
        defects=(),
        views=("top",),
        views_judged=1,
        thresholds=(0.25, 0.5),
        model_hash="ab" * 32,
        settled_ns=one.accepted_ns + one.seq * 1_000_000,
        stage_ns={"infer": 12_345_678},
        frame_ids=(one.seq,),
    )
    return replace(made, **changes)


SPUR = Defect("spur", 3, 0.75, (1.5, 2.0, 3.25, 4.0), "top", (0.5, 0.25))


def records() -> Iterator[Any]:
    """Ten good parts, a reject, one without a picture, one that waits for a broker and one without a result."""
    yield BookStarted(BOOT, 1, False, WALL)
    for seq in range(1, 11):
        yield BookResult(None, result(trigger(seq)), told=True, replay=True)
    yield BookAcknowledged(tuple(trigger(seq).result_id for seq in range(1, 9)), WALL)
    reject = result(
        trigger(11),
        evaluation=Evaluation.NOT_OK,
        reason=Reason.DEFECT,
        reason_text="spur",
        defects=(SPUR,),
        margin=0.25,
    )
    yield BookResult(None, reject, told=True, replay=True)
    image = SavedImage(
        11, reject.result_id, "top", "original", ("reject",), "11.png", "cd" * 32, 2_500_000, True, "Mono8", (4, 6), 11,
        WALL, True,
    )  # fmt: skip
    yield BookImage(image)
    lost = trigger(12, part_id=HOSTILE)
    no_frame = {"evaluation": Evaluation.UNDEFINED, "reason": Reason.NO_FRAME, "frame_ids": (-1,), "views_judged": 0}
    yield BookResult(None, result(lost, **no_frame), told=False, replay=True)
    message = OutboxMessage("mqtt", "result", "vision.result/1", b"{}", 13)
    yield BookResult(None, result(trigger(13)), told=True, messages=(message,), replay=True)
    yield BookTrigger(None, trigger(14))
    yield BookRefusal(None, Refusal(115, "P015", Reason.NOT_READY, WALL, BOOT, 2))
    yield BookEvent(Event("alarm", "camera_lost", "top: unplugged", WALL))
    yield BookAudit(AuditEntry(WALL, True, "root", "recipe_changed", "spur 0.25 -> 0.5\x1b[31m"))
    yield BookAudit(AuditEntry(WALL, False, "plc:line", "recipe_selected", "pcb -> pcb2"))


def write(path: Path, *booked: Any) -> Path:
    with Ledger(path, ["mqtt"]), closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("UPDATE meta SET value = '0a1b2c3d' WHERE name = 'book'")
    with Ledger(path, ["mqtt"]) as opened:
        for record in booked:
            opened.submit(record)
        opened.close()
        opened.run()
    return path


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return write(tmp_path / "ledger.sqlite", *records())


@pytest.fixture
def balanced(tmp_path: Path) -> Path:
    return write(tmp_path / "good.sqlite", *list(records())[:13])


def said(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(ledger, [str(word) for word in words], prog_name="edge-inspector ledger")
    assert done.exit_code == code, done.output
    return done.stdout


def refused(*words: object) -> str:
    done = CliRunner().invoke(ledger, [str(word) for word in words], prog_name="edge-inspector ledger")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


# --- reconcile -------------------------------------------------------------------------------------------------------

WHOLE = r"""
the whole book                                                      NOT BALANCED

  triggers  16 = 14 accepted + 2 refused                                      ok
  accepted  14 = 13 results + 1 unknown                                       NO
  results   13 = 12 told + 1 not told                                         ok
  results   13 = 12 published + 1 waiting                                     NO
  views     13 = 12 pictures + 1 without picture                              ok

  what keeps it from balancing
    1 unknown: no result: the station is dead or hangs; its next start will say
      14 (P014)
    1 waiting: for mqtt
      13 (P013)

  missing for a known reason
    1 not told: no PLC could take them: none there, gone, or started again
      12 (=cmd|' /C calc'!A1\x1b[2J\n\u202e)
    1 without picture: top: no frame
      12 (=cmd|' /C calc'!A1\x1b[2J\n\u202e)

  8 acknowledged by the PLC, 0 late, 0 unannounced
"""


def test_reconcile_shows_every_equation_and_each_gap_with_its_reason(book: Path) -> None:
    assert said("reconcile", book, code=3) == WHOLE.removeprefix("\n")


def test_books_that_balance_end_with_0(balanced: Path) -> None:
    assert "the whole book                                                          balanced" in said(
        "reconcile", balanced
    )


def test_reconcile_shift_by_shift_has_a_line_each_and_tells_the_gaps_of_the_bad_ones(tmp_path: Path) -> None:
    night, day = "2026-11-21T23:00:00.000Z", "2026-11-22T07:00:00.000Z"
    good = [BookResult(None, result(trigger(seq, wall_utc=night)), told=True, replay=True) for seq in (1, 2)]
    bad = BookTrigger(None, trigger(3, wall_utc=day))
    path = write(tmp_path / "ledger.sqlite", BookStarted(BOOT, 1, False, WALL), *good, bad)
    lines = said("reconcile", path, "--shift", code=3).splitlines()
    assert lines[0].split() == ["shift", "parts", "refused", "results", "told", "published"]
    assert lines[1].split() == ["Sat", "2026-11-21", "22:00-06:00", "2", "0", "2", "2", "2", "ok"]
    assert lines[2].split() == ["Sun", "2026-11-22", "06:00-14:00", "1", "0", "0", "0", "0", "NO"]
    assert lines[4].split() == ["Sun", "2026-11-22", "06:00-14:00", "NOT", "BALANCED"]
    assert lines[6].strip() == "3 (P003)"
    assert said("reconcile", path, "--shift", "--until", "2026-11-22 06:00").splitlines()[1:] == lines[1:2]


def test_the_shifts_are_those_of_the_station_file(tmp_path: Path) -> None:
    station = station_file(tmp_path, '[ledger]\nshifts = ["04:00", "06:45"]')
    write(tmp_path / "state" / "ledger.sqlite", BookResult(None, result(trigger(1)), told=True, replay=True))
    assert said("reconcile", station, "--shift").splitlines()[1].startswith("Sun 2026-11-22 04:00-06:45")


def test_a_site_without_a_time_server_has_shifts_when_it_trusts_its_clock(tmp_path: Path) -> None:
    part = BookResult(None, result(trigger(1, clock_synced=False)), told=True, replay=True)
    path = write(tmp_path / "ledger.sqlite", part, BookRefusal(None, Refusal(9, "", Reason.NOT_READY, WALL, BOOT)))
    assert said("reconcile", path, "--shift").splitlines()[1].split() == [
        "clock",
        "not",
        "set",
        "1",
        "1",
        "1",
        "1",
        "1",
        "ok",
    ]
    for command in (["reconcile"], ["reconcile", "--shift"], ["summary"]):
        told = CliRunner().invoke(ledger, [*command, str(path), "--since", "2026-11-22"]).stderr
        assert told.startswith("1 parts of the book were triggered while the clock was not set")
    trusted = CliRunner().invoke(ledger, ["reconcile", str(path), "--since", "2026-11-22", "--trust-clock"])
    assert trusted.stderr == ""
    lines = said("reconcile", path, "--shift", "--trust-clock").splitlines()[1:]
    assert [line.split() for line in lines] == [["Sun", "2026-11-22", "06:00-14:00", "1", "1", "1", "1", "1", "ok"]]


def test_a_power_cut_is_told_with_the_last_part_before_it(tmp_path: Path) -> None:
    before = [BookStarted(BOOT, 1, False, WALL), BookResult(None, result(trigger(1)), told=True, replay=True)]
    path = write(tmp_path / "ledger.sqlite", *before, BookStarted(BOOT_AFTER, 10_002, False, WALL))
    lines = said("reconcile", path, code=3).splitlines()
    assert lines[2].split() == ["triggers", "1", "=", "1", "accepted", "+", "0", "refused", "?"]
    assert "    the power was cut after part 1, before the start of 2026-11-22 06:30:00:" in lines


def test_all_names_every_part(tmp_path: Path) -> None:
    parts = [BookResult(None, result(trigger(seq)), told=False, replay=True) for seq in range(1, 31)]
    path = write(tmp_path / "ledger.sqlite", *parts)
    assert "10 (P010) and 20 more (--all names them)" in said("reconcile", path)
    named = said("reconcile", path, "--all")
    assert all(f"{seq} (P{seq:03d})" in named for seq in range(1, 31))
    assert "more" not in named


def test_json_has_the_same_equations_and_gaps(book: Path) -> None:
    facts = json.loads(said("reconcile", book, "--json", code=3))
    (period,) = facts["periods"]
    assert period["balanced"] is False
    equations = {one["name"]: one for one in period["equations"]}
    assert list(equations) == ["triggers", "accepted", "told", "published", "views"]
    assert equations["accepted"]["terms"] == {"results": 13, "unknown": 1}
    assert [one["balanced"] for one in equations.values()] == [True, False, True, False, True]
    assert equations["views"]["gaps"][0]["parts"] == [{"seq": 12, "part_id": HOSTILE, "wall_utc": WALL}]


@pytest.mark.parametrize(
    "command", [["reconcile"], ["reconcile", "--shift"], ["summary"], ["audit"], ["audit", "--verify"]]
)
def test_nothing_is_wider_than_a_terminal_and_nothing_obeys_a_part_id(command: list[str], book: Path) -> None:
    done = CliRunner().invoke(ledger, [*command, str(book)])
    assert done.stdout
    assert all(len(line.rstrip()) <= 80 for line in done.stdout.splitlines())
    assert all(c == "\n" or c.isprintable() for c in done.stdout)


# --- summary ---------------------------------------------------------------------------------------------------------


def test_summary_says_what_the_book_holds(book: Path) -> None:
    rows = dict(line.split("  ", 1) for line in said("summary", book).splitlines())
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["book"].startswith("0a1b2c3d, ")
    assert rows["book"].endswith(" 1 start, 2 rows in the audit trail")
    assert rows["parts from"] == "2026-11-22 06:30:00 until 2026-11-22 06:30:00"
    assert rows["production"] == "13: OK 11 (84.6 %), NOT_OK 1 (7.7 %), UNDEFINED 1 (7.7 %)"
    assert (rows["recipes"], rows["not OK because"], rows["defects"]) == ("pcb 13", "no frame 1, defect 1", "spur 1")
    assert rows["refused"] == "not ready 2"
    assert rows["cycle"] == "median 7.0 ms, p99 13.0 ms, max 13.0 ms"
    assert (rows["events"], rows["pictures"]) == ("alarm 1", "1 kept (2.5 MB), 0 removed")
    assert rows["for mqtt"] == "1 message waiting, the oldest of 2026-11-22 06:30:00"


def test_summary_of_another_day_is_empty_and_of_an_empty_book_too(book: Path, tmp_path: Path) -> None:
    assert "parts from" in said("summary", book, "--since", "2026-11-23")
    assert json.loads(said("summary", book, "--since", "2026-11-23", "--json"))["parts"] == {}
    assert "none yet" in said("summary", write(tmp_path / "empty.sqlite"))


# --- export ----------------------------------------------------------------------------------------------------------


def test_csv_has_every_column_of_every_result_and_no_formula(book: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    said("export", book, "--csv", file)
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["seq"] for row in rows] == [str(seq) for seq in range(1, 14)]
    assert rows[11]["part_id"] == f"'{HOSTILE}"
    reject = rows[10]
    assert (reject["evaluation"], reject["reason"], reject["reason_no"], reject["margin"]) == (
        "NOT_OK",
        "defect",
        "1003",
        "0.25",
    )
    assert json.loads(reject["defects"]) == [
        {"class": "spur", "class_id": 3, "score": 0.75, "camera": "top", "x": 1.5, "y": 2.0, "width": 3.25,
         "height": 4.0, "width_mm": 0.5, "height_mm": 0.25}
    ]  # fmt: skip
    assert json.loads(reject["images"]) == [{"kind": "original", "path": "11.png", "sha256": "cd" * 32}]
    assert (reject["told"], reject["acknowledged_utc"], rows[0]["acknowledged_utc"]) == ("1", "", WALL)


@pytest.mark.parametrize(
    ("part_id", "cell"),
    [
        ("-12", "-12"),
        ("+4.5", "+4.5"),
        ("-12+1", "'-12+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("a=1", "a=1"),
    ],
)
def test_a_number_with_its_sign_is_no_formula(tmp_path: Path, part_id: str, cell: str) -> None:
    one = result(trigger(1, part_id=part_id))
    path = write(tmp_path / "ledger.sqlite", BookResult(None, one, told=True, replay=True))
    (row,) = csv.DictReader(io.StringIO(said("export", path, "--csv", "-"), newline=""))
    assert row["part_id"] == cell


def test_parquet_has_the_same_results_with_types(book: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    said("export", book, "--parquet", file)
    rows = pyarrow.parquet.read_table(file).to_pylist()
    with closing(open_book(book)) as connection:
        results = read_results(connection, after_seq=0)
    assert [row["result_id"] for row in rows] == [one.result_id for one in results]
    assert list(rows[0]) == list(COLUMNS)
    assert rows[11]["part_id"] == HOSTILE
    assert rows[0]["wall_utc"] == datetime(2026, 11, 22, 6, 30, tzinfo=timezone.utc)
    assert (rows[10]["told"], rows[10]["acknowledged_utc"], rows[10]["margin"]) == (True, None, 0.25)
    assert rows[10]["defects"][0]["width_mm"] == 0.5
    assert (rows[10]["views"], rows[10]["frame_ids"], rows[10]["thresholds"]) == (["top"], [11], [0.25, 0.5])
    assert rows[10]["stage_ms"] == [{"stage": "infer", "ms": 12.345678}]


@pytest.mark.parametrize("kind", ["--csv", "--parquet"])
def test_an_export_of_nothing_is_a_table_without_rows(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    said("export", write(tmp_path / "empty.sqlite"), kind, file)
    if kind == "--csv":
        assert file.read_text().splitlines() == [",".join(COLUMNS)]
    else:
        assert pyarrow.parquet.read_table(file).num_rows == 0


@pytest.mark.parametrize(
    ("asked", "seqs"),
    [
        (["--evaluation", "not_ok"], [11]),
        (["--part-id", "P004"], [4]),
        (["--since", "2026-11-22 06:30:00.001"], []),
        (["--until", "2026-11-22T07:30:00+01:00"], []),
        (["--since", "2026-11-22T06:30:00Z", "--evaluation", "UNDEFINED"], [12]),
    ],
)
def test_only_what_was_asked_for_is_exported(book: Path, asked: list[str], seqs: list[int]) -> None:
    rows = csv.DictReader(io.StringIO(said("export", book, "--csv", "-", *asked), newline=""))
    assert [int(row["seq"]) for row in rows] == seqs


def test_parts_without_a_result_are_told_beside_the_table(book: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(ledger, ["export", str(book), "--csv", str(tmp_path / "out.csv")])
    assert done.stderr.splitlines()[0] == "13 results written"
    assert done.stderr.splitlines()[1].startswith("1 parts have no result")


def test_a_file_is_not_overwritten_unless_forced_and_a_failure_leaves_the_old_one(book: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("old")
    assert "exists already" in refused("export", book, "--csv", file)
    with closing(sqlite3.connect(book)) as writer, writer:
        writer.execute("UPDATE results SET reason = 999 WHERE seq = 13")
    assert "does not know: 999" in refused("export", book, "--csv", file, "--force")
    assert file.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_whoever_reads_the_table_may_have_enough_before_its_end(tmp_path: Path) -> None:
    parts = [BookResult(None, result(trigger(seq)), told=True, replay=True) for seq in range(1, 2001)]
    path = write(tmp_path / "ledger.sqlite", *parts)
    program = "from edge_inspector.cli.ledger import ledger; ledger()"
    command = [sys.executable, "-c", program, "export", str(path), "--csv", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert export.stdout.readline().startswith(b"result_id,")
        export.stdout.close()
        assert (export.stderr.read(), export.wait(20)) == (b"", 0)


# --- audit -----------------------------------------------------------------------------------------------------------


def test_the_trail_is_shown_the_oldest_first(book: Path) -> None:
    lines = said("audit", book).splitlines()
    assert lines[1].split()[:4] == ["1", "2026-11-22", "06:30:00", "root"]
    assert r"spur 0.25 -> 0.5\x1b[31m" in " ".join(lines[1:])
    assert all(len(line) <= 80 for line in lines)
    assert ["2", "2026-11-22", "06:30:00?", "plc:line"] in [line.split()[:4] for line in lines]
    assert said("audit", book, "--last", "1").split()[4] == "2"
    assert [row["what"] for row in json.loads(said("audit", book, "--json"))] == ["recipe_changed", "recipe_selected"]


def test_an_edited_row_breaks_the_trail(book: Path) -> None:
    assert "unbroken" in said("audit", book, "--verify")
    with closing(sqlite3.connect(book)) as writer, writer:
        writer.execute("UPDATE audit SET who = 'nobody' WHERE id = 1")
    assert "row 1 of the audit trail: it or its hash was edited" in said("audit", book, "--verify", code=3)
    assert json.loads(said("audit", book, "--verify", "--json", code=3))["problems"]


def test_only_a_head_from_before_shows_that_the_end_is_gone(book: Path) -> None:
    head = json.loads(said("audit", book, "--verify", "--json"))["head"]
    with closing(sqlite3.connect(book)) as writer, writer:
        writer.execute("DELETE FROM audit WHERE id = 2")
    assert "unbroken" in said("audit", book, "--verify")
    assert "BROKEN" in said("audit", book, "--verify", "--head", head, code=3)


# --- what the user may get wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["reconcile", "nowhere.sqlite"], "is not there"),
        (["summary", "nowhere.toml"], "nowhere.toml"),
        (["reconcile", "{book}", "--since", "yesterday"], "'yesterday' is no time"),
        (["reconcile", "{book}", "--since", "0001-01-01"], "is no time"),
        (["reconcile", "{book}", "--since", "2026-11-23", "--until", "2026-11-22"], "is empty"),
        (["export", "{book}"], "give one file"),
        (["export", "{book}", "--csv", "a", "--parquet", "b"], "give one file"),
        (["export", "{book}", "--csv", "{book}/x.csv"], "cannot be written"),
        (["export", "{book}", "--parquet", "/dev/full/x"], "cannot be written"),
        (["audit", "{book}", "--head", "1:0"], "--verify"),
        (["audit", "{book}", "--verify", "--head", "gone"], "gone"),
    ],
)
def test_a_mistake_ends_with_2_and_a_sentence(words: list[str], complaint: str, book: Path) -> None:
    assert complaint in refused(*(word.format(book=book) for word in words))


@pytest.mark.parametrize("command", ["summary", "reconcile", "export", "audit"])
def test_each_commands_help_shows_an_example_of_it(command: str) -> None:
    assert f"edge-inspector ledger {command}" in said(command, "--help").partition("Example")[2]


def station_file(folder: Path, more: str) -> Path:
    file = folder / "station.toml"
    (folder / "state").mkdir()
    file.write_text(
        'schema = 1\n[station]\nname = "bench"\nrecipe = "spots"\nstate_dir = "state"\n'
        '[cameras.cam]\ntype = "folder"\npath = "pictures"\n[backend]\ntype = "onnxruntime"\n'
        '[recipes.spots]\nnumber = 7\ntrigger = "timer"\nperiod_s = 1.0\ndeadline_ms = 100.0\nbundle = "b"\n'
        'views = [{ camera = "cam" }]\n'
        f"{more}\n"
    )
    return file
