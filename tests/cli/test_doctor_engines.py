"""`edge-inspector doctor` on engines: built for this machine, for another one, damaged, proven or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_inspector import config
from edge_inspector.cli.doctor_engines import engine_finding, engine_findings, engines_asked, program
from edge_inspector.engine.fingerprint import Fingerprint
from edge_inspector.engine.passport import Outcome, Passport, Proof
from edge_inspector.engine.store import Stored
from edge_inspector.health.finding import Finding

FACTS = {
    "onnx_sha256": "a" * 64,
    "model_hash": "b" * 64,
    "decoder": "yolo",
    "gpu": "Orin",
    "library": "tensorrt 10.3.0",
}
WANTED = Fingerprint(FACTS)
BUILD = "edge-inspector engine build boards --station s.toml"


def stored(fingerprint: Fingerprint = WANTED, outcome: Outcome = "passed") -> Stored:
    passport = Passport(
        digest=fingerprint.digest,
        facts=dict(fingerprint.facts),
        bundle="boards",
        version="1.0.0",
        built_utc="2026-11-22T06:00:00Z",
        build_s=1.5,
        proof=Proof(outcome=outcome, text="24 good, 24 bad"),
    )
    return Stored(Path(fingerprint.digest), 10, passport)


def told(*there: Stored) -> Finding:
    return engine_finding("boards 1.0.0", WANTED, there, BUILD)


@pytest.mark.parametrize(("outcome", "level"), [("passed", "ok"), ("failed", "fail"), ("unverified", "warn")])
def test_an_engine_for_this_machine_is_as_good_as_its_proof(outcome: Outcome, level: str) -> None:
    one = told(stored(outcome=outcome))
    assert (one.subject, one.level) == ("boards 1.0.0", level)
    assert one.found == f"{WANTED.digest[:12]}, built 2026-11-22T06:00:00Z, {outcome}: 24 good, 24 bad"
    assert one.remedy == ("" if level == "ok" else f"{BUILD} --again")


def test_an_engine_of_another_tensorrt_names_what_differs() -> None:
    one = told(stored(Fingerprint({**FACTS, "library": "tensorrt 10.1.0", "l4t": "36.3.0"})))
    assert (one.level, one.remedy) == ("warn", BUILD)
    assert one.found == "built for another one: l4t 36.3.0, here -; library tensorrt 10.1.0, here tensorrt 10.3.0"


def test_an_engine_of_another_model_is_none() -> None:
    one = told(stored(Fingerprint({**FACTS, "model_hash": "c" * 64})))
    assert (one.level, one.found) == ("warn", "none is built")


def test_a_damaged_engine_says_what_is_wrong_with_it() -> None:
    one = told(Stored(Path(WANTED.digest), 10, None, "passport.json is missing"))
    assert (one.level, one.found) == ("warn", f"{WANTED.digest[:12]}: passport.json is missing")


STATION = """\
schema = 1
[station]
name = "s"
recipe = "r"
state_dir = "state"
[cameras.top]
type = "folder"
path = "."
[backend]
type = "{backend}"
[recipes.r]
number = 1
trigger = "timer"
period_s = 1.0
bundle = "pcb-demo"
views = [{{ camera = "top" }}]
"""


@pytest.mark.parametrize(("backend", "needed"), [("tensorrt", True), ("onnxruntime", False)])
def test_only_a_station_on_tensorrt_needs_jetpacks(tmp_path: Path, backend: str, needed: bool) -> None:
    file = tmp_path / "station.toml"
    file.write_text(STATION.format(backend=backend))
    assert program(config.draft(file)).needed is needed
    assert program(None).needed is False
    file.write_text("schema = 1\n")
    assert program(config.draft(file)).needed is False


def of_station(folder: Path, backend: str) -> list[Finding]:
    file = folder / "station.toml"
    file.write_text(STATION.format(backend=backend))
    return list(engine_findings(file, config.load(file)))


def test_a_backend_that_runs_onnx_files_needs_no_engine(tmp_path: Path) -> None:
    (one,) = of_station(tmp_path, "onnxruntime")
    assert (one.check, one.subject, one.level) == ("engine.backend", "onnxruntime", "ok")
    assert one.found.startswith("onnxruntime 1.")


def test_a_backend_whose_library_is_missing_fails_in_its_own_words(tmp_path: Path) -> None:
    """No machine on which these tests run has JetPack's tensorrt and a driver."""
    pytest.importorskip("edge_inspector.backends.tensorrt")
    (one,) = of_station(tmp_path, "tensorrt")
    assert (one.check, one.level) == ("engine.backend", "fail")
    assert "tensorrt" in one.found.lower()


def asked(folder: Path, script: str, limit_s: float = 30.0) -> list[Finding]:
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return list(engines_asked(folder / "station.toml", limit_s, str(python)))


@pytest.mark.parametrize(
    ("script", "limit_s", "found"),
    [
        ("exec sleep 60", 0.2, "has not answered within 0.2 s"),
        ("kill -SEGV $$", 30.0, "it was ended by signal 11; it said nothing"),
        ("echo 'a: driver'>&2; exit 3", 30.0, "a: driver"),
        ("echo no JSON", 30.0, "Expecting value"),
    ],
)
def test_a_gpu_that_hangs_or_crashes_fails_and_ends_only_the_program_that_asked(
    tmp_path: Path, script: str, limit_s: float, found: str
) -> None:
    (one,) = asked(tmp_path, script, limit_s)
    assert (one.check, one.level) == ("engine.backend", "fail")
    assert found in one.found
    assert "dmesg" in one.remedy


def test_findings_come_through_whatever_else_the_libraries_print(tmp_path: Path) -> None:
    (one,) = asked(
        tmp_path,
        """echo '[TRT] hello'; echo '== findings [{"check": "c", "subject": "", "level": "ok", "found": "f"}]'""",
    )
    assert one == Finding("c", "", "ok", "f")
