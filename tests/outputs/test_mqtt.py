from __future__ import annotations

import contextlib
import dataclasses
import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from edge_inspector.datatypes import (
    Defect,
    Evaluation,
    Event,
    Identity,
    InspectionResult,
    Mode,
    OutboxMessage,
    Reason,
    Trigger,
)
from edge_inspector.demo.broker import wait_until_listening
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.errors import OutputError
from edge_inspector.outputs.mqtt import Config, MqttPublisher, Tls
from edge_inspector.store.books import read_books
from edge_inspector.store.ledger import BookResult, BookTrigger, Ledger

MOSQUITTO = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
WAIT_S = 10.0
BASE = "edge/site/area/line/cell/vision/line1"
ME = Identity("line1", 4711, "0.1.0")

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto")


def a_result(seq: int, *, book: str = "0a1b2c3d", boot_id: int = 4711, defects: int = 0) -> InspectionResult:
    at_ns = seq * 1_000_000_000
    trigger = Trigger(
        seq=seq,
        result_id=f"line1.{book}.{seq}",
        trigger_seq=seq,
        part_id=f"P{seq}",
        attempt=1,
        mode=Mode.PRODUCTION,
        recipe="pcb",
        recipe_no=7,
        boot_id=boot_id,
        plc_boot_id=815,
        accepted_ns=at_ns,
        deadline_ns=at_ns + 500_000_000,
        wall_utc="2026-11-22T00:00:00.123Z",
        clock_synced=True,
    )
    return InspectionResult(
        trigger=trigger,
        evaluation=Evaluation.NOT_OK if defects else Evaluation.OK,
        reason=Reason.DEFECT if defects else Reason.NONE,
        reason_text="",
        defects=tuple(Defect("spur", 3, 0.9, (1.0, 2.0, 3.0, 4.0), "top") for _ in range(defects)),
        views=("top",),
        views_judged=1,
        thresholds=(0.25,),
        model_hash="ab" * 32,
        settled_ns=at_ns + 42_000_000,
        stage_ns={"acquire": 20_000_000, "infer": 12_000_000},
    )


