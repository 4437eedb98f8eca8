"""Our Sparkplug payloads as npm's sparkplug-payload and PyPI's pysparkplug read them, and their commands as we do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sparkplug_rig import NOON_MS, an_event, publisher_to, results
from sparkplug_wire import decode

from edge_inspector.datatypes import Identity
from edge_inspector.outputs.sparkplug.payload import DataType, Metric, booleans, encode
from edge_inspector.outputs.sparkplug.session import Session

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]
HERE = Path(__file__).parent / "sparkplug"
PYTHON_PACKAGES = ("pysparkplug==0.6.1", "paho-mqtt==1.6.1", "protobuf==6.33.5")
NODE, PYTHON = "npm sparkplug-payload", "pysparkplug"
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "NewConnectionError", "No matching")
TYPES = {DataType.INT32: "Int32", DataType.INT64: "Int64", DataType.DOUBLE: "Double", DataType.BOOLEAN: "Boolean",
         DataType.STRING: "String"}  # fmt: skip


def cache(name: str, *parts: bytes) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-inspector"
    return root / f"{name}-{hashlib.sha256(b''.join(parts)).hexdigest()[:12]}"


def install(command: Sequence[str | Path], folder: Path) -> None:
    done = subprocess.run(list(map(str, command)), cwd=folder, check=False, capture_output=True, text=True, timeout=240)
    if done.returncode and any(word in done.stderr for word in OFFLINE):
        pytest.skip(f"{command[0]} cannot reach its registry: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def node_command() -> list[str]:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("Node.js or npm is not installed: apt-get install npm")
    folder = cache("sparkplug-node", (HERE / "package-lock.json").read_bytes())
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        install([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
        (folder / "installed").touch()
    return [node, str(HERE / "decode.mjs"), str(folder / "node_modules")]


@pytest.fixture(scope="module")
def python_command() -> list[str]:
    folder = cache("sparkplug-python", *(name.encode() for name in (*PYTHON_PACKAGES, sys.version)))
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install([sys.executable, "-m", "venv", folder], folder)
        install([python, "-m", "pip", "install", "--quiet", *PYTHON_PACKAGES], folder)
        (folder / "installed").touch()
    return [str(python), str(HERE / "decode.py")]


@pytest.fixture(params=[NODE, PYTHON])
def reader(request: pytest.FixtureRequest) -> Any:
    command = request.getfixturevalue("node_command" if request.param == NODE else "python_command")

    def read(*lines: str) -> list[Any]:
        text = "".join(f"{line}\n" for line in lines)
        done = subprocess.run(command, input=text, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return read


def of_a_session() -> list[bytes]:
    """Everything that an edge node says, with values at the edges of their types."""
    identity, made = Identity("line1", 0xFFFF_FFFF, "0.1.0"), []
    session, node = Session(identity), publisher_to(1)
    session.begin(255)
    made.append(session.node_death(NOON_MS))
    late, present = (results(node, [seq], ms, boot_id=0xFFFF_FFFF)[0] for seq, ms in ((1, NOON_MS - 9), (2, NOON_MS)))
    for payload in (
        lambda: session.node_birth(NOON_MS),
        lambda: session.device_birth(("Ready", 6, "pcb"), NOON_MS),
        lambda: session.data(late, NOON_MS + 1),
        lambda: session.data(present, NOON_MS + 1),
        lambda: session.data(node.render(an_event(NOON_MS, "Prüfplatz 7 – 视觉 🚨"))[0], NOON_MS + 1),
        lambda: session.state(("Error", 3, ""), NOON_MS + 2),
        lambda: session.device_death(NOON_MS + 3),
        lambda: session.device_birth(("Ready", 6, "pcb"), NOON_MS + 4),
    ):
        made.append(payload())  # type: ignore[no-untyped-call]
        session.sent()
    edges: list[tuple[DataType, Any]] = [
        *((DataType.INT32, value) for value in (0, 1, -1, (1 << 31) - 1, -(1 << 31))),
        *((DataType.INT64, value) for value in (0, -1, 1 << 53, (1 << 63) - 1, -(1 << 63))),
        *((DataType.DOUBLE, value) for value in (0.0, -0.5, 1e308, 5e-324)),
        *((DataType.STRING, value) for value in ("", "a\nb", "\x00")),
        *((kind, None) for kind in DataType),
    ]
    metrics = [Metric(f"m{number}", kind, value, NOON_MS) for number, (kind, value) in enumerate(edges)]
    return [*made, encode(metrics, NOON_MS, 255)]


def test_both_read_every_payload_exactly_as_it_was_meant(reader: Any) -> None:
    payloads = of_a_session()
    read = reader(*(payload.hex() for payload in payloads))
    assert len(read) == len(payloads) == 10
    for payload, got in zip(payloads, read, strict=True):
        body = decode(payload)
        expected = [
            [
                m.name,
                TYPES[DataType(m.datatype or 0)].lower(),
                _comparable(m.value, m.datatype == DataType.INT64),
                str(m.timestamp),
                m.historical,
            ]
            for m in body.metrics
        ]
        told = [
            [name, kind.lower(), _comparable(value, kind.lower() == "int64"), *rest]
            for name, kind, value, *rest in got["metrics"]
        ]
        assert told == expected
        assert got["timestamp"] == str(body.timestamp)
        assert got["seq"] == (None if body.seq is None else str(body.seq))


def test_both_ask_for_a_rebirth_as_we_understand_it(reader: Any) -> None:
    (command,) = reader("rebirth")
    assert booleans(bytes.fromhex(command)) == {"Node Control/Rebirth": True}


def test_without_a_datatype_npm_reads_every_value_as_null_which_is_why_data_has_one(node_command: list[str]) -> None:
    metric = Metric("x", DataType.INT32, 7, 1)
    with_type = encode([metric], 1, 0)
    without = with_type.replace(b"\x20\x03", b"").replace(b"\x12\x09", b"\x12\x07")
    assert decode(without)["x"] == 7
    text = f"{with_type.hex()}\n{without.hex()}\n"
    done = subprocess.run(node_command, input=text, check=True, capture_output=True, text=True, timeout=60)
    assert [json.loads(line)["metrics"][0][2] for line in done.stdout.splitlines()] == [7, None]


def _comparable(value: Any, long: bool) -> Any:
    """npm gives integers of 64 bits as text."""
    return str(value) if long and value is not None else value
