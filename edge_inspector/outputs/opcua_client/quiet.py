"""asyncua's client logs each attempt that fails, in three lines; the link says once that the PLC is away, and why."""

from __future__ import annotations

import logging


def _is_no_refusal(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Received an error")


def apply() -> None:
    """Once in this process. What a server of ours logs stays."""
    logging.getLogger("asyncua.client").setLevel(logging.CRITICAL + 1)
    logging.getLogger("asyncua.uaprotocol").addFilter(_is_no_refusal)  # a filter that is there is not added again
