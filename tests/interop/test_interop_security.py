"""node-opcua over encrypted channels: who is let in, who is not, and with which status code."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from node_programs import Node
from opcua_wire import Refused, Wire
from real_station import RealStation, real_station
from relay import Relay, opcua_messages

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]
URI = "urn:interop:plc"
PASSWORD = "correct horse battery"
ON_A_NETWORK = '[plc.line]\ntype = "opcua_server"\nhost = "0.0.0.0"\nport = {port}\n'
"""For the server, the clients of this test come from a network like all others."""
OFFERED = [["Aes256_Sha256_RsaPss", "SignAndEncrypt"], ["Basic256Sha256", "SignAndEncrypt"]]
POLICIES = ["Basic256Sha256", "Aes256_Sha256_RsaPss"]


@dataclass(frozen=True)
class Plc:
    """A certificate with its key, and one attempt after another with it."""

    node: Node
    endpoint: str
    certificate: Path
    key: Path

    @property
    def thumbprint(self) -> str:
        return x509.load_der_x509_certificate(self.certificate.read_bytes()).fingerprint(hashes.SHA1()).hex()

    def tries(self, policy: str, user: str, password: str = PASSWORD, mode: str = "SignAndEncrypt") -> dict[str, Any]:
        """All that the attempt said, in one."""
        files = ("-", "-") if mode == "None" else (self.certificate, self.key)
        lines = self.node("secure.mjs", self.endpoint, policy, mode, *files, user, password).finish()
        return {key: value for line in lines for key, value in line.items()}


def edge_inspector(*arguments: object) -> str:
    command = [sys.executable, "-m", "edge_inspector", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def guarded(tmp_path: Path, opcua_port: int) -> Iterator[RealStation]:
    """A station on all addresses, with the users line3 (plc) and scada (reader)."""
    with real_station(tmp_path, ON_A_NETWORK.format(port=opcua_port), opcua_port) as made:
        (tmp_path / "password").write_text(PASSWORD)
        for name, role in (("line3", "plc"), ("scada", "reader")):
            options = ("--station", made.file, "--password-file", tmp_path / "password")
            edge_inspector("opcua", "user", "add", name, "--role", role, *options)
        yield made


@pytest.fixture
def plc(guarded: RealStation, node: Node, opcua_port: int) -> Plc:
    made = Plc(
        node, f"opc.tcp://127.0.0.1:{opcua_port}/edge-inspector", *(guarded.folder / n for n in ("plc.der", "plc.pem"))
    )
    names = {"countryName": "DE", "organizationName": "interop", "commonName": "plc"}
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
    asyncio.run(setup_self_signed_certificate(made.key, made.certificate, URI, socket.gethostname(), usage, names))
    return made


def rejected(station: RealStation) -> list[bytes]:
    return [file.read_bytes() for file in sorted(station.folder.glob("state/plc/line/pki/rejected/certs/*"))]


def test_a_trusted_plc_with_a_user_reads_writes_and_subscribes_with_both_policies(
    plc: Plc, guarded: RealStation
) -> None:
    edge_inspector("opcua", "trust", plc.certificate, "--station", guarded.file)
    for policy in POLICIES:
        told = plc.tries(policy, "line3")
        assert "refused" not in told, told
        assert (told["policy"], told["mode"]) == (policy, "SignAndEncrypt")
        assert told["wrote"] == ["Good", "BadNotWritable"]
        assert told["userAccess"] == 3
        assert told["beats"] >= 5
    reader = plc.tries("Basic256Sha256", "scada")
    assert reader["wrote"] == ["BadUserAccessDenied", "BadUserAccessDenied"]
    assert (reader["userAccess"], reader["beats"] >= 5) == (1, True)


def test_a_wrong_password_an_unknown_user_and_nobody_are_refused(plc: Plc, guarded: RealStation) -> None:
    edge_inspector("opcua", "trust", plc.certificate, "--station", guarded.file)
    for user, password in (("line3", "guess"), ("admin", PASSWORD)):
        told = plc.tries("Basic256Sha256", user, password)
        assert (told["refused"], told["code"]) == ("session", "BadUserAccessDenied"), told
    told = plc.tries("Basic256Sha256", "-")
    assert (told["refused"], "ANONYMOUS" in told["code"]) == ("session", True), told  # it is not even offered


def test_an_untrusted_certificate_is_refused_and_kept_until_somebody_trusts_it(
    plc: Plc, guarded: RealStation, opcua_port: int
) -> None:
    with Relay(opcua_port) as relay:  # node-opcua keeps the code of a refused channel to itself
        stranger = replace(plc, endpoint=f"opc.tcp://127.0.0.1:{relay.port}/edge-inspector")
        assert stranger.tries("Basic256Sha256", "line3")["refused"] == "connect"
        last = [opcua_messages(bytes(answers))[-1] for answers in relay.answers]
    told = [ua.StatusCode(struct.unpack_from("<I", m, 8)[0]).name for m in last if m.startswith(b"ERR")]
    assert set(told) == {"BadSecurityChecksFailed"}
    assert rejected(guarded) == [plc.certificate.read_bytes()]
    edge_inspector("opcua", "trust", plc.thumbprint[:16], "--station", guarded.file)
    assert rejected(guarded) == []
    assert plc.tries("Basic256Sha256", "line3")["beats"] >= 5


def test_without_encryption_a_network_gets_endpoints_and_no_session(plc: Plc, opcua_port: int) -> None:
    told = plc.tries("None", "-", mode="None")
    assert told["refused"] == "session", told
    assert sorted(told["offered"]) == OFFERED
    with Wire(opcua_port) as wire:  # which asks although nothing of the kind is offered
        wire.hello()
        with pytest.raises(Refused, match="BadSecurity"):
            wire.open().session()
