"""`opcua browse` and `opcua check` against a PLC's server: what is shown, proposed, written into the file, refused."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import typer
from anyio import to_thread
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from opcua_client_rig import ALL, URI, FakePlc, Faults, free_port, mapping, running, s7
from typer.testing import CliRunner, Result

from edge_inspector.cli import opcua_client
from edge_inspector.cli.doctor_opcua import Links, plc_findings
from edge_inspector.errors import ConfigError
from edge_inspector.health.finding import Finding
from edge_inspector.outputs.opcua_client.cells import Node
from edge_inspector.outputs.opcua_client.config import Config
from edge_inspector.outputs.opcua_client.map_text import mapped_in, with_map
from edge_inspector.outputs.opcua_client.mapping import problems as mapping_problems
from edge_inspector.outputs.opcua_client.tree import Variable, proposed
from edge_inspector.plc.tags import BY_NAME

pytestmark = pytest.mark.anyio
APP = typer.Typer()
APP.command("browse")(opcua_client.browse)
APP.command("check")(opcua_client.check)
KINDS = ua.VariantType
STATION = """# our line
schema = 1
[station]
name = "s7"   # as on the door
recipe = "r"
[plc.line]
type = "opcua_client"
security = "None"
endpoint = "opc.tcp://127.0.0.1:{port}"
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[FakePlc]:
    async with running(tags=ALL, types={"Status.Word2": KINDS.Byte}) as plc:
        yield plc


@pytest.fixture
def plc(server: FakePlc) -> FakePlc:
    server.faults = Faults()
    server.writes.clear()
    return server


async def run(*words: str) -> Result:
    """The command, in a thread: it has an event loop of its own."""
    return await to_thread.run_sync(lambda: CliRunner().invoke(APP, [*words]))


def station_file(folder: Path, port: int, more: str = "") -> Path:
    path = folder / "station.toml"
    path.write_text(STATION.format(port=port) + more)
    return path


async def test_the_certificate_made_at_the_first_call_is_the_stations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    path = station_file(tmp_path, 1)
    path.write_text(path.read_text().replace('security = "None"', 'security = "Basic256Sha256"'))
    assert (await run("browse", "--write-mapping", str(path))).exit_code == 2  # nobody is there
    made = tmp_path / "state" / "plc" / "line" / "pki" / "own" / "cert.der"
    assert b":edge-inspector:s7" in made.read_bytes()


async def test_browse_shows_path_node_type_and_access(plc: FakePlc) -> None:
    answer = await run("browse", f"opc.tcp://127.0.0.1:{plc.port}", "--json")
    assert answer.exit_code == 0, answer.output
    by_path = {tuple(one["path"]): one for one in json.loads(answer.stdout)["variables"]}
    assert by_path[("Result.TriggerSeq",)] == {
        "path": ["Result.TriggerSeq"],
        "node": f"nsu={URI};s={s7('Result.TriggerSeq')}",
        "type": "UInt32",
        "length": 0,
        "access": "rw",
    }
    assert by_path[("Control.TriggerSeq",)]["access"] == "r"
    assert by_path[("Result.DefectClass",)]["length"] == 16
    assert len(by_path) == len(ALL)  # nothing of the server's own
    assert plc.writes == []


async def test_browse_looks_only_below_the_node_that_it_is_given(plc: FakePlc) -> None:
    node = f"nsu={URI};s={s7('Result.Mode')}"
    answer = await run("browse", f"opc.tcp://127.0.0.1:{plc.port}", "--under", node)
    assert (answer.exit_code, answer.stdout) == (0, "no variables there that this user may see\n")
    answer = await run("browse", f"opc.tcp://127.0.0.1:{plc.port}", "--under", "DB")
    assert answer.exit_code == 2
    assert "expected a NodeId" in answer.output


async def test_the_mapping_that_browse_writes_is_the_one_that_check_finds_right(plc: FakePlc, tmp_path: Path) -> None:
    path = station_file(tmp_path, plc.port)
    answer = await run("browse", "--write-mapping", str(path))
    assert answer.exit_code == 0, answer.output
    assert f"{len(ALL) - 1} tag(s) added" in answer.output
    assert "left out: Status.Word2: node" in answer.output
    assert path.read_text().startswith(STATION.format(port=plc.port))
    added = mapped_in(path.read_text(), "line")
    assert {*added} == {*ALL} - {"Status.Word2"}
    assert added["Result.Mode"] == f"nsu={URI};s={s7('Result.Mode')}"
    before = path.read_bytes()
    await run("browse", "--write-mapping", str(path))
    assert path.read_bytes() == before
    answer = await run("check", "--station", str(path))
    assert (answer.exit_code, answer.output.count(" right")) == (0, len(ALL) - 1), answer.output
    assert plc.writes == []


