"""Wireshark's own decoders over our traffic: every service is recognised, and no packet is malformed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from node_programs import Node
from real_station import RealStation, free_port, real_station

TSHARK, DUMPCAP, MBPOLL = (shutil.which(name) for name in ("tshark", "dumpcap", "mbpoll"))
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(180),
    pytest.mark.skipif(TSHARK is None or DUMPCAP is None, reason="tshark is not installed: apt-get install tshark"),
]
MODBUS = '[plc.line]\ntype = "modbus_server"\nport = {port}\n'
SERVICES = {
    *("Hello", "Acknowledge", "OpenSecureChannel", "CloseSecureChannel"),
    *("CreateSessionRequest", "CreateSessionResponse", "ActivateSessionRequest", "ActivateSessionResponse"),
    *("ReadRequest", "ReadResponse", "WriteRequest", "WriteResponse", "CloseSessionRequest", "CloseSessionResponse"),
    *("CreateSubscriptionRequest", "CreateSubscriptionResponse", "PublishRequest", "PublishResponse"),
    *("CreateMonitoredItemsRequest", "CreateMonitoredItemsResponse", "BrowseRequest", "BrowseResponse"),
    *("TranslateBrowsePathsToNodeIdsRequest", "TranslateBrowsePathsToNodeIdsResponse", "ServiceFault"),
}


@contextmanager
def captured(port: int, file: Path) -> Iterator[None]:
    """What goes over loopback to and from a port, in a file. Skips without the right to capture."""
    command = [str(DUMPCAP), "-q", "-i", "lo", "-f", f"tcp port {port}", "-w", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as capture:
        assert capture.stderr is not None
        said = ""
        while "File:" not in said:  # then it captures
            line = capture.stderr.readline()
            said += line
            if not line:
                if os.geteuid() != 0:
                    pytest.skip(f"no right to capture on loopback: {said.strip()}")
                pytest.fail(f"dumpcap ended: {said}")
        yield
        time.sleep(1.5)  # it hands packets over about once a second
        capture.send_signal(signal.SIGINT)
        capture.communicate(timeout=20)


def decoded(file: Path, port: int, protocol: str, *more: str) -> str:
    """What tshark prints about the file with the port taken for the protocol."""
    server = ("-o", f"mbtcp.tcp.port:{port}") if protocol == "mbtcp" else ()  # which side asks
    command = [str(TSHARK), "-r", str(file), "-d", f"tcp.port=={port},{protocol}", *server, *more]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_well_formed(file: Path, port: int, protocol: str, least: int) -> None:
    """The protocol was recognised in enough packets, and its decoder had nothing to complain of."""
    assert decoded(file, port, protocol, "-Y", protocol).count("\n") >= least
    warned = f"_ws.expert.severity >= 0x600000 && {protocol} && !modbus.exception_code"  # an exception is an answer
    wrong = decoded(file, port, protocol, "-Y", f"_ws.malformed || ({warned})")
    assert wrong == ""
    assert "Malformed" not in decoded(file, port, protocol, "-q", "-z", "expert")


def mbpoll(port: int, *options: str, values: tuple[str, ...] = ()) -> int:
    """One call, its exit code."""
    command = [str(MBPOLL), "-m", "tcp", "-p", str(port), "-0", "-1", *options, "127.0.0.1", *values]
    return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode


def test_every_opc_ua_message_of_a_whole_shift_is_decoded(
    node: Node, endpoint: str, station: RealStation, opcua_port: int, tmp_path: Path
) -> None:
    file = tmp_path / "opcua.pcapng"
    with captured(opcua_port, file):
        node("../fuzz/say_much.mjs", endpoint).finish()
        node("refusals.mjs", endpoint).finish()
        node("handshake.mjs", endpoint, 10, 7).finish()
        assert station.stop() == 0
    assert_well_formed(file, opcua_port, "opcua", 400)
    listed = decoded(file, opcua_port, "opcua", "-Y", "opcua", "-T", "fields", "-e", "_ws.col.Info")
    seen = Counter(word.rstrip(",") for line in listed.splitlines() for word in line.split())
    assert {name for name in SERVICES if not seen[name]} == set()
    assert seen["WriteResponse"] == seen["WriteRequest"] >= 40


@pytest.mark.skipif(MBPOLL is None, reason="mbpoll is not installed: apt-get install mbpoll")
def test_every_modbus_frame_is_decoded(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "modbus.pcapng"
    with real_station(tmp_path, MODBUS.format(port=port), port), captured(port, file):
        for table in ("0", "1"):
            assert mbpoll(port, "-t", table, "-r", "0", "-c", "32") == 0
        for table in ("3", "4"):
            assert mbpoll(port, "-t", table, "-r", "0", "-c", "104") == 0
            assert mbpoll(port, "-t", table, "-r", "656", "-c", "125") == 0
        assert mbpoll(port, "-t", "4", "-r", "2000", values=("0", "5")) == 0
        assert mbpoll(port, "-t", "4", "-r", "0", values=("5",)) != 0  # the station's own register
    assert_well_formed(file, port, "mbtcp", 16)
    codes = decoded(file, port, "mbtcp", "-Y", "mbtcp", "-T", "fields", "-e", "modbus.func_code").split()
    assert set(codes) >= {"1", "2", "3", "4", "16"}
    refused = decoded(file, port, "mbtcp", "-Y", "modbus.exception_code", "-T", "fields", "-e", "modbus.exception_code")
    assert refused.split() == ["2"]
