"""Checks on what an edge node sent, as the Sparkplug 3.0 specification wants it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

from sparkplug_rig import NOON_MS
from sparkplug_traffic import DEVICE, NODE, Traffic
from sparkplug_wire import CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE

BIRTHS, CERTIFICATES = ("NBIRTH", "DBIRTH"), ("NBIRTH", "DBIRTH", "DDEATH")
NUMBERED = (*CERTIFICATES, "DDATA")
Check = Callable[[Traffic], None]
INT64, BOOLEAN, INT32, DOUBLE, STRING = 4, 11, 3, 10, 12
KINDS = {INT32: "int", INT64: "long", DOUBLE: "double", BOOLEAN: "boolean", STRING: "string"}


def topics(traffic: Traffic) -> None:
    form = rf"spBv1\.0/plant/(N(BIRTH|DEATH)/{NODE}|D(BIRTH|DEATH|DATA)/{NODE}/{DEVICE})"
    sent = [packet for session in traffic.published for packet in session] + traffic.wills
    assert {packet.verb for packet in sent} == {"NBIRTH", "DBIRTH", "DDATA", "DDEATH", "NDEATH"}
    for packet in sent:
        assert re.fullmatch(form, packet.topic), packet.topic


def qos_0_not_retained(*verbs: str) -> Check:
    def check(traffic: Traffic) -> None:
        sent = traffic.of(*verbs)
        assert sent
        assert {(packet.qos, packet.retain) for packet in sent} == {(0, False)}

    return check


def timestamps(*verbs: str) -> Check:
    """Of the payload: when it was sent, by a clock that began at noon and was moved by less than two hours."""

    def check(traffic: Traffic) -> None:
        times = [body.timestamp for body in traffic.bodies(*verbs)]
        assert times
        assert all(at is not None and NOON_MS <= at < NOON_MS + 7_200_000 for at in times)
        assert times == sorted(times, key=lambda at: at or 0)

    return check


def sequence(traffic: Traffic) -> None:
    """0 in each NBIRTH, then one more each, 0 after 255; a node's death has none."""
    wrapped = False
    for session in traffic.published:
        expected = 0
        for packet in session:
            seq = packet.body.seq
            if packet.verb == "NDEATH":
                assert seq is None
                continue
            if packet.verb == "NBIRTH":
                expected = 0
            assert seq == expected, (packet.verb, seq, expected)
            wrapped |= seq == 255
            expected = (expected + 1) % 256
    assert wrapped
    assert all(will.body.seq is None for will in traffic.wills)


def births_first(traffic: Traffic) -> None:
    """NBIRTH, at once its DBIRTH, and then the rest; a later DBIRTH only of a device that had died."""
    for session in traffic.published:
        if not session:
            continue
        assert [packet.verb for packet in session[:2]] == ["NBIRTH", "DBIRTH"]
        alive = False
        for before, packet in itertools.pairwise(session):
            if packet.verb == "DBIRTH":
                assert before.verb == "NBIRTH" or not alive
            assert before.verb != "NBIRTH" or packet.verb == "DBIRTH"
            assert packet.verb not in ("DDATA", "DDEATH") or alive
            alive = packet.verb == "DBIRTH" or (alive and packet.verb != "DDEATH")


def connected_first(traffic: Traffic) -> None:
    assert [packet.kind for session in traffic.sessions for packet in session].count(CONNECT) == len(traffic.sessions)


def clean_start(traffic: Traffic) -> None:
    for connect in traffic.connects:
        assert connect.clean is True
        assert connect.expiry_s in (None, 0)  # none is 0


def will(traffic: Traffic) -> None:
    assert len(traffic.wills) == len(traffic.sessions)
    for one in traffic.wills:
        assert (one.topic, one.qos, one.retain) == (f"spBv1.0/plant/NDEATH/{NODE}", 1, False)
        (metric,) = one.body.metrics
        assert (metric.name, metric.datatype, metric.kind) == ("bdSeq", INT64, "long")


def bd_seq(traffic: Traffic) -> None:
    """From 0, one more with each CONNECT of an edge node; the same in the will, the births and the own NDEATH."""
    wills = [one.body["bdSeq"] for one in traffic.wills]
    assert wills == [0, 1, 0, 1, 2]  # two edge nodes, one after the other
    for number, session in zip(wills, traffic.published, strict=True):
        said = [packet.body["bdSeq"] for packet in session if packet.verb in ("NBIRTH", "NDEATH")]
        assert set(said) <= {number}
    assert all(metric.datatype == INT64 for body in traffic.bodies("NBIRTH") for metric in body.metrics[:1])


def node_death(traffic: Traffic) -> None:
    deaths = [packet for packet in traffic.delivered if packet.verb == "NDEATH"]
    assert len(deaths) >= 3
    for packet in [*traffic.of("NDEATH"), *deaths]:
        assert [metric.name for metric in packet.body.metrics] == ["bdSeq"]


def farewell(traffic: Traffic) -> None:
    """An intended end: NDEATH, then DISCONNECT with will in MQTT 5 and none in 3.1.1."""
    ended = [session for session in traffic.sessions[1:] if any(p.topic and p.kind == PUBLISH for p in session)]
    assert len(ended) == 3
    for session in ended:
        tail = session[-2:] if traffic.protocol == "5" else session[-1:]
        assert tail[0].verb == "NDEATH"
    for session in traffic.sessions[1:]:
        reasons = [packet.reason for packet in session if packet.kind == DISCONNECT]
        assert reasons == ([4] if traffic.protocol == "5" else [])


