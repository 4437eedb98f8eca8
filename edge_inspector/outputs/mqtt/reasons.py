"""MQTT 5 reason codes: which of them mean what here, and what to do (OASIS MQTT 5.0, 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FAILURE = 0x80
"""Codes from here on are failures."""
UNSPECIFIED = 0x80
"""What paho says when the broker said nothing."""
FOR_EVER = (0x90, 0x95, 0x99)
"""Topic name invalid, packet too large, payload format invalid: no later try helps."""
CUT = (UNSPECIFIED, 0x81, 0x82, 0x83, 0x95)
"""With these, or without a word, a broker hangs up on a message that it cannot take."""
REMEDY: Mapping[int, str] = {
    0x81: "is that an MQTT broker, or something else on this port?",
    0x82: "is that an MQTT broker, or something else on this port?",
    0x84: "set protocol to the version that the broker speaks",
    0x85: "choose another client_id",
    0x86: "check username and password_file",
    0x87: "check username and password_file, and what the broker allows this user",
    0x88: "the broker is not ready",
    0x89: "the broker is busy",
    0x8A: "the broker has banned this client",
    0x8C: "the broker wants another kind of log-in",
    0x97: "the broker has too many clients",
    0x9A: "the broker must keep retained messages",
    0x9B: "the broker must take QoS 1",
    0x9C: "the broker has moved: check host",
    0x9D: "the broker has moved: check host",
    0x9F: "the broker limits how often one may connect",
}
"""What a user can do when a broker refuses the connection."""


def in_words(reason: Any, protocol: str) -> str:
    """A reason in words, and its number where MQTT gives it one."""
    return f"{reason} (reason code 0x{reason.value:02x})" if protocol == "5" else str(reason)
