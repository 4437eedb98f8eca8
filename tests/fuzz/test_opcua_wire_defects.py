"""What a hostile client says to the running server: each line of this file was once a defect."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary
from opcua_hostile import tag_id
from opcua_wire import Closed, Refused, Wire, connected, frame, result
from real_station import OPCUA, RealStation, free_port, real_station

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
QUICK_S = 2.0
"""An honest client that reads meanwhile waits no longer than this, on a machine that does other things too."""
MIB = 2**20
PUBLISHED = ua.DataValue(ua.Variant(9, ua.VariantType.UInt32))


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[RealStation]:
    folder: Path = tmp_path_factory.mktemp("station")
    with real_station(folder, OPCUA.format(port=port), port) as made:
        yield made


@pytest.fixture(autouse=True)
def honest(station: RealStation, port: int) -> Iterator[Wire]:
    """Has a session before the attack, and must still have it afterwards, with a heartbeat that goes on."""
    said = len(station.said)
    with connected(port) as wire:
        before = beat(wire)
        yield wire
        asked = time.monotonic()
        station.wait("the heartbeat goes on", lambda: beat(wire) != before, 10)
        assert time.monotonic() - asked < QUICK_S
    assert "Traceback" not in station.said[said:]
    assert "never retrieved" not in station.said[said:]


def read(wire: Wire, name: str) -> ua.DataValue:
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
    request.Parameters.NodesToRead = [ua.ReadValueId(NodeId=tag_id(name), AttributeId=ua.AttributeIds.Value)]
    answer = wire.ask(request)
    if result(answer) != "Good":
        raise Refused(result(answer))
    return answer.Results[0]


def beat(wire: Wire) -> int:
    return int(read(wire, "Status.Heartbeat").Value.Value)


def write(wire: Wire, name: str, value: ua.DataValue = PUBLISHED) -> str:
    request = ua.WriteRequest()
    request.Parameters.NodesToWrite = [ua.WriteValue(tag_id(name), ua.AttributeIds.Value, None, value)]
    answer = wire.ask(request)
    return result(answer) if result(answer) != "Good" else str(answer.Results[0].name)


def pour(wire: Wire, messages: Sequence[bytes]) -> None:
    for message in messages:
        wire.send(message)


def test_a_request_without_a_secure_channel_is_not_served(port: int) -> None:
    """Channel 0 and token 0 are what asyncua has before one is opened, without any security."""
    with Wire(port) as wire:
        wire.hello()
        with pytest.raises(Closed):
            wire.session()


def test_a_session_that_was_not_activated_reads_and_writes_nothing(port: int) -> None:
    with Wire(port) as wire:
        wire.hello()
        wire.open().session(activate=False)
        with pytest.raises(Refused, match=r"BadSessionNotActivated|BadUserAccessDenied"):
            read(wire, "Status.Word")
        assert write(wire, "Control.ResultAckSeq") in ("BadSessionNotActivated", "BadUserAccessDenied")


def test_a_session_cannot_be_taken_over_with_a_wrong_password(port: int, honest: Wire) -> None:
    """Even by one who knows its token, which no one can guess."""
    token = honest.authentication
    assert token.NodeIdType is ua.NodeIdType.ByteString
    assert len(token.Identifier) >= 16
    before = read(honest, "Control.ResultAckSeq").Value.Value
    with Wire(port) as wire:
        wire.hello()
        wire.open().authentication = token
        wrong = ua.UserNameIdentityToken(PolicyId="username", UserName="plc", Password=b"guess")
        assert result(wire.activate(wrong)) in (
            "BadIdentityTokenRejected",
            "BadUserAccessDenied",
            "BadSessionIdInvalid",
        )
        assert write(wire, "Control.ResultAckSeq") in ("BadSessionIdInvalid", "BadUserAccessDenied")
    assert read(honest, "Control.ResultAckSeq").Value.Value == before


def test_a_request_with_another_sessions_token_is_refused(port: int, honest: Wire) -> None:
    with connected(port) as wire:
        wire.authentication = honest.authentication
        with pytest.raises(Refused, match=r"BadSessionIdInvalid"):
            read(wire, "Status.Word")


def test_servers_cannot_be_registered_without_a_session(port: int) -> None:
    with Wire(port) as wire:
        wire.hello()
        wire.open()
        request = ua.RegisterServerRequest()
        request.Server = ua.RegisteredServer()
        request.Server.ServerUri = "urn:forged"
        assert result(wire.ask(request)) == "BadServiceUnsupported"


def test_somebody_elses_subscription_is_as_unknown_as_none(port: int, honest: Wire) -> None:
    create = ua.CreateSubscriptionRequest()
    create.Parameters.RequestedPublishingInterval = 100.0
    create.Parameters.RequestedLifetimeCount = 100
    create.Parameters.RequestedMaxKeepAliveCount = 10
    own = honest.ask(create).Parameters.SubscriptionId
    with connected(port) as wire:
        delete = ua.DeleteSubscriptionsRequest()
        delete.Parameters.SubscriptionIds = [own]
        assert [code.name for code in wire.ask(delete).Results] == ["BadSubscriptionIdInvalid"]
        mute = ua.SetPublishingModeRequest()
        mute.Parameters.SubscriptionIds = [own]
        assert [code.name for code in wire.ask(mute).Parameters.Results] == ["BadSubscriptionIdInvalid"]
        take = ua.TransferSubscriptionsRequest()
        take.Parameters.SubscriptionIds = [own]
        answer = wire.ask(take)
        refused = [one.StatusCode.name for one in answer.Parameters.Results] if result(answer) == "Good" else []
        assert refused == ["BadSubscriptionIdInvalid"] or result(answer) != "Good"
    delete.Parameters.SubscriptionIds = [own]
    assert [code.name for code in honest.ask(delete).Results] == ["Good"]


def _value_bomb(value: bytes, times: int = 1) -> Callable[[Wire], bytes]:
    """A Write of `times` values that begin after the DataValue's mask byte."""

    def body(wire: Wire) -> bytes:
        header = ua.RequestHeader()
        header.AuthenticationToken = wire.authentication
        type_id = nodeid_to_binary(ua.FourByteNodeId(ua.ObjectIds.WriteRequest_Encoding_DefaultBinary))
        where = nodeid_to_binary(tag_id("Control.PartId")) + struct.pack("<Ii", ua.AttributeIds.Value, -1) + b"\x01"
        return type_id + struct_to_binary(header) + struct.pack("<i", times) + (where + value) * times

    return body