def rebirth_metric(traffic: Traffic) -> None:
    for body in traffic.bodies("NBIRTH"):
        (metric,) = [metric for metric in body.metrics if metric.name == "Node Control/Rebirth"]
        assert (metric.datatype, metric.kind, metric.value) == (BOOLEAN, "boolean", False)
        assert 2 not in metric.fields


def every_metric(traffic: Traffic) -> None:
    """No message has a metric that the birth before it had not."""
    for session in traffic.published:
        born: dict[str, set[str]] = {"N": set(), "D": set()}
        for packet in session:
            names = [metric.name for metric in packet.body.metrics]
            if packet.verb in BIRTHS:
                born[packet.verb[0]] = set(names)
                lower = {name.lower() for name in names}
                assert len(lower) == len(names)
            assert set(names) <= born[packet.verb[0]]


def birth_values(traffic: Traffic) -> None:
    """Name, datatype and either a value or is_null."""
    nulls = 0
    for body in traffic.bodies(*BIRTHS):
        for metric in body.metrics:
            assert metric.name
            assert metric.datatype in KINDS
            assert metric.null == (metric.kind is None)
            nulls += metric.null
    assert nulls


def metric_fields(traffic: Traffic) -> None:
    """Name, time of day in UTC, a datatype of the specification, the value in the field of its datatype; no more."""
    for body in traffic.bodies(*NUMBERED):
        for metric in body.metrics:
            assert {1, 3, 4} <= set(metric.fields) <= {1, 3, 4, 5, 7, *range(10, 16)}
            assert metric.timestamp is not None
            assert NOON_MS <= metric.timestamp < NOON_MS + 7_200_000
            assert metric.kind in (None, KINDS[metric.datatype or 0])


def chronological(traffic: Traffic) -> None:
    for body in traffic.bodies(*NUMBERED):
        times = [metric.timestamp or 0 for metric in body.metrics if not metric.historical]
        assert times == sorted(times)


def changes_only(traffic: Traffic) -> None:
    """No DDATA says what a host already shows: each has something that differs from what was said last of it."""
    for session in traffic.published:
        shown: dict[str, object] = {}
        for packet in session:
            said = {metric.name: (metric.value, metric.timestamp, metric.historical) for metric in packet.body.metrics}
            if packet.verb == "DDATA":
                assert any(shown.get(name) != value for name, value in said.items())
            shown.update(said)


def subscriptions(traffic: Traffic) -> None:
    """NCMD, and STATE of a primary host, at QoS 1, before anything is published."""
    for number, session in enumerate(traffic.sessions):
        wanted = {f"spBv1.0/plant/NCMD/{NODE}"} | ({"spBv1.0/STATE/ignition"} if number >= 2 else set())
        first = [packet for packet in session[1 : 1 + len(wanted)] if packet.kind == SUBSCRIBE]
        assert {(packet.topic, packet.qos) for packet in first} == {(topic, 1) for topic in wanted}
        assert {packet.topic for packet in session if packet.kind == SUBSCRIBE} == wanted


def rebirth(traffic: Traffic) -> None:
    """After the command no data until NBIRTH and DBIRTH, with the bdSeq of the will."""
    session = traffic.published[0]
    verbs = [packet.verb for packet in session]
    second = verbs.index("NBIRTH", 1)
    assert verbs[:second].count("DDATA") == traffic.before_rebirth + 1  # Halted
    assert verbs[second + 1] == "DBIRTH"
    assert verbs.count("NBIRTH") == 2
    assert session[second].body["bdSeq"] == traffic.wills[0].body["bdSeq"] == 0


def device_death(traffic: Traffic) -> None:
    """In a state that inspects nothing, after its last words; born again before it says anything else."""
    verbs = [packet.verb for packet in traffic.published[0]]
    first = verbs.index("DDEATH")
    assert verbs[first : first + 5] == ["DDEATH", "DBIRTH", "DDATA", "DDEATH", "DBIRTH"]
    states = [p.body["Station/State"] for p in traffic.published[0] if p.verb == "DBIRTH"]
    assert states == ["Ready", "Error", "Ready", "Ready"]
    assert all(not packet.body.metrics for packet in traffic.of("DDEATH"))


def waits_for_host(traffic: Traffic) -> None:
    """For its own host, online, and not before what it has said last."""
    assert len(traffic.while_waiting) == 4
    for session in traffic.while_waiting:
        assert all(packet.kind != PUBLISH for packet in session)
    assert [packet.verb for packet in traffic.published[2][:3]] == ["NBIRTH", "DBIRTH", "DDATA"]


def leaves_without_host(traffic: Traffic) -> None:
    """Not by an older word; then NDEATH and the end of the session, and a new one that waits."""
    assert [packet.verb for packet in traffic.published[2]] == ["NBIRTH", "DBIRTH", "DDATA", "NDEATH"]
    assert [packet.verb for packet in traffic.published[3]] == ["NBIRTH", "DBIRTH", "NDEATH"]
    assert traffic.published[4] == []


def history(traffic: Traffic) -> None:
    """What waited for the broker is historical, and its newest is said again as the present."""
    data = [packet for packet in traffic.published[1] if packet.verb == "DDATA"]
    flags = [{metric.historical for metric in packet.body.metrics} for packet in data]
    assert flags == [{True}] * 20 + [{False}] * 3
    assert data[20].body["Result/Seq"] == data[19].body["Result/Seq"] == 419
