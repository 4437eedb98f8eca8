# ruff: noqa: E501 - a row of a table reads best on one line
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector import config, plugins
from edge_inspector.config import Problem, StationFileError

ROOT = Path(__file__).parents[1]
STATION = """\
schema = 1

[station]
name = "cell1"
recipe = "board"
max_open = 4

[cameras.top]
type = "basler"
serial = "1"

[cameras.side]
type = "folder"
path = "pictures"

[backend]
type = "onnxruntime"

[recipes.board]
number = 1
trigger = "plc"
bundle = "pcb-demo"
deadline_ms = 500.0
views = [{ camera = "top", roi = { x = 0, y = 0, width = 8, height = 8 } }, { camera = "side" }]
thresholds = { open = 0.5 }

[recipes.lid]
number = 2
trigger = "timer"
period_s = 0.5
bundle = "pcb-demo"
views = [{ camera = "side" }]

[plc.line]
type = "opcua_server"
port = 4840

[publishers.plant]
type = "mqtt"
host = "broker"

[log]
level = "info"
"""
ROI = "roi = { x = 0, y = 0, width = 8, height = 8 }"
TABLE = "expected a table"
UNKNOWN = "is not a known key; see `edge-inspector schema`"
DEEP = "is nested too deeply"


def broken(folder: Path, old: str, new: str) -> list[Problem]:
    assert STATION.count(old) == 1
    path = folder / "station.toml"
    path.write_text(STATION.replace(old, new), encoding="utf-8")
    with pytest.raises(StationFileError) as caught:
        config.load(path)
    assert all(problem.file == path for problem in caught.value.problems)
    return caught.value.problems


def test_the_station_file_of_these_tests_is_right(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(STATION)
    station = config.load(path)
    assert station.station.name == "cell1"
    assert [view.camera for view in station.recipes["board"].views] == ["top", "side"]


def test_relative_paths_are_meant_beside_the_station_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    text = STATION.replace('host = "broker"', 'username = "u"\npassword_file = "p"\ntls = { ca_file = "ca" }')
    (tmp_path / "station.toml").write_text(text)
    monkeypatch.chdir(tmp_path.parent)
    station = config.load(Path(tmp_path.name) / "station.toml")
    side, plant = station.cameras["side"], station.publishers["plant"]
    assert (side.path, plant.password_file, plant.tls.ca_file) == (
        tmp_path / "pictures",
        tmp_path / "p",
        tmp_path / "ca",
    )
    assert (station.station.state_dir, station.station.runtime) == (tmp_path / "state", tmp_path / "state" / "run")


def test_without_paths_of_its_own_a_service_uses_the_folders_that_systemd_gives(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/station")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/station")
    path = tmp_path / "station.toml"
    path.write_text(STATION)
    station = config.load(path).station
    assert (station.state_dir, station.runtime) == (Path("/var/lib/station"), Path("/run/station"))


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + STATION.encode(), STATION.replace("\n", "\r\n").encode()])
def test_a_file_saved_by_an_editor_of_windows_is_right(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "station.toml"
    path.write_bytes(content)
    assert config.load(path).station.name == "cell1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "no such file; give the path", id="a file that is not there"),
        pytest.param(b"[station\nname=", "is not TOML: ", id="a syntax error"),
        pytest.param(b'name = "a\nb"', "is not TOML: ", id="a string over two lines"),
        pytest.param(b"schema = 1\nschema = 1\n", "is not TOML: ", id="a key given twice"),
        pytest.param(b"[log]\n[log]\n", "is not TOML: ", id="a table given twice"),
        pytest.param(b"schema = 1\n# \xff\xfe", "is not UTF-8 text (byte 13)", id="bytes that are no UTF-8"),
        pytest.param("schema = 1".encode("utf-16"), "is not UTF-8 text (byte 0)", id="a file saved as UTF-16"),
        pytest.param(b"\x00" * 9, "is not TOML: ", id="zeros, as after a power cut"),
        pytest.param(b"a = " + b"9" * 5000, "is not TOML: ", id="a number of 5000 digits"),
        pytest.param(b"a = " + b"[" * 5000, DEEP, id="5000 opening brackets"),
        pytest.param(b"[log]\nlevel = '\x01'", "is not TOML: ", id="a raw control character"),
    ],
)
def test_what_is_no_station_file_at_all_is_one_problem_of_the_file(tmp_path, content: bytes | None, said: str) -> None:
    path = tmp_path / "station.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StationFileError) as caught:
        config.load(path)
    (problem,) = caught.value.problems
    assert (problem.key, problem.value) == ("", "")
    assert problem.expected.startswith(said)
    assert "\n" not in str(problem)


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(StationFileError, match="is a folder"):
        config.load(tmp_path)