async def test_check_names_each_node_that_is_wrong_and_exits_with_1(plc: FakePlc, tmp_path: Path) -> None:
    nodes = {f"{group}.{leaf}": text for group, leaves in mapping().items() for leaf, text in leaves.items()}
    nodes["Result.ModelHash"] = "ns=3;s=gone"
    nodes["Status.ErrorText"] = "nsu=urn:gone;s=x"
    path = station_file(tmp_path, plc.port)
    path.write_text(with_map(path.read_text(), "line", nodes))
    answer = await run("check", "--station", str(path))
    assert answer.exit_code == 1
    wrong = {line.split()[0]: line for line in answer.output.splitlines() if " right" not in line}
    assert {*wrong} == {"tag", "Result.ModelHash", "Status.ErrorText", "Status.Word2"}
    assert "BadNodeIdUnknown" in wrong["Result.ModelHash"]
    assert "no namespace 'urn:gone'" in wrong["Status.ErrorText"]
    assert "is Byte, which does not hold UInt16" in wrong["Status.Word2"]


@pytest.mark.parametrize(("no_timestamps", "word"), [(False, "yes"), (True, "value only")])
async def test_the_write_test_writes_back_what_it_has_read(
    plc: FakePlc, tmp_path: Path, no_timestamps: bool, word: str
) -> None:
    plc.poke({"Result.TriggerSeq": 41, "Result.PartId": "board"})
    plc.faults.no_timestamps = no_timestamps
    path = station_file(tmp_path, plc.port)
    await run("browse", "--write-mapping", str(path))
    answer = await run("check", "--station", str(path), "--write-test")
    assert answer.exit_code == 0, answer.output
    assert re.search(rf"Result\.TriggerSeq .* {word} +right", answer.output)
    assert re.search(r"Control\.TriggerSeq .* not tried +right", answer.output)
    assert plc.seen("Result.TriggerSeq") == [41]
    assert plc.seen("Result.PartId") == ["board"]
    plc.faults.refused = {"Result.Mode": int(ua.StatusCodes.BadUserAccessDenied)}
    answer = await run("check", "--station", str(path), "--write-test")
    assert answer.exit_code == 1
    assert "BadUserAccessDenied" in answer.output


def doctored(folder: Path, port: int, nodes: dict[str, dict[str, str]]) -> list[Finding]:
    """What `edge-inspector doctor` says of such a link."""
    table = {"type": "opcua_client", "endpoint": f"opc.tcp://127.0.0.1:{port}", "security": "None", "map": nodes}
    links = Links(Path("station.toml"), "s7", folder, {"line": Config.model_validate(table)})
    return list(plc_findings(links, datetime(2026, 11, 22, tzinfo=timezone.utc), lambda host, port: "not asked"))


async def test_doctor_fails_each_tag_that_the_station_cannot_use(plc: FakePlc, tmp_path: Path) -> None:
    nodes = mapping()
    nodes["Result"]["Mode"] = "ns=3;s=nowhere"
    connect, *tags = await to_thread.run_sync(doctored, tmp_path, plc.port, nodes)
    assert (connect.check, connect.level) == ("opcua.connect", "ok")
    assert [(one.check, one.level, one.found.split()[0]) for one in tags] == [
        ("opcua.tag", "fail", "Status.Word2:"),
        ("opcua.tag", "fail", "Result.Mode:"),
    ]
    assert "BadNodeIdUnknown" in tags[1].found
    assert tags[0].remedy == "edge-inspector opcua check --station station.toml --link line"
    assert plc.writes == []


async def test_doctor_says_in_one_line_that_a_mapping_fits(plc: FakePlc, tmp_path: Path) -> None:
    nodes = mapping(tuple(tag for tag in ALL if tag != "Status.Word2"))
    found = await to_thread.run_sync(doctored, tmp_path, plc.port, nodes)
    assert [(one.check, one.level) for one in found] == [("opcua.connect", "ok"), ("opcua.tag", "ok")]
    assert found[1].found == f"all {len(ALL) - 1} mapped tags exist with the right type and access"


async def test_a_server_that_is_not_there_is_told_without_a_traceback(tmp_path: Path) -> None:
    answer = await run("browse", f"opc.tcp://127.0.0.1:{free_port()}")
    assert answer.exit_code == 2
    assert "is the server on, and the address right?" in answer.output
    assert isinstance(answer.exception, SystemExit)


async def test_check_says_what_is_wrong_with_the_link_itself(tmp_path: Path) -> None:
    answer = await run("check", "--station", str(station_file(tmp_path, 4840)))
    assert answer.exit_code == 2
    assert "plc.line.map: is missing" in answer.output


# --- proposals --------------------------------------------------------------------------------------------------------


def variable(path: str, kind: ua.VariantType = KINDS.UInt32, writable: bool = True, **facts: Any) -> Variable:
    return Variable(
        tuple(path.split("/")), Node(f"ns=3;s={path}", ua.NodeId(path, 3), kind, writable=writable, **facts)
    )


