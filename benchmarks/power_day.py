"""One day of a station on a simulated board: its parts, its heat, and the station's own code that decides the mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from edge_inspector.datatypes import Evaluation, Mode, Reason
from edge_inspector.interfaces import PowerMode, PowerState
from edge_inspector.settings.power import PowerSettings
from edge_inspector.station.events import ModelWarm, PowerChanged, PowerOpened, PowerRead
from edge_inspector.station.parts import PowerPlan
from edge_inspector.station.power import Power

DAY_S = 86_400.0
MODES = (PowerMode(2, "15W"), PowerMode(1, "30W"), PowerMode(0, "MAXN"))
SLOWER = {"15W": 2.2, "30W": 1.35, "MAXN": 1.0}
"""How much longer a part takes than in MAXN; a guess of the right size, as all figures of this board."""
IDLE_W = {"15W": 5.5, "30W": 7.0, "MAXN": 9.0}
BUSY_W = {"15W": 14.0, "30W": 26.0, "MAXN": 45.0}
CAMERA_MS = 12.0
SPREAD = 0.06
"""Of the logarithm of the times: the p99 is 15 % above the median."""
CHANGE_S, WARM_S, READ_S = 2.0, 0.3, 2.0
HOT_C, COOL_C, HEAT_TAU_S, HEAT_C_PER_W = 97.0, 90.0, 600.0, 1.9
THROTTLED = 2.4
"""How much longer a part takes on a board that is throttled."""


@dataclass(frozen=True)
class Product:
    """A recipe: how long its part takes in MAXN, and may take."""

    name: str
    base_ms: float
    deadline_ms: float
    period_s: float


@dataclass(frozen=True)
class Stretch:
    """What the line does until `until_h`; `load` is how much longer parts take because of something else."""

    until_h: float
    product: Product
    runs: bool = True
    load: float = 1.0
    ambient_c: float = 25.0


@dataclass
class Outcome:
    """What a day came to; the series have a value for each minute."""

    parts: int = 0
    late: int = 0
    refused: int = 0
    energy_j: float = 0.0
    changes: int = 0
    throttled_s: float = 0.0
    mode: list[int] = field(default_factory=list)
    watts: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    deadline_ms: list[float] = field(default_factory=list)
    late_each: list[int] = field(default_factory=list)


class _Clock:
    """The day's: Wednesday 2026-11-18, in UTC."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_ns(self) -> int:
        return round(self.now_s * 1e9)

    def utc(self) -> str:
        return (datetime(2026, 11, 18, tzinfo=timezone.utc) + timedelta(seconds=self.now_s)).isoformat()

    def synced(self) -> bool:
        return True


