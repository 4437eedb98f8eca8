"""Client mode against a PLC whose server is node-opcua: the station calls it, writes into it, and comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from node_programs import Node, Script
from real_station import RealStation, free_port, real_station

from edge_inspector.datatypes import Evaluation
from edge_inspector.plc.tags import TAGS
from edge_inspector.store.books import read_books, verdicts

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]
URI = "http://www.siemens.com/simatic-s7-opcua"
MAPPED = [tag for tag in TAGS if tag.name not in ("Control.Block", "Status.Block", "Result.Ring")]
PARTS = 12
FIRST = 101
"""The PLC's program begins to count after 100."""


def link(port: int, security: str) -> str:
    lines = [
        '[plc.line]\ntype = "opcua_client"',
        f'endpoint = "opc.tcp://127.0.0.1:{port}"\nsecurity = "{security}"',
        *(['user = "vision"\npassword_file = "password"'] if security != "None" else []),
        "[plc.line.map]",
    ]
    for tag in MAPPED:
        group, _, leaf = tag.name.partition(".")
        lines.append(f'{tag.name} = \'nsu={URI};s="DB_Vision"."{group}"."{leaf}"\'')
    return "\n".join(lines) + "\n"


def plc(node: Node, port: int, security: str, folder: Path) -> Script:
    tags = [[tag.name, tag.type, tag.length, tag.writer] for tag in MAPPED]
    options = {"port": port, "parts": PARTS, "security": security, "pki": str(folder / "plc_pki"), "tags": tags}
    script = node("plc_server.mjs", json.dumps(options))
    script.wait("the PLC's server is up", lambda: bool(events(script, "up")))
    return script


def events(script: Script, name: str) -> list[dict[str, Any]]:
    return [line for line in script.lines if line.get("event") == name]


def assert_the_books_agree(station: RealStation, program: Script) -> None:
    results = [line["result"] for line in events(program, "result")]
    by_seq = {result["TriggerSeq"]: result for result in results}
    assert len(by_seq) == len(results)  # no result twice
    assert station.stop() == 0
    ledger = station.folder / "state" / "ledger.sqlite"
    assert read_books(ledger).balanced
    rows = {row.trigger_seq: row for row in verdicts(ledger).values()}
    for seq, told in by_seq.items():
        assert (told["Evaluation"], told["PartId"]) == (rows[seq].evaluation, f"board-{seq}")
        assert (told["Mode"], told["RecipeNo"]) == (1, 7)


def test_parts_of_a_plc_that_is_the_server_get_their_results(node: Node, tmp_path: Path) -> None:
    port = free_port()
    program = plc(node, port, "None", tmp_path)
    with real_station(tmp_path, link(port, "None")) as station:
        program.wait("every part has its result", lambda: bool(events(program, "done")), 90)
        told = [line["result"]["Evaluation"] for line in events(program, "result")]
        assert told == [Evaluation.OK, Evaluation.NOT_OK] * (PARTS // 2)
        assert [line["seq"] for line in events(program, "accepted")] == list(range(FIRST, FIRST + PARTS))
        assert_the_books_agree(station, program)


def test_a_killed_station_calls_again_and_gives_no_part_a_result_of_its_former_life(node: Node, tmp_path: Path) -> None:
    port = free_port()
    program = plc(node, port, "None", tmp_path)
    with real_station(tmp_path, link(port, "None")) as station:
        program.wait("the first results", lambda: len(events(program, "result")) >= 3, 90)
        station.kill()
        station.start()
        program.wait("it is linked again", lambda: len(events(program, "linked")) >= 2, 60)
        assert len({line["bootId"] for line in events(program, "linked")}) == 2
        assert_the_books_agree(station, program)


def test_over_an_encrypted_channel_with_a_user(node: Node, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "password").write_text("geheim\n")
    program = plc(node, port, "Basic256Sha256", tmp_path)
    certificate = next((tmp_path / "plc_pki" / "own" / "certs").glob("*.pem"))
    named = f'server_certificate = "{certificate}"\n[plc.line.map]'
    plc_text = link(port, "Basic256Sha256").replace("[plc.line.map]", named)
    with real_station(tmp_path, plc_text) as station:
        program.wait("every part has its result", lambda: bool(events(program, "done")), 90)
        assert_the_books_agree(station, program)
