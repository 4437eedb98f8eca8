"""What `edge-inspector power tune` has measured: how long a part takes in each power mode, and what it costs."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, TypeAdapter, ValidationError

from edge_inspector.engine.files import sync
from edge_inspector.errors import ConfigError
from edge_inspector.health.finding import text
from edge_inspector.settings import Settings

if TYPE_CHECKING:
    from edge_inspector.station.parts import LoadedRecipe

FILE = "power.json"
"""In the state folder."""
_BOARD = ("proc/device-tree/model", "etc/nv_tegra_release", "etc/nvpmodel.conf")
"""Which board it is, which JetPack it runs, and what its modes are."""


class Measured(Settings):
    """One recipe in one mode: from the trigger to the verdict, without the camera's own time."""

    recipe: str
    runs: str
    """`fingerprint` of what was run."""
    mode: str
    parts: int = Field(ge=1)
    p50_ms: float = Field(gt=0, allow_inf_nan=False)
    p99_ms: float = Field(gt=0, allow_inf_nan=False)
    parts_per_s: float = Field(gt=0, allow_inf_nan=False)
    power_w: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Mean of the whole board while parts follow one another, None = the board does not say."""
    measured_utc: str

    @property
    def parts_per_joule(self) -> float | None:
        return self.parts_per_s / self.power_w if self.power_w else None


_TABLE = TypeAdapter(list[Measured])


def runs_on(backend: str, root: Path) -> str:
    """What a part's time depends on besides its recipe, in words: the backend's settings and the board."""
    return json.dumps([backend, *(text(root, path) for path in _BOARD)])


def fingerprint(recipe: LoadedRecipe, backend: str) -> str:
    """Of all that says how long a part takes; `backend` as `runs_on` has it. 16 hex digits."""
    views = [
        (plan.input, plan.roi, plan.tiling, None if plan.calibration is None else plan.calibration.image_hw)
        for plan in recipe.plans.values()
    ]
    return hashlib.sha256(repr((recipe.model_hash, backend, views)).encode()).hexdigest()[:16]


def read_table(path: Path) -> list[Measured]:
    """Nothing where nothing was measured. ConfigError when the file is not what `write_table` writes."""
    try:
        return _TABLE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as exc:
        problem = exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else exc
        raise ConfigError(f"{path}: {problem}; measure again: edge-inspector power tune") from exc


def write_table(path: Path, rows: Sequence[Measured]) -> None:
    """Whole or not at all, and on the disk when it returns."""
    new, beside = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # root may write into another user's folder
    try:
        with os.fdopen(new, "w", encoding="utf-8") as file:
            json.dump([row.model_dump() for row in rows], file, indent=1)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    sync(path.parent)


def merged(before: Sequence[Measured], now: Sequence[Measured]) -> list[Measured]:
    """What was measured now in the place of what was known of the same recipe and mode."""
    again = {(row.recipe, row.mode) for row in now}
    return sorted(
        [*(row for row in before if (row.recipe, row.mode) not in again), *now], key=lambda row: (row.recipe, row.mode)
    )


class Speeds:
    """The table of one start of the station. What was measured with another model or backend does not count."""

    def __init__(self, rows: Sequence[Measured], backend: str) -> None:
        self._rows = rows
        self._backend = backend

    def p99_ms(self, recipe: LoadedRecipe) -> Mapping[str, float]:
        """By mode; empty = this recipe, as it is now, was not measured. Of recipes that run the same, the slowest."""
        runs, found = fingerprint(recipe, self._backend), dict[str, float]()
        for row in self._rows:
            if row.runs == runs:
                found[row.mode] = max(row.p99_ms, found.get(row.mode, 0.0))
        return found