class Day:
    """The board and the line around `Power`, which is the station's own."""

    def __init__(self, policy: dict[str, Any], plan: Sequence[Stretch], start: PowerMode) -> None:
        self._plan = plan
        self._clock = _Clock()
        self._mode = start
        self._temperature_c = plan[0].ambient_c + HEAT_C_PER_W * IDLE_W[start.name]
        self._throttled = False
        self._busy_s = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._product = plan[0].product
        self._rng = np.random.default_rng(8)
        self._times_ms: list[float] = []
        self.outcome = Outcome()
        self.told: list[tuple[float, str, str]] = []
        settings = PowerSettings.model_validate({"policy": policy})
        parts = SimpleNamespace(power=PowerPlan(settings, _never, _never), clock=self._clock)
        booking = SimpleNamespace(event=self._event, audit=lambda *_: None)
        self._power = Power(cast(Any, parts), cast(Any, booking), self._warm, lambda _: False, self._recipe)
        self._power.order = self._order

    def run(self, until_s: float = DAY_S) -> Outcome:
        """From midnight on."""
        self._power.opened(PowerOpened(MODES, self._state(), cast(Any, SimpleNamespace(p99_ms=tuned))))
        next_read = next_part = 0.0
        minute, energy_j = 0, 0.0
        while self._clock.now_s < until_s:
            stretch = next(one for one in self._plan if self._clock.now_s < one.until_h * 3600)
            if stretch.product is not self._product:
                self._product = stretch.product
                self._power.select_model(stretch.product.name)
                self._look()
            if stretch.runs and self._clock.now_s >= next_part:
                self._part(stretch)
                next_part = self._clock.now_s + stretch.product.period_s
            if self._clock.now_s >= next_read:
                self._power.read(PowerRead(self._state()))
                next_read = self._clock.now_s + READ_S
            self._look()
            energy_j += self._pass(0.1 if stretch.runs else 1.0, stretch)
            if self._clock.now_s >= 60 * (minute + 1):
                minute, energy_j = minute + 1, self._note(energy_j)
        return self.outcome

    def _part(self, stretch: Stretch) -> None:
        out, product = self.outcome, stretch.product
        if self._power.why_not() is not None:
            out.refused += 1
            return
        model_ms = product.base_ms * SLOWER[self._mode.name] * stretch.load * (THROTTLED if self._throttled else 1.0)
        model_ms *= float(np.exp(self._rng.normal(0, SPREAD)))
        cycle_ms = CAMERA_MS + model_ms
        late = cycle_ms > product.deadline_ms
        out.parts += 1
        out.late += late
        self._busy_s += model_ms / 1e3
        self._times_ms.append(cycle_ms)
        trigger = SimpleNamespace(mode=Mode.PRODUCTION, recipe=product.name, seq=out.parts)
        reason, evaluation = (Reason.DEADLINE, Evaluation.UNDEFINED) if late else (Reason.NONE, Evaluation.OK)
        self._look(busy=True)
        result = SimpleNamespace(trigger=trigger, reason=reason, evaluation=evaluation, cycle_ms=cycle_ms)
        self._power.settled(cast(Any, result))

    def _pass(self, seconds: float, stretch: Stretch) -> float:
        """Time goes by: the energy that it took, J."""
        busy_s, self._busy_s = min(self._busy_s, seconds), max(0.0, self._busy_s - seconds)
        energy_j = IDLE_W[self._mode.name] * (seconds - busy_s) + BUSY_W[self._mode.name] * busy_s
        if self._throttled:
            energy_j *= 0.7
            self.outcome.throttled_s += seconds
        to_c = stretch.ambient_c + HEAT_C_PER_W * energy_j / seconds
        self._temperature_c += (to_c - self._temperature_c) * seconds / HEAT_TAU_S
        self._throttled = self._temperature_c > (COOL_C if self._throttled else HOT_C)
        self._clock.now_s += seconds
        for at, do in [one for one in self._due if one[0] <= self._clock.now_s]:
            self._due.remove((at, do))
            do()
        self.outcome.energy_j += energy_j
        return energy_j

    def _note(self, energy_j: float) -> float:
        """The end of a minute; the energy of the next one."""
        out, times = self.outcome, self._times_ms
        out.mode.append(MODES.index(self._mode))
        out.watts.append(energy_j / 60)
        out.p99_ms.append(float(np.percentile(times, 99)) if times else float("nan"))
        out.deadline_ms.append(self._product.deadline_ms if times else float("nan"))
        out.late_each.append(out.late - sum(out.late_each))
        self._times_ms = []
        return 0.0

    def _look(self, busy: bool = False) -> None:
        self._power.look(busy=busy, changeover=False, refused=False)
        self._power.told()

    def _order(self, mode: PowerMode) -> None:
        def done() -> None:
            self._mode = mode
            self.outcome.changes += 1
            self._power.changed(PowerChanged(mode, self._state()))

        self._due.append((self._clock.now_s + CHANGE_S, done))

    def _warm(self, recipe: str) -> None:
        self._due.append((self._clock.now_s + WARM_S, lambda: self._power.warm(ModelWarm(recipe))))

    def _recipe(self) -> Any:
        return _recipe_of(self._product)

    def _state(self) -> PowerState:
        return PowerState(self._mode, throttled="heat: gpu-throttle-alert" if self._throttled else "")

    def _event(self, severity: str, code: str, text: str) -> None:
        self.told.append((self._clock.now_s, code, text))


def tuned(recipe: Any) -> dict[str, float]:
    """What `edge-inspector power tune` would have measured on the calm board, without the camera's time."""
    return {mode.name: recipe.product.base_ms * SLOWER[mode.name] * 1.15 for mode in MODES}


def _recipe_of(product: Product) -> Any:
    settings = SimpleNamespace(deadline_ms=product.deadline_ms, output_margin_ms=0.0)
    return SimpleNamespace(name=product.name, settings=settings, product=product)


def _never() -> Any:
    raise NotImplementedError("the day opens its board itself")
