"""The exported NodeSet2 file: what asyncua imports from it is what our server shows."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from asyncua import Server, ua
from typer import Typer
from typer.testing import CliRunner

from edge_inspector.cli.opcua_nodeset import export_nodeset
from edge_inspector.outputs.opcua_server.address_space import NAMESPACE, add_tags, node_id
from edge_inspector.outputs.opcua_server.nodeset import SCHEMA, nodeset
from edge_inspector.plc.tags import TAGS

ATTRIBUTES = (
    ua.AttributeIds.NodeClass,
    ua.AttributeIds.BrowseName,
    ua.AttributeIds.DataType,
    ua.AttributeIds.ValueRank,
    ua.AttributeIds.ArrayDimensions,
    ua.AttributeIds.AccessLevel,
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def shown(server: Server, index: int) -> dict[str, list[object]]:
    """Every attribute that matters, and the children, of each node of ours; namespaces by name."""
    found: dict[str, list[object]] = {}
    for name in ("", *{tag.name.partition(".")[0] for tag in TAGS}, *(tag.name for tag in TAGS)):
        node = server.get_node(ua.NodeId(node_id(name).Identifier, index))
        values = [v.Value.Value if v.Value is not None else None for v in await node.read_attributes(ATTRIBUTES)]
        values[1] = values[1].Name
        values[4] = values[4] or None
        found[name] = [*values, sorted(str(child.nodeid.Identifier) for child in await node.get_children())]
        description = (await node.read_description()).Text
        found[name].append(description if description and name.count(".") else "")
    return found


@pytest.mark.anyio
async def test_asyncua_imports_from_the_file_what_our_server_shows(tmp_path: Path) -> None:
    from datetime import datetime, timezone

    ours, other = Server(), Server()
    await ours.init()
    await other.init()
    await add_tags(ours, datetime.now(timezone.utc), writable=True)
    file = tmp_path / "station.xml"
    file.write_text(nodeset(), encoding="utf-8")
    await other.register_namespace("urn:something-else")
    await other.import_xml(file)
    index = await other.get_namespace_index(NAMESPACE)
    assert index == 3
    assert await shown(other, index) == await shown(ours, 2)


def test_the_file_names_its_model_and_the_one_that_it_needs() -> None:
    root = ET.fromstring(nodeset())
    assert root.tag == f"{{{SCHEMA}}}UANodeSet"
    (uri,), (model,) = root[0], root[1]
    (needed,) = model
    assert uri.text == model.get("ModelUri") == NAMESPACE
    assert needed.get("ModelUri") == "http://opcfoundation.org/UA/"
    ids = [node.get("NodeId") for node in root if node.get("NodeId")]
    assert len(set(ids)) == len(ids) == len(TAGS) + 1 + 6
    assert {i.partition(";")[0] for i in ids if i} == {"ns=1"}


def test_the_command_writes_a_file_or_to_standard_output(tmp_path: Path) -> None:
    app = Typer()
    app.command()(export_nodeset)
    file = tmp_path / "tags.xml"
    said = CliRunner().invoke(app, [str(file)])
    assert (said.exit_code, file.read_text()) == (0, nodeset())
    assert f"{len(TAGS)} tags" in said.stdout
    assert CliRunner().invoke(app, []).stdout == nodeset()


def test_the_command_names_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    app = Typer()
    app.command()(export_nodeset)
    said = CliRunner().invoke(app, [str(tmp_path / "missing" / "tags.xml")])
    assert said.exit_code != 0
    assert "cannot be written" in said.output
