"""The store of engines: what is damaged is never given out, and a builder that dies leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from edge_inspector.engine import files, passport
from edge_inspector.engine.fingerprint import Fingerprint
from edge_inspector.engine.passport import FileSum, Passport, Proof, read_passport
from edge_inspector.engine.store import Engine, EngineStore, StoreBusyError
from edge_inspector.errors import ConfigError

PLAN = bytes(range(256)) * 40
FACTS = {
    "onnx_sha256": "a" * 64,
    "model_hash": "b" * 64,
    "decoder": "yolo",
    "backend": "tensorrt",
    "builder.precision": "fp16",
    "builder.calibration": "",
    "builder.compact_rows": "300",
    "library.onnx": "1.19",
    "option.workspace_mb": "1024",
    "gpu": "Orin",
    "tensorrt": "10.3",
}
WANTED = Fingerprint(FACTS)
PASSED = Proof(outcome="passed", text="all the same", good=24, bad=24)


def other(**facts: str) -> Fingerprint:
    return Fingerprint({**FACTS, **{name.replace("__", "."): value for name, value in facts.items()}})


def write(folder: Path, fingerprint: Fingerprint, proof: Proof, built: str) -> None:
    (folder / "deep").mkdir()
    (folder / "plan").write_bytes(PLAN)
    (folder / "deep" / "cache").write_bytes(b"timings")
    made = Passport(
        digest=fingerprint.digest,
        facts=dict(fingerprint.facts),
        bundle="boards",
        version="1.0.0",
        built_utc=built,
        build_s=1.5,
        report={"layers": {"conv": "fp16"}},
        files=files.sums(folder),
        proof=proof,
    )
    (folder / passport.FILE).write_bytes(made.to_json())


def add(
    store: EngineStore,
    fingerprint: Fingerprint = WANTED,
    proof: Proof = PASSED,
    built: str = "2026-11-22T06:00:00Z",
) -> Engine:
    with store.building(fingerprint) as folder:
        write(folder, fingerprint, proof, built)
    found = store.find(fingerprint)
    assert found is not None
    return found


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "state" / "engines")


def test_what_was_built_is_found_with_its_passport_and_nothing_else_is(store: EngineStore) -> None:
    engine = add(store)
    assert engine.folder == store.folder / WANTED.digest
    assert engine.passport.proof == PASSED
    assert engine.passport.files.keys() == {"plan", "deep/cache"}
    assert engine.engine_dir == str(engine.folder)
    assert store.find(other(gpu="Xavier")) is None


def test_a_proof_alone_names_no_folder_to_load(store: EngineStore) -> None:
    engine = add(store)
    bare = engine.passport.model_copy(update={"files": {}})
    assert Engine(engine.folder, bare).engine_dir == ""


def flip_a_byte(folder: Path) -> None:
    flipped = bytearray(PLAN)
    flipped[len(PLAN) // 2] ^= 1
    (folder / "plan").write_bytes(flipped)


def edit_the_outcome(folder: Path) -> None:
    path = folder / passport.FILE
    text = path.read_text()
    assert text.count('"passed"') == 1
    path.write_text(text.replace('"passed"', '"unverified"'))


def name_a_file_elsewhere(folder: Path) -> None:
    (folder / "plan").unlink()
    (folder.parent / "plan").write_bytes(PLAN)
    (folder / "plan").symlink_to(folder.parent / "plan")


def move_behind_a_link(folder: Path) -> None:
    aside = folder.with_name("elsewhere")
    folder.rename(aside)
    folder.symlink_to(aside)


def content(change: Callable[[Path], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / passport.FILE).write_bytes(change(folder)) and None


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated plan": lambda folder: os.truncate(folder / "plan", len(PLAN) - 1),
    "empty plan": lambda folder: os.truncate(folder / "plan", 0),
    "flipped bit": flip_a_byte,
    "missing plan": lambda folder: (folder / "plan").unlink(),
    "missing file in a folder": lambda folder: (folder / "deep" / "cache").unlink(),
    "a file more": lambda folder: (folder / "new.plan").write_bytes(b""),
    "a plan that is a link": name_a_file_elsewhere,
    "a folder that is a link": move_behind_a_link,
    "a plan that is a pipe": lambda folder: (
        (folder / "plan").unlink(),
        os.mkfifo(folder / "plan"),
    ),
    "missing passport": lambda folder: (folder / passport.FILE).unlink(),
    "truncated passport": lambda folder: os.truncate(folder / passport.FILE, 200),
    "edited outcome": edit_the_outcome,
    "passport that is no object": content(lambda folder: b"[]"),
    "passport that is nested absurdly": content(lambda folder: b"[" * 100_000),
    "passport with NaN": content(lambda folder: b'{"schema": 1, "build_s": NaN, "sum": ""}'),
    "passport of zeros": content(lambda folder: bytes(4096)),
    "a passport that is a folder": lambda folder: ((folder / passport.FILE).unlink(), (folder / passport.FILE).mkdir()),
    "a huge passport": lambda folder: os.truncate(folder / passport.FILE, files.PASSPORT_BYTES + 1),
    "a file in place of the folder": lambda folder: (files.remove(folder), folder.write_bytes(b"plan")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_set_aside_and_told_once(store: EngineStore, damage: Callable[[Path], object]) -> None:
    folder = add(store).folder
    damage(folder)
    with capture_logs() as logs:
        assert store.find(WANTED) is None
        assert store.find(WANTED) is None
        assert store.last_good(WANTED) is None
    aside = folder.with_name(f"{folder.name}.damaged")
    assert [(line["event"], line["set_aside"]) for line in logs] == [("engine_damaged", str(aside))]
    assert not os.path.lexists(folder)
    assert os.path.lexists(aside)
    assert add(store).folder == folder, "a new one can be built in its place"


def test_an_engine_under_the_name_of_another_is_never_given_out(store: EngineStore) -> None:
    folder = add(store, other(gpu="Xavier")).folder
    folder.rename(store.folder / WANTED.digest)
    with capture_logs() as logs:
        assert store.find(WANTED) is None
    assert "renamed" in logs[0]["why"]


def test_a_second_damaged_one_takes_the_place_of_the_first(store: EngineStore) -> None:
    for _ in range(2):
        flip_a_byte(add(store).folder)
        assert store.find(WANTED) is None
    assert [one.folder.name for one in store.list()] == [f"{WANTED.digest}.damaged"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), which=st.sampled_from(["plan", passport.FILE])
)
def test_no_changed_byte_goes_unseen(store: EngineStore, where: float, bits: int, which: str) -> None:
    engine = store.find(WANTED) or add(store)
    path = engine.folder / which
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[int(where * len(changed))] ^= bits
    path.write_bytes(changed)
    with capture_logs():
        found = store.find(WANTED)
    aside = engine.folder.with_name(f"{WANTED.digest}.damaged")
    if aside.exists():
        aside.rename(engine.folder)
    path.write_bytes(whole)
    # a blank between two keys may turn into another blank: then nothing has changed
    assert found is None or (which == passport.FILE and found == engine)


def test_an_edit_by_hand_is_seen_even_where_every_value_is_allowed(store: EngineStore) -> None:
    document = json.loads((add(store).folder / passport.FILE).read_bytes())
    document["proof"]["overkill"] = 1
    with pytest.raises(passport.DamagedPassportError, match="not as it was written"):
        read_passport(json.dumps(document).encode())


def test_a_passport_of_a_later_version_is_left_where_it_is(store: EngineStore) -> None:
    folder = add(store).folder
    document = json.loads((folder / passport.FILE).read_bytes())
    (folder / passport.FILE).write_text(json.dumps({**document, "schema": 2}))
    with capture_logs() as logs:
        assert store.find(WANTED) is None
        assert store.find(WANTED) is None
    assert [line["event"] for line in logs] == ["engine_of_later_version"]
    assert folder.is_dir()
    assert add(store).folder == folder, "it does not keep this version from building its own"


@pytest.fixture
def of_another_user(store: EngineStore) -> Engine:
    engine = add(store)
    (engine.folder / "plan").chmod(0)
    return engine


def test_an_engine_of_another_user_is_told_with_what_to_do(
    of_another_user: Engine, ordinary_user: None, store: EngineStore
) -> None:
    with pytest.raises(ConfigError, match=r"may not be read.*chown"):
        store.find(WANTED)
    assert of_another_user.folder.is_dir()


def test_a_folder_that_may_not_be_written_is_told(ordinary_user: None, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="let this user write there"),
        EngineStore(Path("/proc/engines")).building(WANTED),
    ):
        pytest.fail("nothing can be built there")


def run_full(folder: Path) -> None:
    write(folder, WANTED, PASSED, "2026-11-22T07:00:00Z")
    files.write_through(Path("/dev/full"), PLAN)


def test_a_full_disk_leaves_the_engine_before_and_no_half_one(store: EngineStore) -> None:
    before = add(store)
    with pytest.raises(ConfigError, match=r"No space left.*prune"), store.building(WANTED) as folder:
        run_full(folder)
    assert store.find(WANTED) == before
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", WANTED.digest]


def test_a_build_without_a_passport_changes_nothing(store: EngineStore) -> None:
    before = add(store)
    with store.building(WANTED) as folder:
        (folder / "plan").write_bytes(b"half")
        (folder.parent / "typed.onnx").write_bytes(b"beside it")
    assert store.find(WANTED) == before
    assert not folder.parent.exists()


def test_a_new_engine_takes_the_place_of_the_one_before(store: EngineStore) -> None:
    add(store)
    later = add(store, built="2026-11-22T09:00:00Z")
    assert later.passport.built_utc == "2026-11-22T09:00:00Z"
    assert [one.folder for one in store.list()] == [later.folder]


KILLED = """
import os, signal, sys
from pathlib import Path
from edge_inspector.engine.fingerprint import Fingerprint
from edge_inspector.engine.store import EngineStore
with EngineStore(Path(sys.argv[1])).building(Fingerprint({"a": "b"})) as folder:
    (folder / "plan").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_builder_left_is_gone_with_the_next_build(store: EngineStore) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(store.folder)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (store.folder / ".building" / "engine" / "plan").is_file(), "it was killed in the middle"
    with store.building(WANTED) as folder:
        assert list(folder.iterdir()) == []
    assert not (store.folder / ".building").exists()


