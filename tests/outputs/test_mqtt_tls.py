"""TLS against a real broker: every failure in its own words, and certificates that are replaced while it runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mqtt_rig import (
    BASE,
    ME,
    WAIT_S,
    Mosquitto,
    a_result,
    certificate,
    config_to,
    mosquitto,
    needs_mosquitto,
    publisher_to,
    tls_settings,
)

from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.errors import OutputError
from edge_inspector.outputs.mqtt import MqttPublisher, Tls
from edge_inspector.outputs.mqtt.publisher import RENEW_S
from edge_inspector.outputs.refusal import MessageRefusedError

pytestmark = needs_mosquitto


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """Two authorities, a broker's certificate, and stations' certificates good and bad."""
    certificate(tmp_path, "ca", None)
    certificate(tmp_path, "other", None)
    certificate(tmp_path, "server", "ca", host="127.0.0.1")
    certificate(tmp_path, "elsewhere", "ca", host="192.0.2.1")
    certificate(tmp_path, "expired", "ca", host="127.0.0.1", days=(-3, -2))
    certificate(tmp_path, "future", "ca", host="127.0.0.1", days=(2, 3))
    certificate(tmp_path, "station", "ca")
    certificate(tmp_path, "stranger", "other")
    certificate(tmp_path, "late", "ca", days=(-3, -2))
    return tmp_path


def station(folder: Path, name: str = "station", ca: str = "ca") -> Tls:
    return Tls(ca_file=folder / f"{ca}.crt", cert_file=folder / f"{name}.crt", key_file=folder / f"{name}.key")


@pytest.fixture
def mutual(plant: Path) -> Iterator[Mosquitto]:
    """A broker that asks for a certificate of its own authority."""
    with mosquitto(plant, *tls_settings(plant, "server"), "require_certificate true") as broker:
        yield broker


def test_the_right_authority_is_accepted(plant: Path) -> None:
    with (
        mosquitto(plant, *tls_settings(plant, "server")) as broker,
        publisher_to(broker.port, tls=Tls(ca_file=plant / "ca.crt")) as publisher,
    ):
        assert publisher.publish(publisher.render(a_result(1))) == 2


@pytest.mark.parametrize(
    ("server", "ca", "words"),
    [
        (
            "server",
            "other",
            r"not accepted: self-signed certificate in .*; its authority is not trusted: check tls\.ca_file",
        ),
        ("elsewhere", "ca", r"not accepted: IP address mismatch.*; host is no address in it: check host"),
        ("expired", "ca", "not accepted: certificate has expired; it has expired: the broker needs a new one"),
        ("future", "ca", "not accepted: certificate is not yet valid; .*check this machine's clock"),
    ],
)
def test_a_brokers_certificate_that_is_not_accepted_says_why_and_what_to_do(
    plant: Path, server: str, ca: str, words: str
) -> None:
    with mosquitto(plant, *tls_settings(plant, server)) as broker, pytest.raises(OutputError, match=words):
        publisher_to(broker.port, tls=Tls(ca_file=plant / f"{ca}.crt")).__enter__()


def test_the_brokers_name_is_checked_beside_its_address(plant: Path) -> None:
    with (
        mosquitto(plant, *tls_settings(plant, "server")) as broker,
        pytest.raises(OutputError, match=r"Hostname mismatch.*; host is no name in it: check host"),
    ):
        publisher_to(broker.port, host="localhost", tls=Tls(ca_file=plant / "ca.crt")).__enter__()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_asks_for_a_certificate_gets_it(plant: Path, mutual: Mosquitto, protocol: str) -> None:
    with publisher_to(mutual.port, tls=station(plant), protocol=protocol) as publisher:
        assert publisher.publish(publisher.render(a_result(1))) == 2


def test_a_broker_that_asks_for_a_certificate_and_gets_none_is_told(plant: Path, mutual: Mosquitto) -> None:
    with pytest.raises(OutputError, match=r"the broker asks for a certificate: give tls\.cert_file and tls\.key_file"):
        publisher_to(mutual.port, tls=Tls(ca_file=plant / "ca.crt")).__enter__()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stranger", r"the broker does not know the authority of tls\.cert_file"),
        ("late", r"tls\.cert_file has expired"),
    ],
)
def test_our_certificate_that_the_broker_refuses_is_told(plant: Path, mutual: Mosquitto, name: str, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        publisher_to(mutual.port, tls=station(plant, name)).__enter__()


def test_files_that_cannot_be_used_are_told_with_what_is_wrong(plant: Path) -> None:
    (plant / "empty.crt").write_text("")
    (plant / "text.crt").write_text("no certificate\n")
    encrypt: list[str | Path] = ["openssl", "ec", "-in", plant / "station.key", "-aes128", "-passout", "pass:secret"]
    subprocess.run([*encrypt, "-out", plant / "locked.key"], check=True, capture_output=True)
    locked = Tls(ca_file=plant / "ca.crt", cert_file=plant / "station.crt", key_file=plant / "locked.key")
    mixed = Tls(ca_file=plant / "ca.crt", cert_file=plant / "station.crt", key_file=plant / "stranger.key")
    for tls, words in (
        (Tls(ca_file=plant / "absent.crt"), r"certificate files .*absent\.crt cannot be used: .*No such file"),
        (Tls(ca_file=plant / "text.crt"), r"text\.crt cannot be used: tls\.ca_file holds no certificate in PEM form"),
        (Tls(ca_file=plant / "empty.crt"), r"empty\.crt cannot be used: tls\.ca_file holds no certificate"),
        (locked, r"tls\.key_file is encrypted: a station that starts by itself needs a key without a password"),
        (mixed, r"tls\.key_file is not the key of tls\.cert_file"),
    ):
        with pytest.raises(OutputError, match=words):
            publisher_to(1, tls=tls).__enter__()


def test_tls_to_a_port_without_tls_is_told(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        pytest.raises(OutputError, match=r"hung up at once: .*one for TLS"),
    ):
        publisher_to(broker.port, tls=Tls()).__enter__()


def test_no_tls_to_a_port_with_tls_is_told(plant: Path) -> None:
    with (
        mosquitto(plant, *tls_settings(plant, "server")) as broker,
        pytest.raises(OutputError, match=r"hung up before its CONNACK .*, and does it want TLS"),
    ):
        publisher_to(broker.port).__enter__()


def test_a_web_server_on_the_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        web = threading.Thread(target=answer)
        web.start()
        with pytest.raises(OutputError, match="what answers there does not speak TLS: check port"):
            publisher_to(server.getsockname()[1], tls=Tls()).__enter__()
        web.join()


# --- certificates that are replaced ---------------------------------------------------------------------------------


def replace(folder: Path, name: str, by: str) -> None:
    """As certbot and Kubernetes do it: a new file, moved over the old one."""
    for end in ("crt", "key"):
        shutil.copy(folder / f"{by}.{end}", folder / f"{name}.new")
        os.replace(folder / f"{name}.new", folder / f"{name}.{end}")


@pytest.fixture
def identified(plant: Path) -> Iterator[Mosquitto]:
    """A broker that knows stations by their certificates; only `second` may publish results."""
    rights = plant / "acl"
    rights.write_text(f"user station\ntopic write {BASE}/status\nuser second\ntopic write #\n")
    own = ("require_certificate true", "use_identity_as_username true", f"acl_file {rights}")
    certificate(plant, "second", "ca")
    with mosquitto(plant, *tls_settings(plant, "server"), *own) as broker:
        yield broker


def test_a_replaced_certificate_is_taken_into_use_while_the_station_runs(plant: Path, identified: Mosquitto) -> None:
    now = [0.0]
    replace(plant, "mine", "station")
    publisher = MqttPublisher("mqtt", config_to(identified.port, tls=station(plant, "mine")), ME, lambda: now[0])
    with publisher:
        replace(plant, "mine", "second")
        publisher.idle(0.0)  # too soon to look again
        with pytest.raises(MessageRefusedError):
            publisher.publish(publisher.render(a_result(1))[:1])
    replace(plant, "mine", "station")
    with publisher:
        replace(plant, "mine", "second")
        now[0] += RENEW_S
        publisher.idle(0.0)
        assert publisher.publish(publisher.render(a_result(1))) == 2


def test_a_replaced_file_that_is_no_certificate_leaves_the_connection_alone(plant: Path, identified: Mosquitto) -> None:
    now = [0.0]
    replace(plant, "mine", "second")
    publisher = MqttPublisher("mqtt", config_to(identified.port, tls=station(plant, "mine")), ME, lambda: now[0])
    with publisher:
        (plant / "mine.crt").write_text("half a file")
        now[0] += RENEW_S
        publisher.idle(0.0)
        assert publisher.publish(publisher.render(a_result(1))) == 2


def test_nobody_is_told_that_the_station_is_offline_while_it_takes_a_new_password(tmp_path: Path) -> None:
    now = [0.0]
    passwords, mine = tmp_path / "passwords", tmp_path / "mine"
    mine.write_text("first\n")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "station", "first"], check=True, capture_output=True)
    with (
        mosquitto(tmp_path, "allow_anonymous true", f"password_file {passwords}") as broker,
        Subscriber(broker.port, f"{BASE}/status") as witness,
    ):
        config = config_to(broker.port, username="station", password_file=mine)
        with MqttPublisher("mqtt", config, ME, lambda: now[0]) as publisher:
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 1, WAIT_S)
            mine.write_text("first\n# changed\n")
            now[0] += RENEW_S
            publisher.idle(0.0)
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 2, WAIT_S)
            assert json.loads(witness.last_payload[f"{BASE}/status"])["online"] is True
            assert publisher.publish(publisher.render(a_result(1))) == 2
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 3, WAIT_S)
        assert json.loads(witness.last_payload[f"{BASE}/status"])["online"] is False
