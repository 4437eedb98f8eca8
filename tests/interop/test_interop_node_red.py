"""Node-RED's OPC UA nodes as the client: every tag, and every tag again after a restart of the station."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_programs import SCRIPTS, Node, Script
from real_station import RealStation, free_port

from edge_inspector.plc.tags import BY_NAME, TAGS

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]
AGAIN_S = 60.0
"""These nodes wait 5 s before their first attempt, and longer before each further one."""
SETTINGS = """\
module.exports = {{
  uiHost: "127.0.0.1",
  uiPort: {port},
  flowFile: "flow.json",
  credentialSecret: false,
  httpAdminRoot: false,
  telemetry: {{ enabled: false, updateNotification: false }},
  externalModules: {{ autoInstall: false, palette: {{ allowInstall: false }}, modules: {{ allowInstall: false }} }},
  logging: {{ console: {{ level: "info", metrics: false, audit: false }} }},
}};
"""


class NodeRed:
    """A headless Node-RED with the flow of this folder."""

    def __init__(self, script: Script, port: int) -> None:
        self.script = script
        self._port = port

    def ask(self, path: str) -> Any:
        """The flow's answer, None when it gave none in time: its OPC UA nodes have no session."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None

    def read(self, name: str) -> Any:
        return self.ask(f"/read?name={urllib.parse.quote(name)}")


@pytest.fixture
def node_red(node: Node, node_modules: Path, tmp_path: Path, endpoint: str) -> Iterator[NodeRed]:
    home, port = tmp_path / "node_red", free_port()
    home.mkdir()
    (home / "node_modules").symlink_to(node_modules)
    (home / "settings.js").write_text(SETTINGS.format(port=port))
    (home / "flow.json").write_text((SCRIPTS / "node_red_flow.json").read_text().replace("ENDPOINT", endpoint))
    program = node_modules / "node-red" / "red.js"
    red = NodeRed(node(program, "--userDir", home, "--settings", home / "settings.js"), port)
    red.script.wait("Node-RED answers", lambda: red.ask("/beats") is not None, 60)
    yield red
    red.script.process.terminate()
    red.script.process.wait(20)
    shutil.rmtree(home)


def test_node_red_reads_every_tag_and_again_after_a_killed_station_has_come_back(
    node_red: NodeRed, station: RealStation, opcua_port: int
) -> None:
    boot_ids = []
    for start in range(2):
        if start:
            station.kill()
            station.start()
            station.wait_until_listening(opcua_port)
        beats = node_red.ask("/beats")["beats"]
        node_red.script.wait(
            "the subscription brings data", lambda seen=beats: node_red.ask("/beats")["beats"] > seen + 5, AGAIN_S
        )
        node_red.script.wait("a read is answered", lambda: node_red.read("Status.BootId") is not None, AGAIN_S)
        seen = {name: node_red.read(name) for name in BY_NAME}
        assert [name for name, answer in seen.items() if answer is None or answer["name"] != name] == []
        for tag in TAGS:
            value = seen[tag.name]["value"]
            assert (len(value) if isinstance(value, list) else 0) == tag.length, tag.name
            kind = {"Boolean": bool, "String": str, "DateTime": str}.get(tag.type, (int, float))
            assert all(isinstance(each, kind) for each in (value if tag.length else [value])), (tag.name, value)
            assert seen[tag.name]["status"] in ("Good", "UncertainInitialValue")
        assert seen["Status.ActiveRecipe"]["value"] == "spots"
        boot_ids.append(seen["Status.BootId"]["value"])
    assert boot_ids[0] != boot_ids[1]