def test_a_path_that_goes_through_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StationFileError, match="cannot be read: Not a directory"):
        config.load(tmp_path / "file" / "station.toml")


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    path = tmp_path / "station.toml"
    path.write_text(STATION)
    path.chmod(0)
    return path


@pytest.mark.usefixtures("locked", "ordinary_user")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    with pytest.raises(StationFileError, match="may not be read by this user"):
        config.load(path)


def test_an_empty_file_lacks_every_required_key(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text("")
    with pytest.raises(StationFileError) as caught:
        config.load(path)
    assert [problem.key for problem in caught.value.problems] == ["schema", "station", "cameras", "backend", "recipes"]
    assert {problem.expected for problem in caught.value.problems} == {"is missing: this key is required"}


BROKEN = [
    # what is wrong, old, new, key, value, expected
    ("an unknown table at the top", "[log]", "[logs]", "logs", "", UNKNOWN),
    ("an unknown key at the top", "schema = 1", "schema = 1\nname = 'x'", "name", "'x'", UNKNOWN),
    ("a version of the layout that is not ours", "schema = 1", "schema = 2", "schema", "2", "expected 1"),
    ("no version of the layout", "schema = 1\n", "", "schema", "", "is missing"),
    ("no name of the station", 'name = "cell1"\n', "", "station.name", "", "is missing"),
    ("a station named with a space", '"cell1"', '"cell 1"', "station.name", "'cell 1'", "expected a name"),
    ("a station named with an emoji", '"cell1"', '"cell🏭"', "station.name", "'cell🏭'", "expected a name"),
    ("a station named with an accent", '"cell1"', '"célula"', "station.name", "'célula'", "expected a name"),
    ("a station with an empty name", '"cell1"', '""', "station.name", "''", "expected a name"),
    ("a station whose name ends a line", '"cell1"', '"cell\\n"', "station.name", "'cell\\n'", "expected a name"),
    ("a name of 5000 letters", '"cell1"', f'"{"x" * 5000}"', "station.name", f"'{'x' * 76}...", "expected a name"),
    ("a name that is a wildcard", '"cell1"', '"+"', "station.name", "'+'", "expected a name"),
    ("a station that is no table", "[station]", "station = 3\n[stations]", "station", "3", TABLE),
    ("too many open parts", "max_open = 4", "max_open = 65", "station.max_open", "65", "less than or equal to 64"),
    ("a bool for a number", "max_open = 4", "max_open = true", "station.max_open", "True", "expected a valid integer"),
    ("text for a number", "max_open = 4", 'max_open = "4"', "station.max_open", "'4'", "expected a valid integer"),
    ("a fraction for a count", "max_open = 4", "max_open = 4.0", "station.max_open", "4.0", "expected a valid integer"),
    (
        "a date for a number",
        "max_open = 4",
        "max_open = 2026-01-01",
        "station.max_open",
        "'2026-01-01'",
        "valid integer",
    ),
    ("a number for a path", "max_open = 4", "state_dir = 3", "station.state_dir", "3", "expected a valid string"),
    (
        "a home folder of nobody",
        "max_open = 4",
        'state_dir = "~no-such-user/x"',
        "station.state_dir",
        "'~no-such-user/x'",
        "begins with the home folder of a user whom this machine does not have",
    ),
    (
        "a zero byte in a path",
        "max_open = 4",
        'state_dir = "a\\u0000"',
        "station.state_dir",
        "'a\\x00'",
        "without control characters",
    ),
    (
        "an active recipe that is not there",
        'recipe = "board"',
        'recipe = "bord"',
        "station.recipe",
        "'bord'",
        "expected the name of a recipe: board, lid",
    ),
    ("an unknown make of camera", '"basler"', '"webcam"', "cameras.top.type", "'webcam'", "one of basler, folder"),
    ("a camera without a type", 'type = "basler"\n', "", "cameras.top.type", "", "is missing; expected one of basler"),
    ("a camera whose type is a number", '"basler"', "3", "cameras.top.type", "'3'", "expected one of basler, folder"),
    ("a key that a Basler camera does not have", 'serial = "1"', "path = 'x'", "cameras.top.path", "'x'", UNKNOWN),
    ("a key that a folder camera does not have", 'path = "pictures"', 'path = "."\nip = "x"', "cameras.side.ip", "'x'", UNKNOWN),
    ("a key named as the camera's type", 'serial = "1"', "basler = 1", "cameras.top.basler", "1", UNKNOWN),
    ("a folder camera without a folder", 'path = "pictures"', "", "cameras.side.path", "", "is missing"),
    ("a number for a serial number", 'serial = "1"', "serial = 1", "cameras.top.serial", "1", "expected a valid string"),
    ("an exposure of infinity", 'serial = "1"', "features = { ExposureTime = inf }", "cameras.top.features.ExposureTime", "inf", "finite number"),
    ("a feature that is a list", 'serial = "1"', "features = { Gain = [1] }", "cameras.top.features.Gain", "[1]", "expected true, false, a number or text"),
    ("a trigger mode among the features", 'serial = "1"', 'features = { TriggerMode = "On" }', "cameras.top.features", "", "is set by the key trigger"),
    ("an unknown pixel format", 'path = "pictures"', 'path = "p"\npixel_format = "RAW"', "cameras.side.pixel_format", "'RAW'", "'Mono8'"),
    ("a gate beyond full scale", 'serial = "1"', "gate = { max_saturated = 2 }", "cameras.top.gate.max_saturated", "2", "less than or equal to 1"),
    ("a camera with a space in its name", "[cameras.side]", '[cameras."the side"]', 'cameras."the side"', "'the side'", "expected a name"),
    ("a camera with two lines in its name", "[cameras.side]", '[cameras."a\\nb"]', 'cameras."a\\nb"', "'a\\nb'", "expected a name"),
    ("a camera that is no table", "[cameras.side]", "[cameras]\nside = 3\n[camera]", "cameras.side", "3", TABLE),
    ("a backend of an unknown type", '"onnxruntime"', '"tensorrt9"', "backend.type", "'tensorrt9'", "one of onnxruntime"),
    ("a backend without a type", 'type = "onnxruntime"\n', "", "backend.type", "", "is missing; expected one of onnxruntime"),
    ("a key that the backend does not have", '"onnxruntime"', '"onnxruntime"\nfp16 = true', "backend.fp16", "True", UNKNOWN),
    ("no thread at all", '"onnxruntime"', '"onnxruntime"\nthreads = 0', "backend.threads", "0", "equal to 1"),
    ("a recipe number of 0", "number = 1", "number = 0", "recipes.board.number", "0", "greater than or equal to 1"),
    ("a recipe number of 70000", "number = 1", "number = 70000", "recipes.board.number", "70000", "equal to 65535"),
    ("a recipe number beyond 64 bits", "number = 1", "number = 0x1" + "0" * 16, "recipes.board.number", "an integer too large to print", "64 bits"),
    ("a recipe number of 6000 hexadecimal digits", "number = 1", "number = 0x" + "f" * 6000, "recipes.board.number", "an integer too large to print", "64 bits"),
    ("two recipes with one number", "number = 2", "number = 1", "recipes.lid.number", "1", "is already the number of recipe 'board'"),
    ("a recipe with a dot in its name", "[recipes.lid]", '[recipes."li.d"]', 'recipes."li.d"', "'li.d'", "expected a name"),
    ("an unknown trigger", '"timer"', '"foot switch"', "recipes.lid.trigger", "'foot switch'", "expected 'plc', 'announced', 'line' or 'timer'"),
    ("a timer without its period", "period_s = 0.5", "", "recipes.lid.period_s", "", "is missing: trigger = 'timer' needs"),
    ("a period without a timer", "deadline_ms = 500.0", "period_s = 0.5", "recipes.board.period_s", "0.5", "only trigger = 'timer'"),
    ("a period that is no number", "period_s = 0.5", "period_s = nan", "recipes.lid.period_s", "nan", "equal to 3600"),
    ("a period of infinity", "period_s = 0.5", "period_s = inf", "recipes.lid.period_s", "inf", "equal to 3600"),
    ("a period of nothing", "period_s = 0.5", "period_s = 0", "recipes.lid.period_s", "0", "greater than 0"),
    ("a deadline that is negative", "deadline_ms = 500.0", "deadline_ms = -1.5", "recipes.board.deadline_ms", "-1.5", "greater than 0"),
    ("a margin as long as the deadline", "deadline_ms = 500.0", "deadline_ms = 5\noutput_margin_ms = 5", "recipes.board.output_margin_ms", "5", "expected less than deadline_ms (5)"),
    ("a margin of infinity", "deadline_ms = 500.0", "output_margin_ms = inf", "recipes.board.output_margin_ms", "inf", "finite number"),
    ("a threshold above 1", "open = 0.5", "open = 1.5", "recipes.board.thresholds.open", "1.5", "less than or equal to 1"),
    ("a threshold below 0", "open = 0.5", "open = -0.5", "recipes.board.thresholds.open", "-0.5", "equal to 0"),
    ("a threshold that is no number", "open = 0.5", "open = nan", "recipes.board.thresholds.open", "nan", "equal to 1"),
    ("a threshold that is text", "open = 0.5", 'open = "high"', "recipes.board.thresholds.open", "'high'", "expected a valid number"),
    ("a view of an unknown camera", '{ camera = "top",', '{ camera = "topp",', "recipes.board.views.0.camera", "'topp'", "one of the cameras: side, top"),
    ("two views of one camera", '{ camera = "top",', '{ camera = "side",', "recipes.board.views.1.camera", "'side'", "a camera gives one view of a part"),
    ("a rectangle without width", ROI, ROI.replace("width = 8", "width = 0"), "recipes.board.views.0.roi.width", "0", "greater than 0"),
    ("a rectangle that begins left of the picture", ROI, ROI.replace("x = 0", "x = -1"), "recipes.board.views.0.roi.x", "-1", "equal to 0"),
    ("a rectangle with half a side", ROI, "roi = { x = 0, y = 0, width = 8 }", "recipes.board.views.0.roi.height", "", "is missing"),
    ("an array for a rectangle", ROI, "roi = [0, 0, 8, 8]", "recipes.board.views.0.roi", "[0, 0, 8, 8]", "expected a table"),
    ("a recipe without views", 'views = [{ camera = "side" }]', "views = []", "recipes.lid.views", "[]", "expected at least 1"),
    ("a table for the views", 'views = [{ camera = "side" }]', 'views = { camera = "side" }', "recipes.lid.views", "", "expected an array"),
    ("a wrong view beside a right one", ROI, ROI.replace("x = 0", "x = 0.5"), "recipes.board.views.0.roi.x", "0.5", "expected a valid integer"),
    ("a recipe that the PLC triggers, without a PLC", '[plc.line]\ntype = "opcua_server"\nport = 4840\n', "", "recipes.board.trigger", "'plc'", "add a table [plc.NAME]"),
    ("a PLC link of an unknown type", '"opcua_server"', '"profinet"', "plc.line.type", "'profinet'", "one of digital, modbus_server"),
    ("a port of 0", "port = 4840", "port = 0", "plc.line.port", "0", "greater than or equal to 1"),
    ("a port of 70000", "port = 4840", "port = 70000", "plc.line.port", "70000", "less than or equal to 65535"),
    ("two PLC links on one port", "[publishers.plant]", '[plc.b]\ntype = "opcua_server"\n[publishers.plant]', "plc.b.port", "'127.0.0.1', 4840", "is the same host and port as in plc.line"),
    ("two cameras with one serial number", '[cameras.side]', '[cameras.b]\ntype = "basler"\nserial = "1"\n[cameras.side]', "cameras.b.serial", "'1'", "is the same serial as in cameras.top"),
    ("two cameras with one stream", '[cameras.side]', '[cameras.b]\ntype = "opencv"\nsource = "rtsp://a:geheim@h/1"\n[cameras.c]\ntype = "opencv"\nsource = "rtsp://a:geheim@h/1"\n[cameras.side]', "cameras.c.source", "'rtsp://***@h/1'", "is the same source as in cameras.b"),
    ("two publishers that throw each other out", "[log]", '[publishers.b]\ntype = "mqtt"\nhost = "broker"\n[log]', "publishers.b.client_id", "'broker', its default, its default", "as in publishers.plant"),
    ("a topic prefix with a wildcard", 'host = "broker"', 'prefix = "plant/#"', "publishers.plant.prefix", "'plant/#'", "pattern"),
    ("a password without a user", 'host = "broker"', 'password_file = "p"', "publishers.plant", "", "password_file is given without username: give both or none"),
    ("a certificate without its key", 'host = "broker"', 'tls = { cert_file = "c" }', "publishers.plant.tls", "", "cert_file and key_file belong together"),
    ("a publisher without a type", 'type = "mqtt"\n', "", "publishers.plant.type", "", "is missing; expected one of apprise, mqtt, sparkplug"),
    ("a broker without a name", 'host = "broker"', 'host = ""', "publishers.plant.host", "''", "at least 1"),
    ("an unknown level of the log", '"info"', '"chatty"', "log.level", "'chatty'", "expected 'debug', 'info', 'warning' or 'error'"),
    ("a table nested 40 deep", "[log]", f"[log{'.a' * 40}]", f"log{'.a' * 16}", "", DEEP),
    ("a table nested 200 deep", "[log]", f"[log{'.a' * 200}]", f"log{'.a' * 16}", "", DEEP),
    ("a table nested deep in an array", "[log]", f"[[x]]\ny = [{{{'a.' * 900}b = 1}}]\n[log]", "x.0.y.0" + ".a" * 13, "", DEEP),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "key", "value", "expected"), [pytest.param(*r[1:], id=r[0]) for r in BROKEN])