def test_an_engine_that_a_killed_builder_had_moved_away_comes_back(store: EngineStore) -> None:
    before = add(store)
    before.folder.rename(store.folder / f".old-{WANTED.digest}")
    assert store.find(WANTED) is None
    with store.building(other(gpu="Xavier")):
        pass
    assert store.find(WANTED) == before


def test_one_builds_at_a_time_and_the_other_is_told_who(store: EngineStore) -> None:
    again = EngineStore(store.folder)
    with store.building(WANTED), pytest.raises(StoreBusyError, match=f"process {os.getpid()} "), again.building(WANTED):
        pytest.fail("two builders at once")


def test_the_second_builder_waits_for_the_first(store: EngineStore) -> None:
    told: list[str] = []
    with ExitStack() as first:
        folder = first.enter_context(store.building(WANTED))
        write(folder, WANTED, PASSED, "2026-11-22T06:00:00Z")

        def waiting(text: str) -> None:
            told.append(text)
            first.close()

        with EngineStore(store.folder).building(WANTED, 60.0, waiting):
            assert store.find(WANTED) is not None, "what the first has built is there"
    assert len(told) == 1
    assert store.find(WANTED) is not None


def test_nothing_is_moved_while_somebody_builds(store: EngineStore) -> None:
    folder = add(store).folder
    flip_a_byte(folder)
    with EngineStore(store.folder).building(WANTED), capture_logs() as logs:
        assert store.find(WANTED) is None
        assert store.find(WANTED) is None
    assert [line["event"] for line in logs] == ["engine_damaged"]
    assert folder.is_dir()


