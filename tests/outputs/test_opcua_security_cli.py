"""`edge-inspector opcua certificates`, `trust`, `distrust` and `user`, on a station file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import security_kit as kit
import typer
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner, Result

from edge_inspector.cli import opcua_security
from edge_inspector.outputs.opcua_server.security import own, users
from edge_inspector.outputs.opcua_server.security.certificates import thumbprint
from edge_inspector.outputs.opcua_server.security.files import Pki
from edge_inspector.outputs.opcua_server.security.rejected import RejectedFolder

PLC = kit.party("plc")
STATION = """\
schema = 1
[station]
name = "cell-3"
recipe = "r"
[cameras.cam]
type = "folder"
path = "pictures"
[backend]
type = "onnxruntime"
[recipes.r]
number = 1
bundle = "pcb-demo"
views = [{ camera = "cam" }]
[plc.line]
type = "opcua_server"
"""
app = typer.Typer()
app.command("certificates")(opcua_security.certificates)
app.command("trust")(opcua_security.trust)
app.command("distrust")(opcua_security.distrust)
app.add_typer(opcua_security.user_app, name="user")


@pytest.fixture
def pki(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pki:
    """The folder that belongs to station.toml in the current folder."""
    (tmp_path / "station.toml").write_text(STATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return Pki(tmp_path / "state" / "plc" / "line" / "pki")


def opcua(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, list(words), input=stdin, env={"COLUMNS": "200"})


def test_a_client_that_knocked_is_listed_trusted_and_distrusted(pki: Pki) -> None:
    own.make(pki, "urn:vision:edge-inspector:cell-3", ("192.0.2.7",), kit.NOW)
    RejectedFolder(pki).keep(PLC.certificate, 0)
    digits = thumbprint(PLC.certificate)
    listed = opcua("certificates")
    assert listed.exit_code == 0
    assert str(pki.root) in listed.stdout
    assert "192.0.2.7" in listed.stdout
    rows = {row.split()[0]: row.split()[1:] for row in listed.stdout.splitlines() if row.split()}
    assert rows["rejected"] == [digits, "2028-02-29", kit.URI, "CN=plc"]
    assert rows["own"][2] == "urn:vision:edge-inspector:cell-3"
    assert opcua("trust", digits[:16]).stdout.split()[:2] == ["trusted:", digits]
    assert ["trusted", digits] in [row.split()[:2] for row in opcua("certificates").stdout.splitlines()]
    assert opcua("distrust", digits).exit_code == 0
    assert digits not in opcua("certificates").stdout


def test_a_damaged_file_is_named_and_keeps_nobody_from_taking_trust_back(pki: Pki) -> None:
    pki.make()
    (pki.trusted / "plc.der").write_bytes(PLC.der)
    (pki.trusted / "old.der").write_text("half a certif")
    listed = opcua("certificates")
    assert listed.exit_code == 2
    assert thumbprint(PLC.certificate) in listed.output
    assert "old.der: not a certificate" in listed.output
    assert opcua("distrust", thumbprint(PLC.certificate)).exit_code == 0
    assert not (pki.trusted / "plc.der").exists()


def test_trust_is_taken_from_every_copy_of_a_certificate(pki: Pki) -> None:
    pki.make()
    for name in ("plc.der", "plc_copied_by_hand.der"):
        (pki.trusted / name).write_bytes(PLC.der)
    assert opcua("distrust", thumbprint(PLC.certificate)).exit_code == 0
    assert list(pki.trusted.iterdir()) == []


def test_the_name_of_a_stranger_does_nothing_to_the_terminal(pki: Pki) -> None:
    RejectedFolder(pki).keep(kit.party("\x1b[2Jplc[bold]\n" + "x" * 40).certificate, 0)
    listed = opcua("certificates").stdout
    assert "CN=?[2Jplc[bold]?x" in listed.replace("\\", "")
    assert "\x1b" not in listed


def test_files_of_clients_cas_and_revocation_lists_are_taken(pki: Pki, tmp_path: Path) -> None:
    ca = kit.party("ca", ca=True, uri="")
    (tmp_path / "plc.der").write_bytes(PLC.der)
    (tmp_path / "ca.pem").write_bytes(ca.certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "ca.crl").write_bytes(kit.revocations(ca, PLC))
    assert opcua("trust", "plc.der").exit_code == 0
    assert "it is a CA" in opcua("trust", "ca.pem").stdout
    assert "1 certificate(s) taken back" in opcua("trust", "ca.crl").stdout
    assert {f.read_bytes() for f in pki.trusted.iterdir()} == {PLC.der, ca.der}
    assert [f.read_bytes() for f in pki.revocations[0].iterdir()] == [(tmp_path / "ca.crl").read_bytes()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trust", "nothing.der"), "neither a file nor"),
        (("trust", "station.toml"), "not a certificate"),
        (("trust", "0123456789ABCDEF"), "no rejected certificate"),
        (("distrust", "0123456789ABCDEF"), "no trusted certificate"),
        (("certificates", "--station", "other.toml"), "no such file"),
        (("certificates", "--link", "other"), "has no OPC UA server 'other'; expected line"),
        (("user", "remove", "x"), "the users are none"),
        (("user", "add", "x", "--role", "plc", "--password-file", "absent"), "No such file"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(pki: Pki, words: tuple[str, ...], message: str) -> None:
    done = opcua(*words)
    assert done.exit_code == 2
    assert message in done.stderr.replace("\n", " ")
    assert not pki.root.exists()


def test_users_are_added_listed_changed_and_removed(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("first password\nnot this line\n")
    (tmp_path / "scada.der").write_bytes(PLC.der)
    assert "added: line (plc)" in opcua("user", "add", "line", "--role", "plc", "--password-file", "secret").stdout
    assert users.is_password(users.read_users(pki.users)["line"], "first password")
    again = opcua("user", "add", "line", "--role", "reader", "--password-file", "-", stdin="second password\r\n")
    assert "changed: line (reader)" in again.stdout
    assert users.is_password(users.read_users(pki.users)["line"], "second password")
    assert opcua("user", "add", "scada", "--role", "reader", "--certificate", "scada.der").exit_code == 0
    assert opcua("user", "list").stdout.splitlines() == ["line  reader  password", "scada  reader  certificate"]
    assert opcua("user", "remove", "line").exit_code == 0
    assert list(users.read_users(pki.users)) == ["scada"]


def test_a_password_is_asked_for_at_a_terminal_twice(pki: Pki) -> None:
    """typer asks without echo; from a pipe the first line is taken."""
    done = opcua("user", "add", "line", "--role", "plc", stdin="from the pipe\n")
    assert done.exit_code == 0
    assert "from the pipe" not in done.stdout
    assert users.is_password(users.read_users(pki.users)["line"], "from the pipe")


@pytest.mark.parametrize("words", [("--password", "x"), ("secret",)])
def test_a_password_cannot_be_given_on_the_command_line(pki: Pki, words: tuple[str, ...]) -> None:
    done = opcua("user", "add", "line", "--role", "plc", *words)
    assert done.exit_code == 2
    assert not pki.users.exists()


def test_a_short_password_and_an_unknown_role_are_refused(pki: Pki) -> None:
    assert "expected 8 to 128" in opcua("user", "add", "line", "--role", "plc", stdin="short\n").stderr
    assert opcua("user", "add", "line", "--role", "admin", stdin="long enough\n").exit_code == 2
    assert not pki.users.exists()


def test_several_servers_have_to_be_told_apart(pki: Pki, tmp_path: Path) -> None:
    second = STATION + 'port = 4841\n[plc.scada]\ntype = "opcua_server"\n'
    (tmp_path / "station.toml").write_text(second.replace("[station]", '[station]\nmaster = "line"'))
    assert "--link: line, scada" in opcua("user", "list").stderr
    assert opcua("user", "add", "x", "--role", "plc", "--link", "scada", stdin="long enough\n").exit_code == 0
    assert (pki.root.parents[1] / "scada" / "pki" / "users.txt").exists()


def test_the_folder_is_that_of_the_service_when_it_says_so(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(pki.root.parents[3] / "var"))
    assert os.path.join("var", "plc", "line", "pki") in opcua("certificates").stdout
