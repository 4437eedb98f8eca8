"""A policy's state as text and back, exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_args

from edge_inspector.settings.adaptive import Policy
from edge_inspector.stages.thresholds.records import Estimate, Learnt, State

SCHEMA = "edge-inspector/thresholds/1"


def dumps(state: State) -> str:
    """The state as JSON text; `loads` gives an equal one."""
    told = {field.name: getattr(state, field.name) for field in fields(state)}
    told["estimates"] = [None if one is None else vars(one) for one in state.estimates]
    told["parts"] = [vars(part) for part in state.parts]
    return json.dumps({"schema": SCHEMA, **told}, allow_nan=False, separators=(",", ":"))


def loads(text: str) -> State:
    """The state that `dumps` wrote; ValueError when the text is anything else."""
    try:
        found = json.loads(text)
        if found.pop("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        return _state(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ValueError(f"not a state of thresholds ({type(exc).__name__}: {exc}); it must be learnt anew") from exc


def _state(found: dict[str, Any]) -> State:
    by_class = _shares(found.pop("by_class"))
    n = len(by_class)
    state = State(
        policy=_policy(found.pop("policy")),
        by_class=by_class,
        estimates=tuple(None if one is None else _estimate(one) for one in _rows(found.pop("estimates"), n)),
        leaning=tuple(_whole(one) for one in _rows(found.pop("leaning"), n)),
        stuck=tuple(_is(one, bool) for one in _rows(found.pop("stuck"), n)),
        capped=_shares(_rows(found.pop("capped"), n)),
        parts=tuple(_learnt(one, n) for one in _is(found.pop("parts"), list)),
        steps=_whole(found.pop("steps")),
        escape=_is(found.pop("escape"), str),
        frozen=_is(found.pop("frozen"), str),
        alarm=_is(found.pop("alarm"), str),
    )
    if found:
        raise ValueError(f"unknown keys {sorted(found)}")
    return state


def _estimate(found: dict[str, Any]) -> Estimate:
    wanted, low, high = _shares([found["wanted"], found["low"], found["high"]])
    return Estimate(wanted, low, high)


def _learnt(found: dict[str, Any], n: int) -> Learnt:
    peaks, thresholds = _shares(_rows(found["peaks"], n)), _shares(_rows(found["thresholds"], n))
    return Learnt(_whole(found["seq"]), peaks, thresholds)


def _policy(found: object) -> Policy:
    for policy in get_args(Policy):
        if found == policy:
            known: Policy = policy
            return known
    raise ValueError(f"policy {found!r}, expected one of {', '.join(get_args(Policy))}")


def _shares(found: Sequence[Any]) -> tuple[float, ...]:
    for one in found:
        if type(one) not in (int, float) or not (math.isfinite(one) and 0.0 <= one <= 1.0):
            raise ValueError(f"{one!r}, expected a number from 0 to 1")
    return tuple(found)


def _rows(found: Any, n: int) -> list[Any]:
    if len(_is(found, list)) != n:
        raise ValueError(f"{len(found)} entries, expected {n}: one a class")
    rows: list[Any] = found
    return rows


def _whole(found: Any) -> int:
    number: int = _is(found, int)
    return number


def _is(found: Any, kind: type) -> Any:
    if type(found) is not kind:
        raise ValueError(f"{found!r}, expected {kind.__name__}")
    return found
