"""The simulated PLC over Modbus TCP, and over OPC UA with encryption and a user."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asyncua import Server, ua
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from real_station import RealStation, free_port, real_station
from typer.testing import CliRunner

from edge_inspector.cli.main import app
from edge_inspector.errors import ConfigError, OutputError
from edge_inspector.outputs.opcua_server.security import keeping, pki_of, users
from edge_inspector.plc_sim.modbus_wire import ModbusWire
from edge_inspector.plc_sim.opcua_wire import Access, OpcUaWire, Policy
from edge_inspector.store.books import verdicts

PASSWORD = "four parts a second"
URI = "urn:plc-sim:test"


def played(station: RealStation, log: Path, *to: str) -> str:
    """What the command says of eight parts, four of them good; it compares itself with the ledger."""
    ledger = station.folder / "state" / "ledger.sqlite"
    common = ["--recipe-no", "7", "--parts", "8", "--rate", "50", "--log", str(log), "--ledger", str(ledger)]
    done = CliRunner().invoke(app, ["plc-sim", *common, *to])
    assert done.exit_code == 0, done.output
    assert "4 passed, 4 rejected" in done.output
    assert "8 results compared, 0 disagreements" in done.output
    return done.output


@pytest.fixture(scope="module")
def modbus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealStation, str]]:
    port = free_port()
    plc = f'[plc.line]\ntype = "modbus_server"\nport = {port}\n'
    with real_station(tmp_path_factory.mktemp("modbus"), plc, port) as station:
        yield station, f"127.0.0.1:{port}"


@pytest.mark.parametrize("through", ["slot", "ring"])
def test_the_same_plc_plays_over_modbus(modbus: tuple[RealStation, str], tmp_path: Path, through: str) -> None:
    station, address = modbus
    played(station, tmp_path / "plc.jsonl", "--modbus", address, "--through", through)


def test_torn_scans_over_modbus_change_no_verdict(modbus: tuple[RealStation, str], tmp_path: Path) -> None:
    station, address = modbus
    assert "torn-scans" in played(station, tmp_path / "plc.jsonl", "--modbus", address, "--fault", "torn-scans=1")


def test_part_ids_arrive_whole_over_modbus(modbus: tuple[RealStation, str], tmp_path: Path) -> None:
    station, address = modbus
    before = set(verdicts(station.folder / "state" / "ledger.sqlite"))
    played(station, tmp_path / "plc.jsonl", "--modbus", address)
    rows = [row for name, row in verdicts(station.folder / "state" / "ledger.sqlite").items() if name not in before]
    assert [row.part_id.rpartition("-")[2] for row in rows] == [f"{n:05d}" for n in range(1, 9)]


def test_a_register_that_is_not_there_is_an_error_with_the_answer(modbus: tuple[RealStation, str]) -> None:
    _, address = modbus

    async def write_too_far() -> None:
        async with ModbusWire(address) as wire:
            await wire.write({"Status.Heartbeat": 1})  # the station's own: not for the PLC

    with pytest.raises(OutputError, match="function 16 is answered with"):
        asyncio.run(write_too_far())


@pytest.mark.parametrize("address", ["", "station", "station:", ":502", "station:0", "station:65536", "station:five"])
def test_a_modbus_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        ModbusWire(address)


def test_nobody_at_the_address_is_an_output_error() -> None:
    for wire in (ModbusWire(f"127.0.0.1:{free_port()}"), OpcUaWire(f"opc.tcp://127.0.0.1:{free_port()}", Access())):
        with pytest.raises(OutputError):
            asyncio.run(_open(wire))


def test_another_opc_ua_server_is_not_taken_for_a_station() -> None:
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}/other"

    async def visit() -> None:
        server = Server()
        await server.init()
        server.disable_clock()  # its task ends only after a second
        server.set_endpoint(endpoint)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        async with server:
            await _open(OpcUaWire(endpoint, Access()))

    with pytest.raises(ConfigError, match="is no station: it has no namespace urn:edge-inspector:station"):
        asyncio.run(visit())


async def _open(wire: ModbusWire | OpcUaWire) -> None:
    async with wire:
        await wire.read(["Status.BootId"])


@dataclass(frozen=True)
class Secured:
    station: RealStation
    endpoint: str
    certificate: Path
    key: Path

    def wire(self, policy: Policy, password: str, user: str = "line") -> OpcUaWire:
        return OpcUaWire(self.endpoint, Access(policy, self.certificate, self.key, user, password))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A station that listens beyond loopback, and a PLC that it trusts."""
    folder, port = tmp_path_factory.mktemp("secured"), free_port()
    certificate, key = _certificate(tmp_path_factory.mktemp("client"))
    pki = pki_of(folder / "state" / "plc" / "line")
    pki.make()
    keeping.trust_file(pki, certificate)
    who = {"line": users.Role.PLC, "scada": users.Role.READER}
    users.write_users(pki.users, {name: users.with_password(name, role, PASSWORD) for name, role in who.items()})
    plc = f'[plc.line]\ntype = "opcua_server"\nhost = "0.0.0.0"\nport = {port}\n'
    with real_station(folder, plc, port) as station:
        yield Secured(station, f"opc.tcp://127.0.0.1:{port}/edge-inspector", certificate, key)


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plc-sim")])
    now = dt.datetime.now(dt.timezone.utc)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=30))
    for extension, critical in (
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(URI)]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(True, True, True, True, False, False, False, False, False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
    ):
        builder = builder.add_extension(extension, critical)  # type: ignore[arg-type]
    signed = builder.sign(key, hashes.SHA256())
    (folder / "plc.der").write_bytes(signed.public_bytes(serialization.Encoding.DER))
    (folder / "plc.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "plc.der", folder / "key.pem"


@pytest.mark.parametrize(("policy", "file"), [("Basic256Sha256", "plc.der"), ("Aes256Sha256RsaPss", "plc.pem")])
def test_a_trusted_plc_plays_encrypted(secured: Secured, tmp_path: Path, policy: str, file: str) -> None:
    (tmp_path / "password.txt").write_text(PASSWORD + "\n")
    who = ["--certificate", str(secured.certificate.with_name(file)), "--private-key", str(secured.key)]
    login = ["--user", "line", "--password-file", str(tmp_path / "password.txt")]
    played(secured.station, tmp_path / "plc.jsonl", "--endpoint", secured.endpoint, "--policy", policy, *who, *login)


def test_a_wrong_password_is_told_as_such(secured: Secured) -> None:
    with pytest.raises(OutputError, match=r"(?i)identity|access|user"):
        asyncio.run(_open(secured.wire("Basic256Sha256", "guess")))


def test_a_user_that_may_only_read_is_no_plc(secured: Secured) -> None:
    async def greet() -> None:
        async with secured.wire("Basic256Sha256", PASSWORD, "scada") as wire:
            await wire.read(["Status.BootId"])
            await wire.write({"Control.Heartbeat": 1, "Control.PlcBootId": 9})

    with pytest.raises(ConfigError, match=r"refuses Control\.Heartbeat \(BadUserAccessDenied\).*--role plc"):
        asyncio.run(greet())


def test_a_plc_that_is_not_trusted_is_told_once_and_not_by_each_attempt(
    secured: Secured, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = _certificate(tmp_path)
    to = ["--endpoint", secured.endpoint, "--policy", "Basic256Sha256", "--wait-s", "1", "--log", str(tmp_path / "log")]
    done = CliRunner().invoke(app, ["plc-sim", *to, "--certificate", str(certificate), "--private-key", str(key)])
    assert done.exit_code == 2
    assert done.output.count("waiting for the station") == 1
    assert [record.name for record in caplog.records if record.name.startswith("asyncua")] == []


def test_an_endpoint_is_opc_tcp() -> None:
    with pytest.raises(ConfigError, match=r"endpoint 'http://192\.168\.10\.5': expected opc\.tcp://HOST:PORT"):
        OpcUaWire("http://192.168.10.5", Access())


def test_a_certificate_without_a_uri_or_none_at_all_is_refused(tmp_path: Path, secured: Secured) -> None:
    (tmp_path / "text.pem").write_text("-----BEGIN nothing")
    wire = OpcUaWire(secured.endpoint, Access("Basic256Sha256", tmp_path / "text.pem", secured.key))
    with pytest.raises(ConfigError, match=r"text\.pem: expected an X\.509 certificate"):
        asyncio.run(_open(wire))
