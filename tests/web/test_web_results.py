"""Results, pictures and events over HTTP, of the real station through the real service."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time

import cv2
import httpx
import numpy as np
import pytest
from web_rig import Rig, bearer, messages, until

pytestmark = pytest.mark.system


def test_a_result_is_what_the_ledger_has(rig: Rig, reader: httpx.Client) -> None:
    found = reader.get("/v1/results", params={"limit": 500}).raise_for_status().json()["results"]
    seqs = [one["seq"] for one in found]
    assert seqs == sorted(seqs, reverse=True)
    names = {1: "OK", 2: "NOT_OK"}
    booked = dict(rig.rows("SELECT seq, evaluation FROM results WHERE seq <= ?", seqs[0]))
    assert {one["seq"]: one["evaluation"] for one in found} == {seq: names[value] for seq, value in booked.items()}
    bad = next(one for one in found if not one["ok"])
    ((result_id, text, cycle_ms),) = rig.rows(
        "SELECT result_id, reason_text, cycle_ms FROM results JOIN triggers USING (seq) WHERE seq = ?", bad["seq"]
    )
    assert (bad["result_id"], bad["reason_text"], bad["cycle_ms"]) == (result_id, text, cycle_ms)
    defects = rig.rows("SELECT class_name, score, x FROM defects WHERE seq = ? ORDER BY number", bad["seq"])
    assert [(one["class_name"], one["score"], one["box"][0]) for one in bad["defects"]] == defects != []
    assert reader.get(f"/v1/results/{result_id}").json()["defects"] == bad["defects"]


def test_pages_follow_each_other_without_a_gap(reader: httpx.Client) -> None:
    whole = reader.get("/v1/results?limit=500").json()["results"]
    newest = whole[0]["seq"]
    walked, query = [], f"before_seq={newest + 1}"
    while query:
        page = reader.get(f"/v1/results?limit=3&{query}").json()
        walked += [one["seq"] for one in page["results"]]
        query = page["next"]
    assert walked == [one["seq"] for one in whole]
    forward = reader.get("/v1/results?limit=2&after_seq=0").json()
    assert [one["seq"] for one in forward["results"]] == walked[::-1][:2]
    assert forward["next"] == f"after_seq={walked[-2]}"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("evaluation=NOT_OK", 200),
        ("evaluation=BAD", 422),
        ("since=2026-01-01T00:00:00Z", 200),
        ("since=2026-01-01T00:00:00", 422),  # no time zone: whose time is it?
        ("since=0001-01-01T00:00:00%2B14:00", 422),  # before year 1 in UTC
        ("before_seq=9223372036854775808", 422),  # larger than SQLite's integers
        ("limit=501", 422),
        ("limit=0", 422),
        ("part_id=%ED%A0%80", 200),
    ],
)
def test_a_query_is_answered_or_refused_with_its_reason(reader: httpx.Client, query: str, status: int) -> None:
    answer = reader.get(f"/v1/results?{query}")
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["status"] == 422
        assert query.partition("=")[0] in answer.json()["error"]
    elif query.startswith("evaluation"):
        assert {one["evaluation"] for one in answer.json()["results"]} == {"NOT_OK"}


def test_what_is_not_there_is_404(reader: httpx.Client) -> None:
    for path in ("/v1/results/bench.00000000.1", "/v1/images/4000000000", "/v1/live/nobody", "/nothing"):
        answer = reader.get(path)
        role = 403 if path.startswith("/v1/live") else 404
        assert (answer.status_code, answer.json()["status"]) == (role, role), path


def test_a_picture_is_the_stored_file_and_who_looks_is_audited_once(rig: Rig, reader: httpx.Client) -> None:
    number, sha256, path = rig.rows("SELECT id, sha256, path FROM images WHERE kind = 'original' LIMIT 1")[0]
    before = looks(rig, number)
    answer = reader.get(f"/v1/images/{number}").raise_for_status()
    assert hashlib.sha256(answer.content).hexdigest() == sha256
    assert answer.content == (rig.state / "images" / path).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    small = reader.get(f"/v1/images/{number}?width=32").raise_for_status()
    shown = cv2.imdecode(np.frombuffer(small.content, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape[1] == 32
    again = reader.get(f"/v1/images/{number}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    until("the three looks are booked as one", lambda: looks(rig, number) == before + 1)
    who = rig.rows("SELECT who FROM audit WHERE what = 'image_read' ORDER BY id DESC LIMIT 1")[0][0]
    assert who.startswith("reader (")


def looks(rig: Rig, number: int) -> int:
    query = "SELECT count(*) FROM audit WHERE what = 'image_read' AND detail LIKE ?"
    return int(rig.rows(query, f"%picture {number}")[0][0])


def test_the_stream_brings_each_result_once_and_in_order(reader: httpx.Client) -> None:
    seqs, kinds, last = [], set(), ""
    with reader.stream("GET", "/v1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for kind, number, content in messages(stream.iter_lines()):
            kinds.add(kind)
            last = number or last
            if kind == "result":
                seqs.append(content["seq"])
            if len(seqs) >= 3 and {"state", "image"} <= kinds:
                break
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    time.sleep(0.6)  # some parts pass while nobody listens
    resumed = []
    with reader.stream("GET", "/v1/events", headers={"Last-Event-ID": last}) as stream:
        for kind, _, content in messages(stream.iter_lines()):
            if kind == "result":
                resumed.append(content["seq"])
            if len(resumed) >= 4:
                break
    assert resumed == list(range(int(last.split(".")[0]) + 1, int(last.split(".")[0]) + 5))


def listen(streams: contextlib.ExitStack, reader: httpx.Client) -> httpx.Response:
    """A stream; one that the test before has closed may still count for a moment."""
    end = time.monotonic() + 5
    while True:
        answer = streams.enter_context(reader.stream("GET", "/v1/events"))
        if answer.status_code == 200 or time.monotonic() >= end:
            return answer
        time.sleep(0.05)


def test_one_token_cannot_take_all_streams(rig: Rig, reader: httpx.Client, operator: httpx.Client) -> None:
    with contextlib.ExitStack() as streams:
        heard = [listen(streams, reader).iter_lines() for _ in range(8)]
        for lines in heard:
            assert next(lines) == "retry: 1000"
        refused = reader.get("/v1/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert "at most 8" in refused.json()["error"]
        with operator.stream("GET", "/v1/events") as other:
            assert next(messages(other.iter_lines()))[0] == "state"

    def free() -> bool:
        with reader.stream("GET", "/v1/events") as stream:
            return stream.status_code == 200

    until("they have hung up", free)


def test_the_service_gives_way_to_the_station(rig: Rig) -> None:
    assert rig.web is not None
    assert os.getpriority(os.PRIO_PROCESS, rig.web.pid) == 19


def test_a_wrong_last_event_id_is_refused(reader: httpx.Client) -> None:
    for last in ("x", "1.2", "1.2.-3", f"1.2.{2**63}", "9" * 5000):
        answer = reader.get("/v1/events", headers={"Last-Event-ID": last})
        assert answer.status_code == 422, last
        assert "Last-Event-ID" in answer.json()["error"]


def test_the_state_says_what_the_station_is_and_for_whom(rig: Rig, operator: httpx.Client) -> None:
    state = operator.get("/v1/state").raise_for_status().json()
    assert (state["station"], state["online"], state["cameras"]) == ("bench", True, ["cam"])
    assert state["you"]["name"] == "operator"
    assert state["status"]["recipe"] == "spots"
    counts = state["counts"]
    assert counts["ok"] + counts["not_ok"] <= rig.rows("SELECT count(*) FROM results WHERE evaluation IN (1, 2)")[0][0]
    assert abs(counts["ok"] - counts["not_ok"]) <= 1
    assert counts["undefined"] == counts["not_decidable"] == 0


def test_health_needs_no_token_but_tells_strangers_nothing_more(rig: Rig, reader: httpx.Client) -> None:
    assert httpx.get(f"{rig.url}/health/live").json() == {"live": True}
    assert httpx.get(f"{rig.url}/health/ready").json() == {"ready": True}
    assert httpx.get(f"{rig.url}/health").status_code == 401
    health = reader.get("/health").json()
    assert (health["ready"], health["daemon"], health["ledger"], health["trouble"]) == (True, True, True, "")


def test_metrics_are_the_daemons_and_need_a_token(rig: Rig, reader: httpx.Client) -> None:
    assert httpx.get(f"{rig.url}/metrics").status_code == 401
    answer = reader.get("/metrics").raise_for_status()
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "\nedge_inspector_up 1" in answer.text
    assert answer.text.endswith("# EOF\n")


def test_a_removed_token_is_refused_at_once_and_its_stream_ends(rig: Rig) -> None:
    from datetime import datetime, timezone

    from edge_inspector.web.tokens import token_file

    tokens = token_file(rig.state)
    secret = tokens.add("leaver", "reader", 0, datetime.now(timezone.utc))[1]
    with httpx.Client(base_url=rig.url, headers=bearer(secret), timeout=20) as client:
        with client.stream("GET", "/v1/events") as stream:
            heard = messages(stream.iter_lines())
            next(heard)
            tokens.remove("leaver")
            for _ in heard:
                pass  # ends, or the test's time-out strikes
        assert client.get("/v1/state").status_code == 401
