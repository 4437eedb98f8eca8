"""An independent durable subscriber in a process of its own: paho, a session that the broker keeps, one line a message.

python tests/mqtt_witness.py PORT TOPICS LOG USER PASSWORD
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

AGAIN_S = 0.05
_STEP_S = 0.5


@dataclass(frozen=True)
class Arrival:
    """One message as the broker delivered it, `at` by the system clock."""

    at: float
    topic: str
    payload: str
    retain: bool


class Witness:
    """Runs the process and reads its log; `arrivals` grows with `look`."""

    def __init__(self, port: int, topics: str, log: Path, user: str, password: str) -> None:
        self.arrivals: list[Arrival] = []
        self.subscribed = 0
        """How often a broker has granted the subscription."""
        self._port, self._log = port, log
        self._command = [sys.executable, __file__, str(port), topics, str(log), user, password]
        self._read = 0

    def __enter__(self) -> Witness:
        self._log.touch()
        self._process = subprocess.Popen(self._command)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def look(self) -> list[Arrival]:
        """Read what is new in the log; all arrivals so far."""
        if self._process.poll() is not None:
            raise AssertionError(f"the witness ended with {self._process.returncode}")
        with self._log.open("rb") as log:
            log.seek(self._read)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            record = json.loads(line)
            if "subscribed" in record:
                self.subscribed += 1
            else:
                self.arrivals.append(Arrival(**record))
        return self.arrivals

    @property
    def drained(self) -> bool:
        """Whether its process has read all that the broker has sent: only then a broker may be killed in its stead.

        What a killed broker has sent may otherwise be lost in the witness's own socket, and that is nobody's fault.
        """
        remote = f"0100007F:{self._port:04X}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[2] == remote and int(fields[4].split(":")[1], 16):
                return False
        return True


def main(port: int, topics: str, log: Path, user: str, password: str) -> None:
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    out = log.open("a", buffering=1)

    def connected(client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            client.subscribe(topics, qos=1)

    def subscribed(_client: Client, _userdata: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if not any(reason.is_failure for reason in reasons):
            out.write(json.dumps({"subscribed": time.time()}) + "\n")

    def arrived(_client: Client, _userdata: Any, message: Any) -> None:
        payload = message.payload.decode()
        record = {"at": time.time(), "topic": message.topic, "payload": payload, "retain": bool(message.retain)}
        out.write(json.dumps(record) + "\n")

    client = Client(
        CallbackAPIVersion.VERSION2, client_id="witness", clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
    )
    client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, arrived
    client.username_pw_set(user, password)
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            client.connect("127.0.0.1", port, keepalive=60)
        except OSError:
            time.sleep(AGAIN_S)
            continue
        while os.getppid() == parent and client.loop(_STEP_S) == 0:
            pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5])
