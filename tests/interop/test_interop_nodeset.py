"""The exported NodeSet2 file, imported by node-opcua."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from node_programs import Node

from edge_inspector.plc.tags import BY_NAME, TAGS

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]


def test_the_exported_nodeset_brings_every_tag_into_node_opcua(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "station.nodeset2.xml"
    subprocess.run(
        [sys.executable, "-m", "edge_inspector", "opcua", "export-nodeset", str(file)], check=True, timeout=60
    )
    seen = {line["name"]: line for line in node("nodeset.mjs", file).finish() if "name" in line}
    assert set(seen) == set(BY_NAME)
    for tag in TAGS:
        line = seen[tag.name]
        assert (line["type"], line["below"]) == (tag.type, "Objects"), tag.name
        assert (line["rank"], line["dimensions"]) == ((1, [tag.length]) if tag.length else (-1, None)), tag.name
        assert line["access"] == (3 if tag.writer == "plc" else 1), tag.name
