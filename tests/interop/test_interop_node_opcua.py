"""node-opcua as the PLC: tags, refusals, a whole handshake, and data again after a restart of the station."""

from __future__ import annotations

import time
import zlib
from datetime import datetime, timezone
from typing import Any

import pytest
from node_programs import Node
from real_station import RealStation

from edge_inspector.datatypes import Evaluation
from edge_inspector.plc.tags import BY_NAME, TAGS
from edge_inspector.store.books import read_books, verdicts

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]
AGAIN_S = 5.0
"""From the moment on which the restarted server listens."""
PARTS = 40
RECIPE_NO = 7

REFUSED = {
    "another type": "BadTypeMismatch",
    "another width": "BadTypeMismatch",
    "text into a number": "BadTypeMismatch",
    "number into a text": "BadTypeMismatch",
    "an array into a scalar": "BadTypeMismatch",
    "a scalar into an array": "BadTypeMismatch",
    "a shorter array": "BadOutOfRange",
    "a longer array": "BadOutOfRange",
    "an index range": "BadWriteNotSupported",
    "a longer text": "BadOutOfRange",
    "a null": "BadTypeMismatch",
    "a bad status": "BadWriteNotSupported",
    "an uncertain status": "BadWriteNotSupported",
    "a tag of the station": "BadNotWritable",
    "a result": "BadNotWritable",
    "the ring": "BadNotWritable",
    "a display name": "BadNotWritable",
    "an access level": "BadNotWritable",
    "an unknown tag": "BadNodeIdUnknown",
    "mixed": "Good,BadTypeMismatch,Good",
    "read an unknown tag": "BadNodeIdUnknown",
}


def test_every_tag_reads_with_its_type_rank_dimensions_and_status(
    node: Node, endpoint: str, station: RealStation
) -> None:
    started = datetime.fromtimestamp(station.file.stat().st_mtime, timezone.utc)
    seen = {line["name"]: line for line in node("read_tags.mjs", endpoint, *BY_NAME).finish()}
    assert set(seen) == set(BY_NAME)
    for tag in TAGS:
        line = seen[tag.name]
        assert (line["type"], line["declared"]) == (tag.type, tag.type), tag.name
        assert (line["array"], line["length"]) == (tag.length > 0, tag.length), tag.name
        assert (line["rank"], line["dimensions"]) == ((1, [tag.length]) if tag.length else (-1, None)), tag.name
        assert line["browseName"] == tag.name.partition(".")[2]
        assert line["access"] == line["userAccess"] == (3 if tag.writer == "plc" else 1), tag.name
        source = datetime.fromisoformat(line["source"].replace("Z", "+00:00"))
        assert started <= source <= datetime.now(timezone.utc), tag.name
    not_yet = {name for name, line in seen.items() if line["status"] == "UncertainInitialValue"}
    assert {name for name in BY_NAME if name.startswith("Control.")} <= not_yet
    assert not [name for name in not_yet if not name.startswith(("Control.", "Health."))]
    assert {line["status"] for name, line in seen.items() if name not in not_yet} == {"Good"}
    assert seen["Status.ActiveRecipe"]["value"] == "spots"
    assert seen["Ident.StationId"]["value"] == "bench"


def test_what_a_plc_may_not_write_is_refused_with_the_right_status_code(node: Node, endpoint: str) -> None:
    lines: list[dict[str, Any]] = node("refusals.mjs", endpoint).finish()
    told = {line["what"]: line for line in lines}
    assert told["right"]["code"] == "Good"
    assert not told["right"]["same"]  # so that "the same" below means something
    assert {what: told[what]["code"] for what in REFUSED} == REFUSED
    assert [line["what"] for line in lines if not line["same"]] == ["right"]
    assert set(told) == {*REFUSED, "right", "read a range"}
    assert (told["read a range"]["code"], told["read a range"]["values"]) == ("UncertainInitialValue", [0, 0, 0])


def test_parts_go_through_the_handshake_and_only_ok_ones_pass(node: Node, endpoint: str, station: RealStation) -> None:
    lines = node("handshake.mjs", endpoint, PARTS, RECIPE_NO).finish()
    assert lines[0] == {"event": "recipe", "result": 0}
    done = lines[-1]
    parts = [line for line in lines if line["event"] == "part"]
    assert [part["seq"] for part in parts] == list(range(1, PARTS + 1))
    assert station.stop() == 0
    ledger = station.folder / "state" / "ledger.sqlite"
    rows, books = verdicts(ledger), read_books(ledger)
    assert books.balanced, books.gaps
    assert len(rows) == PARTS
    for part in parts:
        row = rows[part["ResultId"]]
        assert (row.trigger_seq, row.part_id, row.evaluation) == (part["seq"], part["partId"], part["Evaluation"])
        assert part["PartId"] == part["partId"]
        assert part["accepted"]
        assert part["pass"] == (row.evaluation is Evaluation.OK)
        assert part["Evaluation"] == (Evaluation.OK if part["seq"] % 2 else Evaluation.NOT_OK)  # the pictures' order
        assert bool(part["word"] & 1 << 8) == part["pass"]
        in_ring = part["row"]
        assert in_ring[:2] == [part["seq"], part["Evaluation"] + 256 * part["Mode"]]
        assert in_ring[3:6] == [RECIPE_NO, done["bootId"], done["plcBootId"]]
        assert in_ring[6] == zlib.crc32(part["partId"].encode())
    counted = {name: done[f"Counter.{name}"] for name in ("Total", "Ok", "NotOk", "Refused", "Missed")}
    assert counted == {"Total": PARTS, "Ok": PARTS // 2, "NotOk": PARTS // 2, "Refused": 0, "Missed": 0}


def test_after_a_killed_station_comes_back_data_come_again_within_five_seconds(
    node: Node, endpoint: str, station: RealStation, opcua_port: int
) -> None:
    follower = node("follow.mjs", endpoint, "Status.Heartbeat", "Status.BootId", "Status.Word")

    def boots() -> list[int]:
        return [line["value"] for line in follower.lines if line.get("name") == "Status.BootId" and line["value"]]

    def beats() -> int:
        return sum(line.get("name") == "Status.Heartbeat" for line in follower.lines)

    follower.wait("the first data", lambda: beats() > 5 and len(boots()) == 1)
    for restart in (1, 2):
        station.kill()
        time.sleep(1.0)  # it is noticed as gone
        station.start()
        station.wait_until_listening(opcua_port)
        seen = beats()
        again_s = follower.wait(
            f"data after restart {restart}", lambda n=restart, s=seen: len(boots()) > n and beats() > s + 3, 30
        )
        assert again_s <= AGAIN_S
    assert len(set(boots())) == 3
    assert {line["status"] for line in follower.lines if "status" in line} <= {"Good", "UncertainInitialValue"}
