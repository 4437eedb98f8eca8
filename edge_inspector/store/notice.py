"""What the ledger wants people to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Notice:
    """It becomes an event of the station: fields as in `Event`."""

    severity: Literal["info", "warning", "alarm"]
    code: str
    text: str