ENDLESS = struct.pack("<i", 2**31 - 1)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_value_bomb(b"\x80" + ENDLESS), id="array of Null: no bytes an element"),
        pytest.param(_value_bomb(b"\x80" + struct.pack("<i", 300), 200), id="many arrays of Null"),
        pytest.param(_value_bomb(b"\x8c" + ENDLESS + struct.pack("<i", -4)), id="strings that are read backwards"),
        pytest.param(_value_bomb(b"\x8f" + ENDLESS + struct.pack("<i", -4)), id="byte strings that are read backwards"),
        pytest.param(_value_bomb(b"\x86" + struct.pack("<i", -7)), id="array of negative length"),
        pytest.param(_value_bomb(b"\xc6" + struct.pack("<iii", 0, 1, 10**6), 400), id="dimensions without elements"),
        pytest.param(_value_bomb(b"\xc6" + struct.pack("<iiii", 0, 2, -1, -(10**6)), 400), id="negative dimensions"),
        pytest.param(_value_bomb(b"\xc6" + struct.pack("<ii", 0, 9000) + bytes(36_000)), id="nine thousand dimensions"),
        pytest.param(_value_bomb(b"\x18" * 50_000 + b"\x01\x01"), id="variants in variants"),
        pytest.param(_value_bomb((b"\x98" + struct.pack("<i", 1)) * 9000), id="arrays of variants in each other"),
        pytest.param(_value_bomb(b"\x19" + b"\x40" * 50_000 + b"\x00"), id="DiagnosticInfo in DiagnosticInfo"),
        pytest.param(_value_bomb(b"\x0c" + struct.pack("<i", -40)), id="text of negative length"),
    ],
)
def test_a_value_that_is_small_on_the_wire_and_large_in_memory_is_refused_at_once(
    body: Callable[[Wire], bytes], station: RealStation, port: int
) -> None:
    before = station.rss_mb
    with connected(port) as wire:
        message = body(wire)
        asked = time.monotonic()
        try:
            answer = wire.ask_bytes(message)
            codes = {code.name for code in getattr(answer, "Results", [])} or {result(answer)}
            assert "Good" not in codes
        except Closed:
            pass
        assert time.monotonic() - asked < QUICK_S
    assert station.rss_mb < before + 30