class Mosquitto:
    """Debian's broker on a free loopback port; keeps sessions over a restart when it is stopped in peace."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "max_queued_messages 0", "persistence true", "user root"]
        lines += [f"persistence_location {folder}/", "log_dest none", *settings]
        self._config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self.process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_until_listening(self.port, WAIT_S)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(how)
        self.process.wait(WAIT_S)


@contextmanager
def mosquitto(folder: Path, *settings: str) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, *(settings or ("allow_anonymous true",)))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


def publisher_to(port: int, **config: Any) -> MqttPublisher:
    fields: dict[str, Any] = {"host": "127.0.0.1", "port": port, "connect_timeout_s": 3.0, "ack_timeout_s": 3.0}
    return MqttPublisher("mqtt", Config(**{**fields, **config}), ME)


def retained(port: int, topic: str) -> dict[str, Any] | None:
    """What a subscriber that comes now is given on a topic; None when it is given nothing."""
    with Subscriber(port, f"{BASE}/{topic}", client_id=f"asks-{topic}") as asking:
        asking.wait(lambda: bool(asking.by_topic), 1.0)
        body = asking.last_payload.get(f"{BASE}/{topic}")
        return None if body is None else dict(json.loads(body))


# --- topics and messages ---------------------------------------------------------------------------------------------


def test_a_result_becomes_three_messages_and_an_ok_without_defects_two() -> None:
    publisher = publisher_to(1)
    assert [(m.topic, m.schema, m.seq, m.retain) for m in publisher.render(a_result(5, defects=1))] == [
        (f"{BASE}/result", "vision.result/1", 5, False),
        (f"{BASE}/result/last", "vision.result/1", 5, True),
        (f"{BASE}/defects", "vision.defects/1", 5, False),
    ]
    assert [m.topic for m in publisher.render(a_result(5))] == [f"{BASE}/result", f"{BASE}/result/last"]


def test_a_part_of_an_earlier_start_is_marked_as_replayed_and_never_becomes_the_last_result() -> None:
    (message,) = publisher_to(1).render(a_result(5, boot_id=1))
    assert message.topic == f"{BASE}/result"
    assert json.loads(message.payload)["replayed"] == 1


def test_an_event_becomes_one_message() -> None:
    (message,) = publisher_to(1).render(Event("alarm", "camera_lost", "top", "2026-11-22T00:00:00.000Z"))
    assert (message.destination, message.topic, message.schema) == ("mqtt", f"{BASE}/event", "vision.event/1")


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a//b", "a/+/b", "a/#", "a\0b"])
def test_a_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="prefix"):
        Config(prefix=prefix)


def test_half_of_a_credential_is_refused() -> None:
    with pytest.raises(ValidationError, match="cert_file and key_file belong together"):
        Tls(cert_file=Path("c.pem"))
    with pytest.raises(ValidationError, match="password_file is given without username"):
        Config(password_file=Path("p"))


def test_the_port_follows_tls() -> None:
    configs = (Config(), Config(tls=Tls()), Config(tls=Tls(), port=1))
    assert [config.broker_port for config in configs] == [1883, 8883, 1]


# --- publishing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_published_messages_are_acknowledged_and_arrive_in_order(broker: Mosquitto, protocol: str) -> None:
    with Subscriber(broker.port, f"{BASE}/#") as witness:
        with publisher_to(broker.port, protocol=protocol) as publisher:
            for first in range(1, 200, 50):
                messages = [m for n in range(first, first + 50) for m in publisher.render(a_result(n, defects=1))]
                publisher.publish(messages)
            publisher.metrics({"cycle_ms_p99": 41.5})
            publisher.idle(0.0)
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/defects"] == 200, WAIT_S)
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/metrics"] == 1, WAIT_S)
        assert witness.order == [f"line1.0a1b2c3d.{n}" for n in range(1, 201)]
        assert witness.duplicates == 0
        assert json.loads(witness.last_payload[f"{BASE}/metrics"])["cycle_ms_p99"] == 41.5


def test_the_station_is_online_while_connected_and_offline_after(broker: Mosquitto) -> None:
    publisher = publisher_to(broker.port)
    with publisher:
        publisher.announce("operational", 4, "pcb")
        online = retained(broker.port, "status")
        assert online is not None
        assert (online["online"], online["state"], online["state_no"], online["recipe"]) == (
            True,
            "operational",
            4,
            "pcb",
        )
        assert (online["boot_id"], online["version"], online["schema"]) == (4711, "0.1.0", "vision.status/1")
    offline = retained(broker.port, "status")
    assert offline is not None
    assert (offline["online"], offline["state"]) == (False, "offline")
    with publisher:
        again = retained(broker.port, "status")
        assert again is not None
        assert (again["online"], again["state"]) == (True, "operational")


CHILD = """
import sys
from pathlib import Path
from edge_inspector.datatypes import Identity
from edge_inspector.outputs.mqtt import Config, MqttPublisher
with MqttPublisher("mqtt", Config(host="127.0.0.1", port=int(sys.argv[1])), Identity("line1", 1, "x")) as publisher:
    print("connected", flush=True)
    while True:
        publisher.idle(1.0)
