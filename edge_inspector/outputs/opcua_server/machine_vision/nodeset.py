"""The published types of OPC 40100-1, loaded from the file that travels in this package."""

from __future__ import annotations

from importlib import resources

from asyncua import Server

URI = "http://opcfoundation.org/UA/MachineVision"
FILE = "Opc.Ua.MachineVision.NodeSet2.xml"


def xml() -> str:
    """The OPC Foundation's nodeset as it was published; its licence stands beside it."""
    return resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8-sig")


async def load(server: Server) -> int:
    """Import the types; the index of their namespace, which comes after those that are registered already."""
    await server.import_xml(xmlstring=xml())
    index: int = await server.get_namespace_index(URI)
    return index
