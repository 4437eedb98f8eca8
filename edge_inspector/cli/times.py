"""Times as people type them."""

from __future__ import annotations

from datetime import datetime, timezone

from edge_inspector.errors import ConfigError


def typed_time(text: str | None) -> datetime | None:
    """In the machine's own zone unless the text names one; None = none was given. ConfigError: it is no time."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError) as exc:
        raise ConfigError(f"{text!r} is no time; expected 2026-11-22 or '2026-11-22 06:00'") from exc