"""


def test_a_killed_station_is_reported_offline_by_its_last_will(broker: Mosquitto) -> None:
    with Subscriber(broker.port, f"{BASE}/status") as witness:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(broker.port)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "connected\n"
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 1, WAIT_S)
            assert json.loads(witness.last_payload[f"{BASE}/status"])["online"] is True
            child.kill()
            child.wait()
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 2, WAIT_S)
        assert json.loads(witness.last_payload[f"{BASE}/status"])["online"] is False


def test_the_last_result_is_the_one_with_the_highest_number_whatever_is_sent_again(broker: Mosquitto) -> None:
    with Subscriber(broker.port, f"{BASE}/#") as witness:
        with publisher_to(broker.port) as publisher:
            old = [m for n in (1, 2, 3) for m in publisher.render(a_result(n))]
            publisher.publish(old)
            publisher.publish(old)
        with publisher_to(broker.port) as restarted:  # knows nothing but what the broker retains
            restarted.publish(old)
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/result"] == 9, WAIT_S)
            last = retained(broker.port, "result/last")
            assert last is not None
            assert last["seq"] == 3
            assert witness.by_topic[f"{BASE}/result/last"] == 1
            restarted.publish(restarted.render(a_result(4)))
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/result/last"] == 2, WAIT_S)
            restarted.publish(restarted.render(a_result(1, book="ffffffff")))  # the ledger was begun anew
            assert witness.wait(lambda: witness.by_topic[f"{BASE}/result/last"] == 3, WAIT_S)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_port_without_a_broker_is_told(tmp_path: Path) -> None:
    port = Mosquitto(tmp_path).port
    with pytest.raises(OutputError, match=f"mqtt: MQTT broker 127.0.0.1:{port} cannot be reached: .*refused"):
        publisher_to(port).__enter__()


def test_a_host_that_has_no_address_is_told() -> None:
    with pytest.raises(OutputError, match=r"broker no-such-host\.invalid:1 cannot be reached: .*check host and port"):
        publisher_to(1, host="no-such-host.invalid").__enter__()


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publisher = publisher_to(silent.getsockname()[1], connect_timeout_s=0.2)
        with pytest.raises(OutputError, match=r"sent no CONNACK in 0\.2 s"):
            publisher.__enter__()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_told_and_the_right_one_connects(tmp_path: Path, protocol: str) -> None:
    passwords, right, wrong = (tmp_path / name for name in ("passwords", "right", "wrong"))
    right.write_text("secret\n")
    wrong.write_text("guess\n")
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "station", "secret"], check=True, capture_output=True)
    with mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        refused = publisher_to(broker.port, username="station", password_file=wrong, protocol=protocol)
        with pytest.raises(OutputError, match=r"refused the connection: .*; check username, password_file"):
            refused.__enter__()
        with publisher_to(broker.port, username="station", password_file=right, protocol=protocol) as publisher:
            publisher.publish(publisher.render(a_result(1)))
        with pytest.raises(OutputError, match=r"password_file .*absent cannot be read"):
            publisher_to(broker.port, username="station", password_file=tmp_path / "absent").__enter__()


def test_a_topic_that_the_broker_does_not_allow_is_told(tmp_path: Path) -> None:
    rights = tmp_path / "acl"
    rights.write_text(f"topic readwrite {BASE}/status\n")
    with (
        mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rights}") as broker,
        publisher_to(broker.port) as publisher,
        pytest.raises(OutputError, match="refused a message: Not authorized; may this client publish under"),
    ):
        publisher.publish(publisher.render(a_result(1)))


def test_a_frozen_broker_is_given_up_within_the_time_limit(broker: Mosquitto) -> None:
    with publisher_to(broker.port, ack_timeout_s=0.3) as publisher:
        broker.process.send_signal(signal.SIGSTOP)
        with pytest.raises(OutputError, match=r"2 messages without PUBACK after 0\.3 s"):
            publisher.publish(publisher.render(a_result(1)))
        with pytest.raises(OutputError, match="is not connected: 2 messages without PUBACK"):
            publisher.idle(0.0)


def test_a_lost_broker_is_told_by_every_call_and_nothing_is_queued(broker: Mosquitto) -> None:
    publisher = publisher_to(broker.port)
    with publisher:
        broker.stop(signal.SIGKILL)
        with pytest.raises(OutputError, match="is lost"):
            publisher.idle(WAIT_S)
        calls: tuple[Callable[[], None], ...] = (
            lambda: publisher.publish(publisher.render(a_result(1))),
            lambda: publisher.announce("operational", 4, "pcb"),
            lambda: publisher.metrics({"n": 1.0}),
            lambda: publisher.idle(0.0),
        )
        for call in calls:
            with pytest.raises(OutputError, match="is not connected"):
                call()
        broker.start()
    with publisher, Subscriber(broker.port, f"{BASE}/#") as witness:
        assert witness.wait(lambda: witness.by_topic[f"{BASE}/status"] == 1, WAIT_S)
        assert json.loads(witness.last_payload[f"{BASE}/status"])["state"] == "operational"
        assert set(witness.by_topic) == {f"{BASE}/status"}


def test_a_second_station_with_the_same_client_id_takes_the_connection_over_and_this_is_told(broker: Mosquitto) -> None:
    with (
        publisher_to(broker.port) as first,
        publisher_to(broker.port),
        pytest.raises(OutputError, match="is lost: the connection broke"),
    ):
        first.idle(WAIT_S)


# --- TLS -------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, issuer: str | None, host: str | None = None) -> None:
    """`<name>.crt` and `<name>.key`, signed by `issuer` or, without one, a CA that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    if issuer is None:
        signer, signed_by = key, name
    else:
        loaded = serialization.load_pem_private_key((folder / f"{issuer}.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer, signed_by = loaded, issuer
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signed_by)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if host is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        builder = builder.add_extension(names, critical=False)
    (folder / f"{name}.crt").write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, no_password))


