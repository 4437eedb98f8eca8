"""A look into a server beside the station: in a session of its own, which writes nothing unless it is asked to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pydantic
from asyncua import ua

from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import Clock
from edge_inspector.outputs.opcua_client import node_text
from edge_inspector.outputs.opcua_client.cells import Node
from edge_inspector.outputs.opcua_client.config import Config, ServerConfig
from edge_inspector.outputs.opcua_client.dial import open_session
from edge_inspector.outputs.opcua_client.session import Session
from edge_inspector.outputs.opcua_client.survey import Finding, survey
from edge_inspector.outputs.opcua_client.tree import OBJECTS, Variable, variables
from edge_inspector.outputs.opcua_client.trust import Keeper

STAMPED, VALUE_ONLY = "yes", "value only"
TAKEN = (STAMPED, VALUE_ONLY)


def keeper_of(table: Mapping[str, object], base: Path, folder: Path, clock: Clock, station: str | None) -> Keeper:
    """What reaches the server of a link's table, which may still lack its map. ConfigError names what is wrong.

    `station` is the name in the station's own certificate, which is made by whoever calls first.
    """
    given = {key: value for key, value in table.items() if key in ServerConfig.model_fields}
    try:
        settings = ServerConfig.model_validate_json(json.dumps(given), strict=True, context={"base": base})
    except pydantic.ValidationError as exc:
        told = [f"{'.'.join(map(str, one['loc'])) or 'server'}: {one['msg']}" for one in exc.errors()]
        raise ConfigError("\n".join(told)) from exc
    return Keeper(settings, folder, station or "browse", clock)


async def browsed(keeper: Keeper, under: str | None) -> list[Variable]:
    """Every variable below a node. OutputError; ConfigError when `under` is no NodeId."""
    session = await open_session(keeper.config, keeper, "browse")
    try:
        return await variables(session, OBJECTS if under is None else _start(under, session))
    finally:
        await session.close()


async def checked(
    config: Config, folder: Path, clock: Clock, station: str | None, write_test: bool
) -> tuple[list[Finding], dict[str, str]]:
    """What is to be said of each mapped node and, for the test, tag -> how it takes its own value. OutputError."""
    session = await open_session(config, Keeper(config, folder, station or "check", clock), "check")
    try:
        found = await survey(session, config.nodes)
        ours = {one.tag: one.cell.node for one in found if one.cell is not None and not one.problems}
        tags = [tag for tag in ours if not tag.startswith("Control.")] if write_test else []
        return found, {tag: await _written_back(session, ours[tag]) for tag in tags}
    finally:
        await session.close()


def _start(under: str, session: Session) -> ua.NodeId:
    try:
        return node_text.node_id(under, session.namespaces)
    except ValueError as exc:
        raise ConfigError(f"--under {under}: {exc}") from exc


async def _written_back(session: Session, node: Node) -> str:
    """One of TAKEN, or why the node does not take the value that it holds."""
    (read,) = await session.read([node.node_id])
    if read.Value is None or read.Value.Value is None:
        return f"no value to write back ({read.StatusCode.name if read.StatusCode else 'null'})"
    (answer,) = await session.write([(node.node_id, read.Value)], stamped=True)
    taken = STAMPED
    if answer.value == ua.StatusCodes.BadWriteNotSupported:
        (answer,) = await session.write([(node.node_id, read.Value)], stamped=False)
        taken = VALUE_ONLY
    return taken if answer.is_good() else str(answer.name)