def test_what_is_wrong_is_named_with_its_key_its_value_and_what_was_expected(
    tmp_path: Path, old: str, new: str, key: str, value: str, expected: str
) -> None:
    problems = {problem.key: problem for problem in broken(tmp_path, old, new)}
    assert key in problems, problems
    assert problems[key].value == value
    assert expected in problems[key].expected
    assert all(len(str(problem).splitlines()) == 1 for problem in problems.values())


def test_a_pulled_camera_table_names_only_what_the_user_must_change(tmp_path: Path) -> None:
    (problem,) = broken(tmp_path, "width = 8", "width = 0")
    assert str(problem) == f"{tmp_path}/station.toml: recipes.board.views.0.roi.width = 0: expected greater than 0"


def test_eight_mistakes_in_eight_tables_are_told_at_once(tmp_path: Path) -> None:
    text = STATION
    for old, new in [
        ("schema = 1", "schema = 3"),
        ("max_open = 4", "max_open = 0"),
        ('serial = "1"', 'serail = "1"'),
        ('"onnxruntime"', '"onnx"'),
        ("number = 2", "number = 1"),
        ('{ camera = "top",', '{ camera = "tip",'),
        ("port = 4840", "port = 0"),
        ('host = "broker"', 'prefix = "#"'),
        ('"info"', '"all"'),
    ]:
        text = text.replace(old, new)
    path = tmp_path / "station.toml"
    path.write_text(text)
    with pytest.raises(StationFileError) as caught:
        config.load(path)
    assert {problem.key for problem in caught.value.problems} == {
        "schema",
        "station.max_open",
        "cameras.top.serail",
        "backend.type",
        "recipes.lid.number",
        "recipes.board.views.0.camera",
        "plc.line.port",
        "publishers.plant.prefix",
        "log.level",
    }
    lines = str(caught.value).splitlines()
    assert len(lines) == 9
    assert all(line.startswith(f"{path}: ") for line in lines)


