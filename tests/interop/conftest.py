"""A real station, and scripts of this folder that run in Node.js against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import node_programs
import pytest
from node_programs import SCRIPTS, Node, Script
from real_station import OPCUA, RealStation, free_port, real_station


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where node-opcua and Node-RED are installed."""
    return node_programs.node_modules()


@pytest.fixture(scope="session")
def node_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where node-opcua keeps its own certificate: made once, outside the user's home."""
    return tmp_path_factory.mktemp("node_home")


@pytest.fixture
def node(node_modules: Path, node_home: Path, tmp_path: Path) -> Iterator[Node]:
    """Starts a script of this folder with Node.js; `node("follow.mjs", endpoint, ...)`. Ends what still runs."""
    running: list[Script] = []

    def start(script: str | Path, *arguments: object) -> Script:
        path = SCRIPTS / script
        log = tmp_path / f"{path.stem}_{len(running)}"
        running.append(node_programs.start(node_modules, node_home, log, path, *arguments))
        return running[-1]

    yield start
    for script in running:
        script.end()


@pytest.fixture
def opcua_port() -> int:
    return free_port()


@pytest.fixture
def station(tmp_path: Path, opcua_port: int) -> Iterator[RealStation]:
    """A real station with its OPC UA server on loopback."""
    with real_station(tmp_path, OPCUA.format(port=opcua_port), opcua_port) as made:
        yield made


@pytest.fixture
def endpoint(station: RealStation, opcua_port: int) -> str:
    return f"opc.tcp://127.0.0.1:{opcua_port}/edge-inspector"
