"""Thresholds over HTTP: what the station says of them, and what people say of its parts."""

from __future__ import annotations

import httpx
import pytest
from web_rig import Rig, until

pytestmark = pytest.mark.system


def test_everybody_who_may_read_sees_where_thresholds_are_and_where_they_would_go(
    rig: Rig, reader: httpx.Client
) -> None:
    found = reader.get("/v1/thresholds").raise_for_status().json()["recipes"]
    assert list(found) == ["spots"]
    spots = found["spots"]
    assert (spots["policy"], spots["shadow"], spots["released"], spots["lapsed"]) == ("fixed", "guarded", False, "")
    assert spots["classes"] == ["bright", "dark", "spare0"]
    assert spots["now"] == spots["fixed"] == [0.5, 0.5, 0.5]
    (guarded,) = spots["policies"]
    assert (guarded["policy"], guarded["judges"], guarded["frozen"]) == ("guarded", False, "")
    first = guarded["classes"][0]
    assert first == {
        "class_name": "bright",
        "threshold": 0.5,
        "wanted": None,
        "low": None,
        "high": None,
        "floor": 0.05,
        "ceiling": 0.5,
        "learnt": first["learnt"],
    }
    assert first["learnt"] >= 1


def test_feedback_of_an_operator_is_booked_under_the_name_of_the_token(
    rig: Rig, reader: httpx.Client, operator: httpx.Client
) -> None:
    (wanted,) = operator.get("/v1/results", params={"evaluation": "NOT_OK", "limit": 1}).json()["results"]
    body = {"result_id": wanted["result_id"], "good": True}
    assert reader.post("/v1/feedback", json=body).status_code == 403
    assert operator.post("/v1/feedback", json=body).json() == {"done": True}
    query = "SELECT who FROM audit WHERE what = 'part_feedback' AND detail = ?"
    until("it is booked", lambda: rig.rows(query, f"{wanted['result_id']} was good"))
    ((who,),) = rig.rows(query, f"{wanted['result_id']} was good")
    assert who.startswith("operator")
    assert rig.rows("SELECT good FROM feedback WHERE trigger_seq = ?", wanted["trigger_seq"]) == [(1,)]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"result_id": "bench.00000000.1", "good": True}, 409, "none of the last 10000 production parts"),
        ({"result_id": "x", "good": 1}, 422, "good"),
        ({"result_id": "x"}, 422, "good"),
        ({"result_id": "x" * 129, "good": True}, 422, "result_id"),
        ({"result_id": "x", "good": True, "who": "the boss"}, 422, "who"),
    ],
)
def test_feedback_on_nothing_is_refused_with_the_reason(
    operator: httpx.Client, body: dict[str, object], status: int, words: str
) -> None:
    answer = operator.post("/v1/feedback", json=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]
