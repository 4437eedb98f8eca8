"""Debian's Mosquitto as a plant has it: TLS, passwords, an ACL, durable sessions; each of them can be taken away."""

from __future__ import annotations

import datetime
import getpass
import ipaddress
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from real_station import free_port, listens

MOSQUITTO = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
PASSWD = shutil.which("mosquitto_passwd") or "mosquitto_passwd"
BASE = "plant/site/area/line/cell/vision/bench"
WITNESS = "witness"
"""User and password of who only looks on."""
WAIT_S = 40.0
_STATION = "station"
_POLL_S = 0.02


class TlsBroker:
    """TLS for the station on `port`, a listener of its own for the witness; `start` and `stop` as often as you like."""

    def __init__(self, folder: Path) -> None:
        self.port, self.witness_port = free_port(), free_port()
        self._folder = folder
        _certificates(folder)
        lines = [
            *(f"listener {self.port} 127.0.0.1", f"cafile {folder}/ca.crt"),
            *(f"certfile {folder}/server.crt", f"keyfile {folder}/server.key", "tls_version tlsv1.2"),
            f"listener {self.witness_port} 127.0.0.1",
            *("allow_anonymous false", f"password_file {folder}/users", f"acl_file {folder}/acl"),
            *("max_queued_messages 0", "max_inflight_messages 0", "persistence true"),
            *(f"persistence_location {folder}/", f"user {getpass.getuser()}", "log_dest none"),
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        (folder / "password").write_text("right\n")
        self._write_users("right")
        self._write_acl(deny="")

    def start(self) -> None:
        command = [str(MOSQUITTO), "-c", str(self._folder / "mosquitto.conf")]
        with (self._folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + WAIT_S
        while not listens(self.witness_port):
            assert self.process.poll() is None, (self._folder / "broker.log").read_text()
            assert time.monotonic() < end, "Mosquitto does not listen"
            time.sleep(_POLL_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(WAIT_S)

    def remember(self) -> None:
        """Write sessions and subscriptions to the disk now, so that a kill does not make it forget the witness."""
        book = self._folder / "mosquitto.db"
        book.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + WAIT_S
        while not book.exists():
            assert time.monotonic() < end, "Mosquitto has not written its sessions"
            time.sleep(_POLL_S)

    def password(self, right: bool) -> None:
        """From now on the station's password is right, or wrong; who is connected with a wrong one is thrown out."""
        self._write_users("right" if right else "other")
        self.process.send_signal(signal.SIGHUP)

    def deny(self, topic: str) -> None:
        """The station may not publish on this topic of its own; empty = it may publish all."""
        self._write_acl(topic)
        self.process.send_signal(signal.SIGHUP)

    def _write_users(self, password: str) -> None:
        made = self._folder / "users.new"
        made.write_text(f"{_STATION}:{password}\n{WITNESS}:{WITNESS}\n")
        subprocess.run([PASSWD, "-U", str(made)], check=True)
        made.replace(self._folder / "users")

    def _write_acl(self, deny: str) -> None:
        allowed = [f"topic readwrite {BASE}/#"]
        if deny:
            names = ("status", "result", "result/last", "defects", "event", "metrics", "image")
            allowed = [f"topic readwrite {BASE}/{name}" for name in names if name != deny]
        lines = [f"user {_STATION}", *allowed, f"user {WITNESS}", "topic read #"]
        (self._folder / "acl").write_text("\n".join(lines) + "\n")


def _certificates(folder: Path) -> None:
    """ca.crt, and server.crt and server.key signed by it."""
    ca = ec.generate_private_key(ec.SECP256R1())
    server = ec.generate_private_key(ec.SECP256R1())
    for name, key, extension in (
        ("ca", ca, x509.BasicConstraints(ca=True, path_length=None)),
        ("server", server, x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])),
    ):
        now = datetime.datetime.now(datetime.timezone.utc)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=name == "ca")
            .sign(ca, hashes.SHA256())
        )
        (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoded = server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.key").write_bytes(encoded)
