"""`edge-inspector opcua`: what an automation engineer does with OPC UA, on both ends."""

from __future__ import annotations

import typer

from edge_inspector.cli import opcua_client, opcua_nodeset, opcua_security

opcua = typer.Typer(no_args_is_help=True)


@opcua.callback()
def _opcua() -> None:
    """OPC UA: certificates and users of our server, and the mapping into a PLC's server."""


opcua.command("browse")(opcua_client.browse)
opcua.command("check")(opcua_client.check)
opcua.command("certificates")(opcua_security.certificates)
opcua.command("trust")(opcua_security.trust)
opcua.command("distrust")(opcua_security.distrust)
opcua.add_typer(opcua_security.user_app, name="user")
opcua.command("export-nodeset")(opcua_nodeset.export_nodeset)
