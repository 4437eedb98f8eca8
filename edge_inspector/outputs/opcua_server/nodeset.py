"""The tag table as a NodeSet2 file, for engineering tools such as TIA Portal; made from the table alone."""

from __future__ import annotations

from datetime import datetime
from xml.etree import ElementTree as ET

from asyncua import ua

from edge_inspector.outputs.opcua_server.address_space import NAMESPACE, ROOT
from edge_inspector.plc.tags import INTERFACE_VERSION, TAGS, Tag

SCHEMA = "http://opcfoundation.org/UA/2011/03/UANodeSet.xsd"
UA_NAMESPACE = "http://opcfoundation.org/UA/"
UA_VERSION, UA_DATE = "1.04", "2019-05-01T00:00:00Z"
"""The oldest edition of OPC UA's own nodes that has all that we use; TIA Portal brings it along."""
PUBLISHED = datetime(2026, 11, 22)
"""Of interface version 1; a new version of the table gets a new date."""
_INDEX = 1  # of our namespace within the file
_OBJECTS = "i=85"
_REFERENCES = {"Organizes": 35, "HasTypeDefinition": 40, "HasComponent": 47}
_BASE_OBJECT, _BASE_VARIABLE = "i=58", "i=63"
_READ, _WRITE = 1, 2


def nodeset() -> str:
    """NodeSet2 XML (UANodeSet.xsd) of our namespace, which requires OPC UA's own and nothing else."""
    date = f"{PUBLISHED:%Y-%m-%dT%H:%M:%SZ}"
    root = ET.Element("UANodeSet", {"xmlns": SCHEMA, "LastModified": date})
    ET.SubElement(ET.SubElement(root, "NamespaceUris"), "Uri").text = NAMESPACE
    model = {"ModelUri": NAMESPACE, "Version": f"{INTERFACE_VERSION}.0", "PublicationDate": date}
    needs = {"ModelUri": UA_NAMESPACE, "Version": UA_VERSION, "PublicationDate": UA_DATE}
    ET.SubElement(ET.SubElement(ET.SubElement(root, "Models"), "Model", model), "RequiredModel", needs)
    aliases = ET.SubElement(root, "Aliases")
    types: dict[str, int] = {kind: ua.VariantType[kind].value for kind in sorted({tag.type for tag in TAGS})}
    for alias, number in {**types, **_REFERENCES}.items():
        ET.SubElement(aliases, "Alias", {"Alias": alias}).text = f"i={number}"
    groups = list(dict.fromkeys(tag.name.partition(".")[0] for tag in TAGS))
    _object(root, ROOT, ROOT, ("Organizes", _OBJECTS), [f"{ROOT}.{group}" for group in groups])
    for group in groups:
        tags = [tag for tag in TAGS if tag.name.startswith(f"{group}.")]
        name = f"{ROOT}.{group}"
        _object(root, name, group, ("HasComponent", _id(ROOT)), [f"{ROOT}.{tag.name}" for tag in tags])
        for tag in tags:
            _variable(root, tag, name)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _object(root: ET.Element, name: str, leaf: str, parent: tuple[str, str], children: list[str]) -> None:
    node = ET.SubElement(root, "UAObject", {"NodeId": _id(name), "BrowseName": f"{_INDEX}:{leaf}"})
    ET.SubElement(node, "DisplayName").text = leaf
    references = ET.SubElement(node, "References")
    _reference(references, "HasTypeDefinition", _BASE_OBJECT)
    _reference(references, *parent, forward=False)
    for child in children:
        _reference(references, "HasComponent", _id(child))


def _variable(root: ET.Element, tag: Tag, group: str) -> None:
    leaf = tag.name.partition(".")[2]
    access = _READ | (_WRITE if tag.writer == "plc" else 0)
    attributes = {"NodeId": _id(f"{ROOT}.{tag.name}"), "BrowseName": f"{_INDEX}:{leaf}", "ParentNodeId": _id(group)}
    attributes |= {"DataType": tag.type, "AccessLevel": str(access), "UserAccessLevel": str(access)}
    if tag.length:
        attributes |= {"ValueRank": "1", "ArrayDimensions": str(tag.length)}
    node = ET.SubElement(root, "UAVariable", attributes)
    ET.SubElement(node, "DisplayName").text = leaf
    ET.SubElement(node, "Description").text = tag.meaning
    references = ET.SubElement(node, "References")
    _reference(references, "HasTypeDefinition", _BASE_VARIABLE)
    _reference(references, "HasComponent", _id(group), forward=False)


def _reference(parent: ET.Element, kind: str, target: str, forward: bool = True) -> None:
    attributes = {"ReferenceType": kind} if forward else {"ReferenceType": kind, "IsForward": "false"}
    ET.SubElement(parent, "Reference", attributes).text = target


def _id(name: str) -> str:
    return f"ns={_INDEX};s={name}"