def tls_settings(folder: Path, server: str) -> list[str]:
    files = [f"cafile {folder}/ca.crt", f"certfile {folder}/{server}.crt", f"keyfile {folder}/{server}.key"]
    return ["allow_anonymous true", *files]


def test_tls_connects_with_the_right_authority_and_tells_the_wrong_one(tmp_path: Path) -> None:
    certificate(tmp_path, "ca", None)
    certificate(tmp_path, "other", None)
    certificate(tmp_path, "server", "ca", host="127.0.0.1")
    with mosquitto(tmp_path, *tls_settings(tmp_path, "server")) as broker:
        with publisher_to(broker.port, tls=Tls(ca_file=tmp_path / "ca.crt")) as publisher:
            publisher.publish(publisher.render(a_result(1)))
        with pytest.raises(OutputError, match=r"certificate is not accepted: .*check tls\.ca_file"):
            publisher_to(broker.port, tls=Tls(ca_file=tmp_path / "other.crt")).__enter__()
        with pytest.raises(OutputError, match=r"certificate files .*absent\.crt cannot be used"):
            publisher_to(broker.port, tls=Tls(ca_file=tmp_path / "absent.crt")).__enter__()


def test_a_certificate_of_another_host_is_told(tmp_path: Path) -> None:
    certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", "ca", host="192.0.2.1")
    with (
        mosquitto(tmp_path, *tls_settings(tmp_path, "server")) as broker,
        pytest.raises(OutputError, match=r"IP address mismatch.*host is a name in the certificate"),
    ):
        publisher_to(broker.port, tls=Tls(ca_file=tmp_path / "ca.crt")).__enter__()


def test_a_broker_that_wants_a_certificate_gets_it_and_without_one_it_is_told(tmp_path: Path) -> None:
    certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", "ca", host="127.0.0.1")
    certificate(tmp_path, "station", "ca")
    with mosquitto(tmp_path, *tls_settings(tmp_path, "server"), "require_certificate true") as broker:
        ours = Tls(ca_file=tmp_path / "ca.crt", cert_file=tmp_path / "station.crt", key_file=tmp_path / "station.key")
        with publisher_to(broker.port, tls=ours) as publisher:
            publisher.publish(publisher.render(a_result(1)))
        with pytest.raises(OutputError, match=r"127\.0\.0\.1"):
            publisher_to(broker.port, tls=Tls(ca_file=tmp_path / "ca.crt")).__enter__()


def test_tls_to_a_port_without_tls_is_told(broker: Mosquitto) -> None:
    with pytest.raises(OutputError, match=r"127\.0\.0\.1"):
        publisher_to(broker.port, tls=Tls()).__enter__()


# --- with the outbox -------------------------------------------------------------------------------------------------


