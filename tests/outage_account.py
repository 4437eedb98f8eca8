"""Whether the PLC's log, the station's ledger and the witness at the broker tell the same story, part by part."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mqtt_witness import Arrival
from timed_plc import read_times

from edge_inspector.plc_sim.log import read_plc_log
from edge_inspector.plc_sim.proof import Truth, compare
from edge_inspector.store.books import read_books, verdicts

TRUTH = Truth((True, False, True, False))
"""The pictures of `RealStation`, in the order in which its camera plays them."""
_MS = 0.001


@dataclass(frozen=True)
class Account:
    """What was found: each of `wrong` is one contradiction; `replayed` were booked after a restart.

    `duplicates` are results that came again, as QoS 1 may.
    """

    accepted: int
    results: int
    undefined: int
    replayed: int
    duplicates: int
    events: int
    wrong: tuple[str, ...]


def account(ledger: Path, plc_log: Path, arrivals: Iterable[Arrival], base: str) -> Account:
    """Compare the three books; the parts must be settled and the outbox empty."""
    books, arrived = read_books(ledger), list(arrivals)
    booked = _booked(ledger)
    results = [one for one in arrived if one.topic == f"{base}/result"]
    bodies, wrong = _deduplicated(results)
    wrong += [] if books.balanced else list(books.gaps)
    wrong += _same(set(booked), set(bodies))
    numbers = [body["seq"] for body in bodies.values()]
    wrong += [f"{late} came after {early}" for early, late in itertools.pairwise(numbers) if late < early]
    wrong += [text for result_id, body in bodies.items() if (text := _differs(body, booked.get(result_id)))]
    wrong += _times(bodies.values(), plc_log)
    wrong += _findings(bodies, [one for one in arrived if one.topic == f"{base}/defects"])
    wrong += _events(ledger, [one for one in arrived if one.topic == f"{base}/event"])
    proof = compare(read_plc_log(plc_log), verdicts(ledger), TRUTH)
    wrong += [*proof.bad_passed, *proof.wrong_ids, *proof.disagreements]
    return Account(
        accepted=books.accepted,
        results=len(bodies),
        undefined=books.undefined,
        replayed=_count(ledger, "results WHERE replayed = 1"),
        duplicates=len(results) - len(bodies),
        events=_count(ledger, "events"),
        wrong=tuple(wrong),
    )


def _booked(ledger: Path) -> dict[str, tuple[str, str, int, str]]:
    """By result_id: part, when it was taken, evaluation, and its number; read with plain SQL."""
    query = "SELECT result_id, part_id, wall_utc, evaluation, seq FROM results JOIN triggers USING (seq)"
    with closing(sqlite3.connect(ledger)) as connection:
        return {row[0]: row[1:] for row in connection.execute(query)}


def _count(ledger: Path, what: str) -> int:
    with closing(sqlite3.connect(ledger)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def _deduplicated(results: list[Arrival]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Each result's body in the order of first arrival; one that comes again must be the same, byte for byte."""
    bodies: dict[str, dict[str, Any]] = {}
    first: dict[str, str] = {}
    wrong = []
    for one in results:
        result_id = json.loads(one.payload)["result_id"]
        if result_id not in first:
            first[result_id], bodies[result_id] = one.payload, json.loads(one.payload)
        elif first[result_id] != one.payload:
            wrong.append(f"{result_id} came as {first[result_id]} and as {one.payload}")
    return bodies, wrong


def _same(booked: set[str], arrived: set[str]) -> list[str]:
    lost, invented = sorted(booked - arrived), sorted(arrived - booked)
    return [f"{one} is booked and never arrived" for one in lost] + [f"{one} arrived unbooked" for one in invented]


def _differs(body: dict[str, Any], row: tuple[str, str, int, str] | None) -> str:
    names = {"UNDEFINED": 0, "OK": 1, "NOT_OK": 2, "NOT_DECIDABLE": 3}
    said = (body["part_id"], body["ts"], names[body["evaluation"]], body["seq"])
    return "" if row in (None, said) else f"{body['result_id']}: booked {row}, published {said}"


def _times(bodies: Iterable[dict[str, Any]], plc_log: Path) -> list[str]:
    """A result's time is when the part was there, whenever it was published: between the PLC's two notes of it."""
    known, wrong = read_times(plc_log), []
    for body in bodies:
        announced, taken = known.get(body["part_id"], (float("inf"), None))
        at = datetime.fromisoformat(body["ts"].replace("Z", "+00:00")).timestamp()
        if at < announced - _MS or (taken is not None and at > taken):
            wrong.append(f"{body['result_id']} names {at}, the PLC announced it at {announced}, taken at {taken}")
    return wrong


def _findings(bodies: dict[str, dict[str, Any]], defects: list[Arrival]) -> list[str]:
    """Every result with defects has its message of them, of as many."""
    told = {body["result_id"]: len(body["defects"]) for body in (json.loads(one.payload) for one in defects)}
    wanted = {result_id: body["defect_count"] for result_id, body in bodies.items() if body["defect_count"]}
    return [f"{one}: {n} defects, told {told.get(one)}" for one, n in wanted.items() if told.get(one) != n]


def _events(ledger: Path, arrived: list[Arrival]) -> list[str]:
    """Every event of the book came, at least as often as it was booked."""
    with closing(sqlite3.connect(ledger)) as connection:
        booked = Counter(connection.execute("SELECT wall_utc, code, text FROM events"))
    told = Counter((body["ts"], body["code"], body["text"]) for body in (json.loads(one.payload) for one in arrived))
    return [f"event {one} is booked {n} times, arrived {told[one]} times" for one, n in booked.items() if told[one] < n]