@pytest.mark.parametrize(
    ("seen", "tags"),
    [
        ([variable("DB_Vision/Control/TriggerSeq")], {"Control.TriggerSeq"}),
        ([variable("GVL/vision_Control_TriggerSeq")], {"Control.TriggerSeq"}),
        ([variable("DB/BootIdEcho")], {"Control.BootIdEcho"}),
        ([variable("DB_Vision/TriggerSeq")], set()),  # Control's or Result's?
        ([variable("DB_Vision/TriggerSeq", writable=False)], {"Control.TriggerSeq"}),  # we could not write Result's
        ([variable("DB/TriggerSeq"), variable("DB/Result/TriggerSeq")], {"Control.TriggerSeq", "Result.TriggerSeq"}),
        ([variable("A/BootIdEcho"), variable("B/BootIdEcho")], set()),  # which?
        ([variable("DB/Result/TriggerSeq", KINDS.Int32)], set()),  # does not hold it
        ([variable("DB/Speed")], set()),
        ([variable("X/Control/Block", rank=1, length=8), variable("X/Control/TriggerSeq")], {"Control.TriggerSeq"}),
    ],
)
def test_only_what_can_be_one_tag_alone_is_proposed(seen: list[Variable], tags: set[str]) -> None:
    proposal = proposed(seen)
    assert {*proposal.nodes} == tags
    if not tags and seen[0].path[-1] != "Speed":
        assert proposal.left_out


def members_of_the_function_block() -> dict[str, str]:
    """Path -> tag, as the block's own comments say."""
    source = (Path(__file__).parents[2] / "deploy" / "plc" / "FB_EdgeInspector.scl").read_text()
    kinds = {"UDInt": "UInt32", "UInt": "UInt16", "DInt": "Int32", "Bool": "Boolean", "String[254]": "String"}
    found: dict[str, str] = {}
    for struct, side in (("EdgeInspectorIn", "inTags"), ("EdgeInspectorOut", "outTags")):
        body = source.partition(f'TYPE "{struct}"')[2].partition("END_STRUCT")[0]
        for name, kind, tag in re.findall(r"(\w+) : ([\w\[\]]+);  // ([A-Z]\w+\.\w+)", body):
            found[f"dbVision/{side}/{name}"] = tag
            assert kinds[kind] == BY_NAME[tag].type
    return found


def test_the_data_block_of_our_function_block_is_mapped_whole() -> None:
    members = members_of_the_function_block()
    assert len(members) == 24
    seen = [variable(path, KINDS[BY_NAME[tag].type]) for path, tag in members.items()]
    proposal = proposed(seen)
    assert {text.removeprefix("ns=3;s="): tag for tag, text in proposal.nodes.items()} == members
    assert not proposal.left_out
    assert not [*mapping_problems(proposal.nodes, acknowledge=True)]


# --- the file ---------------------------------------------------------------------------------------------------------

NODES = {"Result.Mode": 'ns=3;s="DB"."Mode"', "Result.PartId": "ns=3;s=it's"}


@pytest.mark.parametrize(
    "more",
    [
        "",
        "[plc.line.map]\n",
        '[plc.line.map]  # ours\nResult.Mode = "ns=1;s=mine" # keep\n[log]\nlevel = "info"\n',
        "[plc.line.map]",
        '[ plc . "line" . map ]\nControl.PartId = "ns=1;s=p"\n',
        '[log]\nlevel = "info"',
    ],
)
def test_a_mapping_is_added_and_all_else_stays(more: str) -> None:
    text = STATION.format(port=1) + more
    changed = with_map(text, "line", NODES)
    rest = iter(changed.splitlines())
    assert all(line in rest for line in text.splitlines())  # every line, in its order
    before = mapped_in(text, "line")
    assert mapped_in(changed, "line") == {**NODES, **before}


@pytest.mark.parametrize("more", ['map = { Result.Mode = "i=1" }\n', '[plc.line.map.Result]\nRecipeNo = "i=1"\n'])
def test_a_map_into_which_nothing_can_be_added_is_left_to_a_person(more: str) -> None:
    with pytest.raises(ConfigError, match=r"add these lines yourself:\nResult\.\w+ = "):
        with_map(STATION.format(port=1) + more, "line", NODES)


def test_a_link_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"there is no \[plc\.other\] .*\n\[plc\.other\]\ntype"):
        with_map(STATION.format(port=1), "other", NODES)


@given(st.text(min_size=1, max_size=30))
def test_any_node_id_can_be_written_and_read_again(identifier: str) -> None:
    nodes = {"Result.Mode": f"ns=3;s={identifier}"}
    assert mapped_in(with_map(STATION.format(port=1), "line", nodes), "line") == nodes
