"""A destination that is there, and does not take a message."""

from __future__ import annotations

from edge_inspector.errors import OutputError


class MessageRefusedError(OutputError):
    """The first of the messages that were to be published is refused; the connection holds.

    `for_ever`: the message itself is at fault, such as one that is too large; no later try can succeed. Otherwise it is
    its topic, and somebody may allow it.
    """

    def __init__(self, text: str, *, for_ever: bool) -> None:
        super().__init__(text)
        self.for_ever = for_ever


class ConnectionCutError(OutputError):
    """The destination ended the connection while the first of the messages was on its way, and did not say why."""