def test_an_announced_length_beyond_a_chunk_ends_the_connection_at_once(station: RealStation, port: int) -> None:
    before = station.rss_mb
    with connected(port) as wire, pytest.raises(Closed):
        pour(wire, [b"MSGF" + struct.pack("<I", 2**32 - 1), *[bytes(65536)] * 1000])
    assert station.rss_mb < before + 10


def test_a_message_that_never_ends_is_refused_before_it_fills_the_memory(station: RealStation, port: int) -> None:
    before = station.rss_mb
    with Wire(port) as wire:
        wire.hello()
        wire.open()
        ids = [struct.pack("<IIII", wire.channel, wire.token, number, 1) for number in range(2, 1000)]
        with pytest.raises(Closed):
            pour(wire, [frame(b"MSGC", one + bytes(60_000)) for one in ids])
    assert station.rss_mb < before + 10


@pytest.mark.parametrize("size", [0, 10, 45, 8191])
def test_a_client_with_smaller_buffers_than_the_standard_allows_is_refused(size: int, port: int) -> None:
    with Wire(port) as wire, pytest.raises(Closed):
        wire.hello(ReceiveBufferSize=size)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(b"MSGF\x08\x00\x00\x00", id="no body"),
        pytest.param(b"HELF\x00\x00\x00\x00", id="no length"),
        pytest.param(frame(b"ACKF", bytes(20)), id="a server's message"),
        pytest.param(frame(b"MSGF", struct.pack("<IIII", 1, 77, 1, 1) + bytes(20)), id="a wrong channel and token"),
        pytest.param(frame(b"MSGX", bytes(30)), id="an unknown mark"),
    ],
)
def test_after_a_message_that_cannot_be_understood_the_connection_ends(message: bytes, port: int) -> None:
    with Wire(port) as wire:
        wire.hello()
        wire.open()
        wire.send(message)
        wire.finish()


def test_a_client_that_never_reads_its_answers_costs_no_memory(station: RealStation, port: int) -> None:
    before = station.rss_mb
    browse = ua.BrowseRequest()
    everything = ua.BrowseDescription(NodeId=ua.NodeId(ua.ObjectIds.Server), ResultMask=63)
    browse.Parameters.NodesToBrowse = [everything] * 100
    with connected(port) as wire:
        browse.RequestHeader.AuthenticationToken = wire.authentication
        body = struct_to_binary(browse)
        try:
            for _ in range(500):
                wire.send(wire.message(body))
        except (Closed, TimeoutError):
            pass  # nobody takes any more of it
    assert station.rss_mb < before + 30


def test_nonsense_does_not_fill_the_log(station: RealStation, port: int) -> None:
    before = len(station.said)
    for _ in range(200):
        with Wire(port) as wire:
            wire.send(frame(b"MSGF", bytes(30)))
            with pytest.raises(Closed):
                wire.receive()
    assert len(station.said) - before < 20_000
