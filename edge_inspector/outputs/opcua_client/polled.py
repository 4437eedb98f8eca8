"""The contract as a link that dials needs it: asked without waiting, and told when the PLC could not be heard."""

from __future__ import annotations

from dataclasses import replace

from edge_inspector.interfaces import LinkState, PlcRequest
from edge_inspector.outputs.live import LiveContract


class PolledContract(LiveContract):
    """A `LiveContract` whose PLC is read, not listened to."""

    def waiting(self) -> PlcRequest | None:
        """The next request to the station, None = none is waiting."""
        return None if self._requests.empty() else self._requests.get_nowait()

    def unheard(self) -> None:
        """The PLC could not be heard for a while: its heartbeat counts as stale until it changes again."""
        me = self.contract
        if me.alive:
            stale = replace(me, alive=False)
            lost = LinkState(stale.linked, stale.plc.plc_boot_id)
            self._become(stale, (lost,) if me.linked != stale.linked else ())
