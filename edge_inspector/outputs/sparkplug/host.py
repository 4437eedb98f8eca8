"""The primary host application: whether somebody is there who keeps what an edge node says."""

from __future__ import annotations

import json
import math

from edge_inspector.errors import OutputError
from edge_inspector.outputs.sparkplug.session import NAMESPACE


class PrimaryHost:
    """As its STATE messages have it in one MQTT session; without an id there is none, and nobody to wait for."""

    def __init__(self, host_id: str | None) -> None:
        self.topic = "" if host_id is None else f"{NAMESPACE}/STATE/{host_id}"
        self.online = host_id is None
        self._at_ms = -math.inf

    def said(self, payload: bytes) -> None:
        """A STATE message: JSON with `online` and `timestamp`, which counts unless it is older than the one before.

        ValueError when it is none.
        """
        try:
            state = json.loads(payload)
            online, at_ms = state["online"], state["timestamp"]
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise ValueError(f"{payload[:100]!r} is no STATE message: {exc!r}") from exc
        is_time = isinstance(at_ms, int) or (isinstance(at_ms, float) and math.isfinite(at_ms))
        if not isinstance(online, bool) or isinstance(at_ms, bool) or not is_time:
            raise ValueError(f"{payload[:100]!r} is no STATE message: expected a Boolean online, a number timestamp")
        if at_ms >= self._at_ms:
            self._at_ms, self.online = at_ms, online

    def require(self, broker: str) -> None:
        """OutputError when it is offline: an edge node then says farewell, and waits in a new session."""
        if not self.online:
            raise OutputError(f"{broker}: primary host application {self.topic} is offline; data waits for it")
