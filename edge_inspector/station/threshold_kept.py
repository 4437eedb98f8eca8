"""What a recipe's thresholds have learnt, as it stands in the book."""

from __future__ import annotations

from pydantic import Field, StrictBool, ValidationError

from edge_inspector.settings import Settings
from edge_inspector.settings.adaptive import Policy
from edge_inspector.stages.thresholds import State, loads


class Release(Settings):
    """Somebody has allowed the thresholds of a recipe to be looser than it says, up to the ceilings of these limits."""

    limits: str
    who: str
    utc: str


class Noted(Settings):
    """What verdicts do not tell: after part `after` the pictures began to drift, or stopped, or somebody spoke.

    `drift` is what is wrong with them, empty = nothing any more; `part` was `good`, or not.
    """

    after: int
    drift: str | None = None
    part: int | None = None
    good: StrictBool | None = None


class Since(Settings):
    """What was noted since the learning was put down for the `turn`-th time."""

    turn: int
    noted: tuple[Noted, ...] = ()


class Kept(Settings):
    """All that was learnt up to part `seq`; `of` is what it is worth something for, `states` are by policy."""

    of: str
    turn: int
    seq: int = Field(ge=0)
    states: dict[Policy, str]
    frozen_by: str
    drift: str


def read_kept(text: str) -> tuple[Kept, dict[Policy, State]]:
    """ValueError with the reason."""
    try:
        kept = Kept.model_validate_json(text)
    except ValidationError as exc:
        raise ValueError(exc.errors(include_url=False)[0]["msg"]) from exc
    return kept, {policy: loads(state) for policy, state in kept.states.items()}


def read_since(text: str | None, turn: int) -> tuple[Noted, ...]:
    """What was noted since that turn; nothing where the text is of another one, or cannot be read."""
    try:
        since = Since.model_validate_json(text or "")
    except ValidationError:
        return ()
    return since.noted if since.turn == turn else ()


def read_release(text: str | None) -> Release | None:
    """None = nobody has released, or it cannot be read."""
    try:
        return Release.model_validate_json(text or "")
    except ValidationError:
        return None
