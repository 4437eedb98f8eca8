"""`edge-inspector doctor` on PLC links: who answers, our certificate, who logs in. Tags: test_opcua_client_cli.py."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from opcua_client_rig import free_port, mapping

from edge_inspector.cli.doctor_opcua import Links, plc_findings
from edge_inspector.health.finding import Finding
from edge_inspector.outputs.digital.config import Config as DigitalConfig
from edge_inspector.outputs.opcua_client.config import Config as ClientConfig
from edge_inspector.outputs.opcua_server.link import Config as ServerConfig
from edge_inspector.outputs.opcua_server.security import pki_of
from edge_inspector.outputs.opcua_server.security.users import Role, with_password, write_users
from edge_inspector.settings import PlcConfig

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)


def client(port: int, **keys: object) -> ClientConfig:
    table = {"type": "opcua_client", "endpoint": f"opc.tcp://127.0.0.1:{port}", "security": "None", "map": mapping()}
    return ClientConfig.model_validate({**table, **keys})


def never(host: str, port: int) -> str:
    raise AssertionError(f"{host}:{port} was connected")


def told(folder: Path, link: PlcConfig, answer: str | None = None) -> list[Finding]:
    links = Links(Path("/etc/edge-inspector/s7/station.toml"), "s7", folder, {"line": link})
    return list(plc_findings(links, NOW, never if answer is None else lambda host, port: answer))


def test_a_plc_that_is_away_fails_in_the_words_of_the_link(tmp_path: Path) -> None:
    port = free_port()
    (one,) = told(tmp_path, client(port, timeout_s=1.0))
    assert (one.check, one.subject, one.level) == ("opcua.connect", "line", "fail")
    assert f"opc.tcp://127.0.0.1:{port}" in one.found


def test_no_certificate_is_made_by_looking(tmp_path: Path) -> None:
    (one,) = told(tmp_path, client(free_port(), security="Basic256Sha256"))
    assert (one.check, one.level) == ("opcua.certificate", "warn")
    assert list(tmp_path.iterdir()) == []


def server_link(host: str) -> ServerConfig:
    return ServerConfig.model_validate({"type": "opcua_server", "host": host})


def test_a_server_for_this_machine_alone_asks_for_no_users(tmp_path: Path) -> None:
    assert [(one.check, one.level) for one in told(tmp_path, server_link("127.0.0.1"))] == [("opcua.users", "note")]


def test_a_server_on_a_network_needs_a_user_who_may_write_and_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    link, pki = server_link("0.0.0.0"), pki_of(tmp_path / "plc" / "line")
    pki.make()
    write_users(pki.users, {"scada": with_password("scada", Role.READER, "long enough 1")})
    (one,) = told(tmp_path, link)
    assert (one.level, one.found) == ("warn", "1 users, 0 of role plc; 0 trusted certificates")
    assert one.remedy.startswith("edge-inspector opcua user add NAME --role plc --station ")
    write_users(pki.users, {"s7": with_password("s7", Role.PLC, "long enough 1")})
    (one,) = told(tmp_path, link)
    assert (one.level, one.remedy.split()[2]) == ("warn", "trust")
    (pki.trusted / "plc.der").write_bytes(b"x")
    assert [one.level for one in told(tmp_path, link)] == ["ok"]
    pki.users.write_text("nonsense\n")
    assert [one.level for one in told(tmp_path, link)] == ["fail"]


@pytest.mark.parametrize(("answer", "level"), [("", "ok"), ("Connection refused", "fail")])
def test_a_remote_io_is_asked_whether_it_answers(tmp_path: Path, answer: str, level: str) -> None:
    wiring = {"host": "192.168.0.9", "ready": 0, "ok": 1}
    link = DigitalConfig.model_validate({"type": "digital", "modbus": wiring})
    (one,) = told(tmp_path, link, answer)
    assert (one.check, one.level, one.found.split()[0]) == ("plc.remote_io", level, "192.168.0.9:502")


def test_a_gpio_chip_that_is_not_there_fails(tmp_path: Path) -> None:
    wiring = {"chip": str(tmp_path / "gpiochip7"), "ready": 0, "ok": 1}
    link = DigitalConfig.model_validate({"type": "digital", "gpio": wiring})
    assert [(one.check, one.level) for one in told(tmp_path, link)] == [("plc.gpio", "fail")]
    (tmp_path / "gpiochip7").touch()
    assert [(one.check, one.level) for one in told(tmp_path, link)] == [("plc.gpio", "ok")]
