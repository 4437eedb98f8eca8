"""The process: what it refuses to start with, TLS, and the commands for tokens."""

from __future__ import annotations

import ssl
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from real_station import STATION, free_port, listens
from typer.testing import CliRunner
from web_rig import until

from edge_inspector.cli.web import web
from edge_inspector.web.tokens import token_file

NOW = datetime.now(timezone.utc)


def station_file(folder: Path, table: str) -> Path:
    file = folder / "station.toml"
    file.write_text(STATION.replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 1.0') + f"[web]\n{table}\n")
    return file


def tls_files(folder: Path, name: str = "web") -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private


def started(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_inspector", "web", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def refused(file: Path) -> str:
    result = CliRunner().invoke(web, ["serve", str(file)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "station.example"])
def test_it_does_not_listen_beyond_this_machine_without_tls(tmp_path: Path, host: str) -> None:
    file = station_file(tmp_path, f'host = "{host}"')
    token_file(tmp_path / "state").add("panel", "reader", 0, NOW)
    assert "TLS is required" in refused(file)


def test_it_does_not_listen_beyond_this_machine_without_a_token(tmp_path: Path) -> None:
    tls_files(tmp_path)
    file = station_file(tmp_path, 'host = "0.0.0.0"\ncertificate = "web.pem"\nprivate_key = "web.key"')
    assert "web token add" in refused(file)


def test_tls_files_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    tls_files(tmp_path)
    tls_files(tmp_path, "other")
    cases = {
        'certificate = "web.pem"': "both",
        'certificate = "web.pem"\nprivate_key = "none.key"': "no such file",
        'certificate = "web.pem"\nprivate_key = "other.key"': "its own key",
        'certificate = "web.key"\nprivate_key = "web.key"': "PEM",
    }
    for table, words in cases.items():
        assert words in refused(station_file(tmp_path, table)), table


def test_a_damaged_token_file_is_refused(tmp_path: Path) -> None:
    file = station_file(tmp_path, "")
    token_file(tmp_path / "state").add("panel", "reader", 0, NOW)
    token_file(tmp_path / "state").path.write_text("{")
    assert "damaged" in refused(file)


@pytest.mark.system
def test_over_tls_the_cookie_is_secure_and_an_old_protocol_is_refused(tmp_path: Path) -> None:
    certificate, _ = tls_files(tmp_path)
    port = free_port()
    table = f'host = "0.0.0.0"\nport = {port}\ncertificate = "web.pem"\nprivate_key = "web.key"'
    file = station_file(tmp_path, table)
    _, secret = token_file(tmp_path / "state").add("panel", "reader", 0, NOW)
    process = subprocess.Popen([sys.executable, "-m", "edge_inspector", "web", str(file)], stderr=subprocess.PIPE)
    try:
        until("it listens", lambda: listens(port) or process.poll() is not None)
        trust = ssl.create_default_context(cafile=str(certificate))
        url = f"https://localhost:{port}"
        with httpx.Client(base_url=url, verify=trust) as client:
            answer = client.post("/v1/sign-in", json={"token": secret}, headers={"Origin": url})
            assert "secure" in answer.headers["set-cookie"].lower()
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            assert client.get("/v1/state").json()["you"]["name"] == "panel"
            assert client.get("/health/ready").status_code == 503  # there is no station here
        old = ssl.create_default_context(cafile=str(certificate))
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with httpx.Client(base_url=url, verify=old) as client, pytest.raises(httpx.ConnectError):
            client.get("/health/live")
        taken = started(file)
        assert taken.returncode == 75
        assert "address already in use" in taken.stderr
        assert "web_listens" not in taken.stderr
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_token_is_made_listed_and_removed(tmp_path: Path) -> None:
    file = station_file(tmp_path, "")
    run = CliRunner()
    made = run.invoke(web, ["token", "add", "panel-3", "--role", "operator", "--days", "30", "--station", str(file)])
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert secret.startswith("ei_")
    assert secret not in made.stderr
    assert "not in the audit trail" in made.stderr  # the station does not run
    found = token_file(tmp_path / "state").find(secret, NOW)
    assert found is not None
    assert found.role == "operator"
    listed = run.invoke(web, ["token", "list", "--station", str(file)]).stdout
    assert "panel-3" in listed
    assert "operator" in listed
    assert secret not in listed
    assert run.invoke(web, ["token", "remove", "panel-3", "--station", str(file)]).exit_code == 0
    again = run.invoke(web, ["token", "remove", "panel-3", "--station", str(file)])
    assert again.exit_code == 2
    assert "none at all" in again.stderr
    assert "no tokens" in run.invoke(web, ["token", "list", "--station", str(file)]).stdout


def test_a_role_that_is_none_is_refused(tmp_path: Path) -> None:
    file = station_file(tmp_path, "")
    assert CliRunner().invoke(web, ["token", "add", "x", "--role", "admin", "--station", str(file)]).exit_code == 2
    assert not (tmp_path / "state").exists()
