"""Every recipe in every power mode: what a part takes there, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from edge_inspector.bench.recipe import RecipePace
from edge_inspector.bench.watts import WattMeter
from edge_inspector.errors import EdgeInspectorError, PowerError
from edge_inspector.interfaces import PowerControl, PowerMode

Measure = Callable[[str, AbstractContextManager[object]], RecipePace]


@dataclass(frozen=True)
class Tuned:
    """One recipe in one mode; `error` says why there is no `pace`. `recipe` empty: it is the mode that failed."""

    mode: PowerMode
    recipe: str
    pace: RecipePace | None = None
    power_w: float | None = None
    error: str = ""


def in_each_mode(
    control: PowerControl, modes: Sequence[PowerMode], recipes: Sequence[str], measure: Measure
) -> Iterator[Tuned]:
    """One after the other, as they come; at the end the board is in the mode of before.

    A mode or a recipe that fails is told, and the others are measured. PowerError: the board does not say its mode, or
    cannot be brought back to it.
    """
    with as_before(control):
        for mode in modes:
            try:
                _bring(control, mode)
            except PowerError as exc:
                yield Tuned(mode, "", error=str(exc))
                continue
            yield from _in_this_mode(control, mode, recipes, measure)


@contextmanager
def as_before(control: PowerControl) -> Iterator[None]:
    now = control.state().mode
    if now is None:
        raise PowerError(
            "the board does not say its power mode, so it could not be brought back to it; nothing changed"
        )
    before = next((mode for mode in control.modes if mode.number == now.number), now)
    try:
        yield
    finally:
        _bring(control, before)


def _bring(control: PowerControl, mode: PowerMode) -> None:
    """A mode is known by its number: not everybody who tells it writes its name in the same way."""
    now = control.state().mode
    if now is None or now.number != mode.number:
        control.set_mode(mode)


def _in_this_mode(control: PowerControl, mode: PowerMode, recipes: Iterable[str], measure: Measure) -> Iterator[Tuned]:
    for recipe in recipes:
        meter = WattMeter(control)
        try:
            pace = measure(recipe, meter)
        except EdgeInspectorError as exc:
            yield Tuned(mode, recipe, error=str(exc))
            continue
        throttled = control.state().throttled
        error = f"the board was throttled: {throttled}; let it cool and measure again" if throttled else ""
        yield Tuned(mode, recipe, None if throttled else pace, meter.mean_w, error)