def test_a_new_proof_is_kept_and_found(store: EngineStore) -> None:
    engine = add(store)
    failed = Proof(outcome="failed", text="a picture flipped", good=24, bad=24)
    assert store.renew(engine, failed) == store.find(WANTED)
    assert [one.passport and one.passport.proof.outcome for one in store.list()] == ["failed"]


SERVES: dict[str, tuple[Fingerprint, Proof, bool]] = {
    "another precision": (other(builder__precision="fp32"), PASSED, True),
    "another calibration": (other(builder__calibration="c" * 64), PASSED, True),
    "other rows": (other(builder__compact_rows="0"), PASSED, True),
    "another option": (other(option__workspace_mb="64"), PASSED, True),
    "made by another library": (other(library__onnx="1.17"), PASSED, True),
    "another GPU": (other(gpu="Xavier"), PASSED, False),
    "another TensorRT": (other(tensorrt="10.13"), PASSED, False),
    "a fact more": (other(cuda="12.6"), PASSED, False),
    "another backend": (other(backend="openvino"), PASSED, False),
    "other weights": (other(onnx_sha256="c" * 64), PASSED, False),
    "another threshold": (other(model_hash="c" * 64), PASSED, False),
    "another decoder": (other(decoder="yolov5"), PASSED, False),
    "failed": (other(builder__precision="int8"), PASSED.model_copy(update={"outcome": "failed"}), False),
    "unverified": (other(builder__precision="int8"), PASSED.model_copy(update={"outcome": "unverified"}), False),
}


