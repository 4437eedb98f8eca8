"""The file in the state folder that says between which limits a recipe's thresholds may move, and for what it holds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from edge_inspector.datatypes import PreparePlan, ThresholdState
from edge_inspector.engine.files import sync, write_through
from edge_inspector.errors import ConfigError
from edge_inspector.settings import Name, Recipe, Settings
from edge_inspector.stages.rules import fingerprint
from edge_inspector.stages.thresholds import ClassLimits

FOLDER = "thresholds"
LARGEST = 1 << 20
_Sum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=10**9)]
_PER_LIMIT, _PER_SHARE = 1e9, 1e4


def _in_order(row: tuple[float, float, int, int, float]) -> tuple[float, float, int, int, float]:
    floor, ceiling, defects, missed, _ = row
    if floor > ceiling or missed > defects:
        raise ValueError(f"expected floor <= ceiling and missed <= defects, not {list(row)}")
    return row


_Row = Annotated[tuple[_Share, _Share, _Count, _Count, _Share], AfterValidator(_in_order)]


class LimitsFile(Settings):
    """What a golden run has shown. It holds for one model, one golden set and one set of rules.

    `by_class` has, in the model's order, the floor, the ceiling, how many golden defects there are, how many of them a
    threshold at the ceiling misses, and the upper 95 % bound of the share that it misses.
    """

    schema_: Literal[1] = Field(1, alias="schema")
    recipe: Name
    model: _Sum
    golden: _Sum
    rules: _Sum
    utc: str = Field(max_length=32)
    good: _Count
    by_class: tuple[_Row, ...]

    @staticmethod
    def rows(limits: Sequence[ClassLimits]) -> list[tuple[float, float, int, int, float]]:
        """As `by_class` has them, with no more digits than count: limits rounded down, the bound up."""
        return [
            (_down(one.floor), _down(one.ceiling), one.defects, one.missed, _up(one.missed_upper)) for one in limits
        ]

    @property
    def limits(self) -> tuple[ClassLimits, ...]:
        """One for each class."""
        return tuple(ClassLimits(*row) for row in self.by_class)

    @property
    def sum(self) -> str:
        """SHA-256 of all that it says but when: by this a release names it, and a second run gives the same."""
        return hashlib.sha256(self.model_dump_json(by_alias=True, exclude={"utc"}).encode()).hexdigest()

    def to_json(self) -> str:
        """As short as it can be: a request to the station has room for some 100 classes."""
        return self.model_dump_json(by_alias=True)


def rules_sum(recipe: Recipe, plans: Mapping[str, PreparePlan], base: ThresholdState) -> str:
    """SHA-256 of all that bears on golden scores besides model and pictures: where a recipe looks, and for what.

    The policy is not among it, nor how fast it may move.
    """
    where = {camera: repr(plan) for camera, plan in plans.items()}
    said = json.dumps([fingerprint(recipe), where, base.by_class, recipe.adaptive.reserve], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def write_limits(state_dir: Path, limits: LimitsFile) -> Path:
    """Keep them instead of those that were there; the file."""
    path = _path(state_dir, limits.recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    write_through(fresh, limits.to_json().encode())
    fresh.replace(path)
    sync(path.parent)
    return path


def read_limits(state_dir: Path, recipe: str) -> LimitsFile | None:
    """Those of a recipe, None = nobody has made any. ConfigError: the file is damaged, or cannot be read."""
    path = _path(state_dir, recipe)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}; let the station's user read it") from exc
    try:
        found = LimitsFile.model_validate_json(content)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        raise ConfigError(
            f"{path} is not what `edge-inspector thresholds limits` writes ({first['msg']}): run it again"
        ) from exc
    if found.recipe != recipe:
        raise ConfigError(f"{path} is of recipe {found.recipe!r}, expected {recipe!r}: run `thresholds limits` again")
    return found


def _down(limit: float) -> float:
    return math.floor(limit * _PER_LIMIT) / _PER_LIMIT


def _up(share: float) -> float:
    return min(1.0, math.ceil(share * _PER_SHARE) / _PER_SHARE)


def _path(state_dir: Path, recipe: str) -> Path:
    return state_dir / FOLDER / f"{recipe}.json"
