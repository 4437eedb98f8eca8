"""The demo as a user runs it: real pylon, real processes, a PLC with its own log, an independent subscriber."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "pcb" / "test"


def run_demo(folder: Path, *arguments: str, timeout_s: float = 110) -> dict[str, Any]:
    """The report of a demo that ended with 0."""
    report = folder / "out.json"
    command = [sys.executable, "-m", "edge_inspector", "demo", "--report", str(report), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s, cwd=folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(report.read_text())
    return result


def assert_all_agree(report: dict[str, Any], parts: int) -> None:
    assert report["balanced"] is True
    assert report["disagreements"] == []
    assert (report["lost"], report["duplicated"], report["plc"]["wrong_part_id"]) == (0, 0, 0)
    assert report["parts"]["triggered"] == report["parts"]["accepted"] == report["parts"]["settled"] == parts
    assert report["plc"]["results_read"] == report["plc"]["acknowledged"] == parts
    assert report["mqtt"]["published"] == report["mqtt"]["received"] == parts
    assert report["ledger"] == {"triggers": parts, "results": parts, "outbox_pending": 0}


def test_every_part_is_told_once_and_published_once(tmp_path: Path) -> None:
    report = run_demo(tmp_path, "--parts", "15", "--rate", "10")
    assert_all_agree(report, 15)
    assert report["truth"]["judged"] == 15
    assert report["truth"]["escapes"]["count"] == 0
    stages = report["latency_ms"]["stages"]
    assert {"acquire", "prepare", "queue", "infer", "finish", "tell"} <= set(stages)


@pytest.mark.heavy
def test_two_cameras_give_one_verdict_a_part(tmp_path: Path) -> None:
    assert_all_agree(run_demo(tmp_path, "--parts", "8", "--cameras", "2"), 8)


@pytest.mark.heavy
def test_killed_twice_the_books_still_balance_and_plc_and_ledger_agree(tmp_path: Path) -> None:
    """A kill may cut a part in two: then it is UNDEFINED in the ledger and without a result at the PLC."""
    kills = ("--kill-after", "6", "--kill-after", "14")
    report = run_demo(tmp_path, "--parts", "24", "--rate", "10", *kills)
    assert report["restarts"] == 2
    assert report["balanced"] is True
    assert report["disagreements"] == []
    assert (report["lost"], report["duplicated"], report["plc"]["wrong_part_id"]) == (0, 0, 0)
    cut = report["plc"]["without_result"] + report["plc"]["unanswered"]
    assert report["plc"]["results_read"] + cut == 24
    assert report["parts"]["accepted"] == report["parts"]["settled"] == report["mqtt"]["received"]


def test_a_bad_argument_ends_with_2_and_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge_inspector", "demo", "--pictures", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--pictures needs --truth" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.realdata
@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_real_boards_go_through_the_whole_station(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the real boards are not beside this checkout (../shared/data/pcb/test)")
    pictures = ("--pictures", str(SHARED / "images"), "--pictures", str(SHARED / "templates"))
    truth = ("--truth", str(SHARED / "annotations_coco.json"))
    report = run_demo(tmp_path, "--parts", "243", "--rate", "20", *pictures, *truth, timeout_s=550)
    assert_all_agree(report, 243)
    assert report["truth"]["judged"] == 243
    assert report["truth"]["escapes"]["total"] == 182
    assert report["truth"]["overkill"]["total"] == 61