def check_never_crashes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        config.load(path)
    except StationFileError as exc:
        told = exc
    else:
        return
    assert told.problems
    assert len(str(told).splitlines()) == len(told.problems)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "station.toml"


@given(content=st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_a_station_file_or_a_told_problem(scratch: Path, content: bytes) -> None:
    check_never_crashes(scratch, content)


NASTY = ["1e400", "nan", "-inf", "true", "0", "-1", "0x" + "f" * 400, "9" * 30, '""', '"~x"', '"\\u0000"', '"a\\nb"', "[]",
         "[[]]", "{}", "{ a.b.c = 1 }", "1979-05-27", "07:32:00", '"🏭"', '"' + "x" * 300 + '"', "''''''"]  # fmt: skip


@given(data=st.data())
@settings(max_examples=200)
def test_any_value_in_any_place_is_right_or_a_told_problem(scratch: Path, data: st.DataObject) -> None:
    lines = STATION.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key, _, old = lines[at].partition(" = ")
        value = data.draw(st.sampled_from([*NASTY, old or "1"]))
        mutations = [f"{key} = {value}", f"{key}.{key} = {value}", f'"{key}\\n" = {value}', "", "[plc]", f"[{key}"]
        lines[at] = data.draw(st.sampled_from(mutations)) if old else data.draw(st.sampled_from(mutations[3:]))
    check_never_crashes(scratch, "\n".join(lines).encode())


@given(at=st.integers(0, len(STATION)), gone=st.integers(0, 40), text=st.text(max_size=8))
@settings(max_examples=200)
def test_a_file_cut_or_mistyped_anywhere_is_right_or_a_told_problem(scratch: Path, at: int, gone: int, text) -> None:
    check_never_crashes(scratch, (STATION[:at] + text + STATION[at + gone :]).encode())


def test_the_json_schema_is_one_and_names_every_plugin() -> None:
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    types = {
        model["properties"]["type"]["const"]
        for model in schema["$defs"].values()
        if "type" in model.get("required", ())
    }
    assert types == {name for kind in plugins.BUILT_IN if kind != "decoder" for name in plugins.BUILT_IN[kind]}


def plain(toml_text: str) -> object:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(toml_text)


def test_the_json_schema_accepts_what_the_station_accepts_and_no_unknown_key() -> None:
    validator = jsonschema.Draft202012Validator(config.json_schema())
    validator.validate(plain((ROOT / "deploy/examples/station.toml").read_text(encoding="utf-8")))
    validator.validate(plain(STATION))
    assert not validator.is_valid(plain(STATION.replace("serial", "serail")))
    assert not validator.is_valid(plain(STATION.replace("max_open = 4", 'max_open = "4"')))
    assert not validator.is_valid(plain(STATION.replace('type = "mqtt"\n', "")))


def with_plugin(folder: Path, kind: str, target: str, code: str) -> dict[str, str]:
    """The environment in which another package brings a plugin `other`."""
    (folder / "other_package.py").write_text(code)
    info = folder / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edge_inspector.{kind}]\nother = {target}\n")
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def command(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_inspector", *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_camera_of_another_package_is_checked_and_described_like_ours(tmp_path: Path) -> None:
    code = (
        "from typing import Literal\nfrom edge_inspector.settings import CameraConfig\n"
        "class Config(CameraConfig):\n    type: Literal['other']\n    lamp: int\n"
        "class Camera:\n    trigger_mode = 'software'\n    def __init__(self, name, config): ...\n"
    )
    env = with_plugin(tmp_path, "camera", "other_package:Camera", code)
    schema = json.loads(command(env, "schema").stdout)
    assert "lamp" in json.dumps(schema)
    path = tmp_path / "station.toml"
    path.write_text(STATION.replace('type = "basler"\nserial = "1"', 'type = "other"\nlamp = "red"'))
    done = command(env, "check", str(path))
    assert done.returncode == 2
    assert f"{path}: cameras.top.lamp = 'red': expected a valid integer" in done.stderr


def test_a_plugin_that_cannot_be_imported_is_named_and_hinders_no_help(tmp_path: Path) -> None:
    env = with_plugin(tmp_path, "publisher", "other_package:Publisher", "import a_module_that_nobody_has\n")
    assert command(env, "--help").returncode == 0
    done = command(env, "schema")
    assert done.returncode == 2
    assert "publisher type 'other' is broken: No module named 'a_module_that_nobody_has'" in done.stderr
    assert "Traceback" not in done.stderr