@pytest.mark.parametrize(("there", "proof", "serves"), SERVES.values(), ids=SERVES)
def test_an_older_engine_serves_only_the_same_model_on_the_same_machine(
    store: EngineStore, there: Fingerprint, proof: Proof, serves: bool
) -> None:
    engine = add(store, there, proof)
    assert store.last_good(WANTED) == (engine if serves else None)


def test_the_newest_whole_one_serves(store: EngineStore) -> None:
    old = add(store, other(builder__precision="fp32"), built="2026-11-20T06:00:00Z")
    new = add(store, other(builder__precision="int8"), built="2026-11-21T06:00:00Z")
    assert store.last_good(WANTED) == new
    flip_a_byte(new.folder)
    with capture_logs():
        assert store.last_good(WANTED) == old


def test_an_older_engine_serves_only_where_its_proof_is_of_what_is_asked_for(store: EngineStore) -> None:
    wide = PASSED.model_copy(update={"thresholds": ((0.9,),)})
    old = add(store, other(builder__precision="fp32"), wide, built="2026-11-20T06:00:00Z")
    new = add(store, other(builder__precision="int8"), built="2026-11-21T06:00:00Z")
    assert store.last_good(WANTED) == new
    assert store.last_good(WANTED, lambda proof: (0.9,) in proof.thresholds) == old
    assert store.last_good(WANTED, lambda proof: (0.8,) in proof.thresholds) is None


def test_a_proof_without_an_engine_serves_nobody_else(store: EngineStore) -> None:
    there = other(option__threads="1")
    with store.building(there) as folder:
        write(folder, there, PASSED, "2026-11-22T06:00:00Z")
        for name in ("plan", "deep"):
            files.remove(folder / name)
        made = read_passport((folder / passport.FILE).read_bytes())
        (folder / passport.FILE).write_bytes(made.model_copy(update={"files": {}}).to_json())
    assert store.find(there) is not None
    assert store.last_good(WANTED) is None


def test_prune_keeps_what_is_named_and_leaves_what_is_not_ours(store: EngineStore) -> None:
    kept, gone = add(store), add(store, other(gpu="Xavier"))
    flip_a_byte(add(store, other(gpu="Nano")).folder)
    with capture_logs():
        assert store.find(other(gpu="Nano")) is None
    (store.folder / "timing.cache").write_bytes(b"of the backend")
    of_one = files.size_of(gone.folder)
    assert store.prune({kept.passport.digest}) == 2 * of_one + len("Nano") - len("Xavier")
    assert store.find(WANTED) == kept
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", WANTED.digest, "timing.cache"]


def test_prune_waits_for_nobody(store: EngineStore) -> None:
    add(store)
    with EngineStore(store.folder).building(WANTED), pytest.raises(StoreBusyError):
        store.prune(set())
    assert store.find(WANTED) is not None


def test_a_store_that_was_never_used_is_empty(store: EngineStore) -> None:
    assert (store.find(WANTED), store.last_good(WANTED), list(store.list()), store.prune(set())) == (None, None, [], 0)
    assert not store.folder.exists(), "looking makes no folder"


def test_the_list_says_what_cannot_be_used_and_moves_nothing(store: EngineStore) -> None:
    add(store, built="2026-11-20T06:00:00Z")
    newest = add(store, other(gpu="Xavier"), built="2026-11-21T06:00:00Z")
    (add(store, other(gpu="Nano")).folder / passport.FILE).write_bytes(b"{}")
    listed = store.list()
    assert [one.passport is not None for one in listed] == [True, True, False]
    assert listed[0].folder == newest.folder
    assert "sum" in listed[2].problem
    assert listed[2].folder.is_dir()


def test_sums_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert files.sums(tmp_path) == {"plan": FileSum(sha256=sha256, size=3)}
