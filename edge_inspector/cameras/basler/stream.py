"""What pylon's stream grabber counts: packets, resends, buffers that were not there in time."""

from __future__ import annotations

from collections.abc import Mapping

from edge_inspector.cameras.basler.nodes import Nodes

NODES: Mapping[str, str] = {
    "buffer_underruns": "Statistic_Buffer_Underrun_Count",
    "packets": "Statistic_Total_Packet_Count",
    "packets_failed": "Statistic_Failed_Packet_Count",
    "packets_resent": "Statistic_Resend_Packet_Count",
}
"""By field of CameraStatistics. USB has no packets; its Statistic_Missed_Frame_Count is in the BlockID gaps already."""


class StreamCounts:
    """The counts since the camera was opened: pylon may begin again at 0 when grabbing is stopped and started."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._totals: dict[str, int] = {}

    def read(self, grabber: Nodes) -> Mapping[str, int]:
        """By field of CameraStatistics, those that this camera has."""
        for field, name in NODES.items():
            value = grabber.value(name)
            if value is not None:
                now, before = int(value), self._seen.get(field, 0)
                self._totals[field] = self._totals.get(field, 0) + (now - before if now >= before else now)
                self._seen[field] = now
        return dict(self._totals)
