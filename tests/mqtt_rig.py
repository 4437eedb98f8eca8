"""What the MQTT tests share: a real Mosquitto, certificates, results, and a witness's view of what is retained."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_inspector.datatypes import Defect, Evaluation, Identity, InspectionResult, Mode, Reason, Trigger
from edge_inspector.demo.broker import wait_until_listening
from edge_inspector.demo.subscriber import Subscriber
from edge_inspector.outputs.mqtt import Config, MqttPublisher

MOSQUITTO = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
WAIT_S = 10.0
BASE = "edge/site/area/line/cell/vision/line1"
ME = Identity("line1", 4711, "0.1.0")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto")


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

    def reload(self, *settings: str) -> None:
        """Other settings, without a restart: access lists and passwords, no listeners."""
        kept = self._config.read_text().splitlines()
        self._config.write_text("\n".join([*kept, *settings]) + "\n")
        self.process.send_signal(signal.SIGHUP)

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


def config_to(port: int, **config: Any) -> Config:
    fields: dict[str, Any] = {"host": "127.0.0.1", "port": port, "connect_timeout_s": 3.0, "ack_timeout_s": 3.0}
    return Config(**{**fields, **config})


def publisher_to(port: int, **config: Any) -> MqttPublisher:
    return MqttPublisher("mqtt", config_to(port, **config), ME)


def retained(port: int, topic: str) -> dict[str, Any] | None:
    """What a subscriber that comes now is given on a topic; None when it is given nothing."""
    with Subscriber(port, f"{BASE}/{topic}", client_id=f"asks-{topic}") as asking:
        asking.wait(lambda: bool(asking.by_topic), 1.0)
        body = asking.last_payload.get(f"{BASE}/{topic}")
        return None if body is None else dict(json.loads(body))


def certificate(
    folder: Path, name: str, issuer: str | None, host: str | None = None, *, days: tuple[int, int] = (-1, 1)
) -> None:
    """`<name>.crt` and `<name>.key`, signed by `issuer` or, without one, a CA that signs itself; valid from, to."""
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
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
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
