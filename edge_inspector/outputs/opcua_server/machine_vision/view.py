"""What OPC 40100-1 calls the state in which a contract is."""

from __future__ import annotations

from edge_inspector.outputs.opcua_server.machine_vision.states import AUTOMATIC
from edge_inspector.plc.handshake import Contract
from edge_inspector.plc.image import image
from edge_inspector.plc.states import State


def state(contract: Contract, halted_as: State) -> State:
    """Status.State, but for three things that only this specification knows.

    A recipe that runs by itself is in ContinuousExecution; a station that takes the next part while it still works on
    one is Ready; and a halted one is shown `halted_as`: Halted, Preoperational after Reset, Ready after Stop.
    """
    tags = image(contract)
    tagged = State(int(str(tags["Status.State"])))
    if tagged is State.Halted:
        return halted_as
    if tagged not in AUTOMATIC:
        return tagged
    if contract.status.runs_by_itself:
        return State.ContinuousExecution
    return State.Ready if tagged is State.SingleExecution and contract.accepts else tagged