class Drain:
    """One destination's thread, as the station runs it: drain, and come back after an outage."""

    def __init__(self, ledger: Ledger, publisher: MqttPublisher) -> None:
        self._ledger, self._publisher = ledger, publisher
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher")
        self.outages = 0

    def __enter__(self) -> Drain:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OutputError), self._publisher:
                self._serve()
            self.outages += 1
            self._stop.wait(0.05)

    def _serve(self) -> None:
        while not self._stop.is_set():
            drain(self._ledger, self._publisher)
            self._publisher.idle(0.01)


def drain(ledger: Ledger, publisher: MqttPublisher, before_each: Callable[[], None] = lambda: None) -> None:
    """Publish all that is pending, 20 messages at a time."""
    while messages := ledger.pending("mqtt", 20):
        before_each()
        publisher.publish(messages)
        ledger.delivered("mqtt", [m.row for m in messages])


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def submit(ledger: Ledger, publisher: MqttPublisher, numbers: range) -> None:
    for n in numbers:
        result = dataclasses.replace(a_result(n), model_hash="ef" * 32)
        ledger.submit(BookTrigger(None, result.trigger))
        ledger.submit(BookResult(None, result, True, publisher.render(result)))


def test_after_an_outage_the_outbox_drains_in_order_and_nothing_is_lost(broker: Mosquitto, tmp_path: Path) -> None:
    publisher = publisher_to(broker.port)
    everything = [f"line1.0a1b2c3d.{n}" for n in range(1, 301)]
    with Ledger(tmp_path / "ledger", ["mqtt"]) as ledger, Subscriber(broker.port, f"{BASE}/#") as witness:
        booking = threading.Thread(target=ledger.run)
        booking.start()
        try:
            with Drain(ledger, publisher) as draining:
                submit(ledger, publisher, range(1, 101))
                assert witness.wait(lambda: len(witness.results) >= 20, WAIT_S)
                broker.stop()  # in peace: it keeps the witness's session and what it has acknowledged
                submit(ledger, publisher, range(101, 201))
                assert until(lambda: draining.outages >= 2)
                broker.start()
                submit(ledger, publisher, range(201, 301))
                assert witness.wait(lambda: len(witness.results) == 300, WAIT_S)
                assert until(lambda: read_books(tmp_path / "ledger").outbox_pending == 0)
        finally:
            ledger.close()
            booking.join(WAIT_S)
        assert witness.order == everything
        last = retained(broker.port, "result/last")
        assert last is not None
        assert last["seq"] == 300


def test_a_killed_broker_delays_messages_and_loses_none_of_ours(broker: Mosquitto, tmp_path: Path) -> None:
    publisher = publisher_to(broker.port)
    with Ledger(tmp_path / "ledger", ["mqtt"]) as ledger, Subscriber(broker.port, f"{BASE}/#") as witness:
        submit(ledger, publisher, range(1, 41))
        ledger.close()
        ledger.run()

        def kill_after_half() -> None:
            if ledger.waiting == 2:
                assert witness.wait(lambda: len(witness.results) == 20, WAIT_S)
                broker.stop(signal.SIGKILL)

        with pytest.raises(OutputError, match="is lost"), publisher:
            drain(ledger, publisher, kill_after_half)
        broker.start()
        assert witness.wait(lambda: witness.subscriptions == 2, WAIT_S)
        with publisher:
            drain(ledger, publisher)
        assert witness.wait(lambda: len(witness.results) == 40, WAIT_S)
        assert witness.order == [f"line1.0a1b2c3d.{n}" for n in range(1, 41)]


def test_messages_are_the_outboxs_own(tmp_path: Path) -> None:
    """What `render` makes is what `pending` gives back, byte by byte."""
    publisher = publisher_to(1)
    with Ledger(tmp_path / "ledger", ["mqtt"]) as ledger:
        submit(ledger, publisher, range(1, 2))
        ledger.close()
        ledger.run()
        kept = [dataclasses.replace(m, row=0) for m in ledger.pending("mqtt", 9)]
    expected: list[OutboxMessage] = list(publisher.render(dataclasses.replace(a_result(1), model_hash="ef" * 32)))
    assert kept == expected
