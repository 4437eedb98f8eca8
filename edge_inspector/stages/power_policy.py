"""Which power mode the board should be in: by a name, by the time, or by how long the parts take."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge_inspector.interfaces import PowerMode
from edge_inspector.settings.power import (
    WEEK_MINUTES,
    FixedPolicy,
    PowerPolicy,
    SchedulePolicy,
    TaktPolicy,
)


@dataclass(frozen=True)
class Board:
    """The board as it is; `modes` from the least to the most power, `now` None = it does not say.

    `barred` are the numbers of modes that it has refused lately.
    """

    modes: Sequence[PowerMode]
    now: PowerMode | None
    throttled: bool = False
    barred: Collection[int] = ()

    def rank(self, mode: PowerMode) -> int:
        """More power, higher rank; a mode that stands in no table is below all."""
        return next((rank for rank, one in enumerate(self.modes) if one.number == mode.number), -1)


@dataclass(frozen=True)
class Pace:
    """How long parts of the active recipe take, in ms, and may take: `budget_ms` from the trigger to the verdict.

    `p99_ms` are the measured ones by the name of the mode, `live_p99_ms` that of the parts in the mode of now, None =
    they were too few. `late`: a part missed its deadline in the mode of now, which the board kept. `too_slow` are the
    numbers of modes that have missed a deadline not long ago. `fresh`: the recipe was only just selected.
    """

    budget_ms: float
    p99_ms: Mapping[str, float] = field(default_factory=dict)
    live_p99_ms: float | None = None
    calm_s: float = 0.0
    late: bool = False
    too_slow: Collection[int] = ()
    fresh: bool = False


@dataclass(frozen=True)
class Choice:
    """The mode to change to, None = stay. `at_once`: now is better than when the line pauses."""

    mode: PowerMode | None = None
    why: str = ""
    at_once: bool = False
    warning: str = ""
    """What a person should know, also when nothing changes."""
    blames: bool = False
    """The mode of now is left because parts take longer in it than was measured."""


def choose(policy: PowerPolicy, board: Board, pace: Pace, minute: int | None) -> Choice:
    """`minute` is that of the week, Monday 00:00 = 0, local time; None = nobody knows what time it is."""
    if not board.modes:
        return Choice(warning="the board has no power modes that could be changed; see: edge-inspector power show")
    if isinstance(policy, TaktPolicy):
        return by_takt(policy, board, pace)
    if isinstance(policy, SchedulePolicy):
        return by_schedule(policy, board, minute, fresh=pace.fresh)
    return by_name(policy, board, fresh=pace.fresh)


def by_name(policy: FixedPolicy, board: Board, *, fresh: bool) -> Choice:
    """Always the same mode."""
    return _named(policy.mode, board, f"power.policy has mode {policy.mode!r} fixed", fresh)


def by_schedule(policy: SchedulePolicy, board: Board, minute: int | None, *, fresh: bool) -> Choice:
    """That of the shift. More power is needed when the shift begins, less of it can wait."""
    if minute is None:
        names = {policy.otherwise, *(shift.mode for shift in policy.shifts)}
        known = [mode for mode in board.modes if mode.name in names]
        if not known:
            return _unknown(sorted(names), board)
        text = "the clock is not set, so nobody knows which shift it is"
        return _change(known[-1], board, text, fresh, warning=f"power follows no shift: {text}")
    name, why = policy.otherwise, "no shift"
    for shift in policy.shifts:
        if any((minute - begin) % WEEK_MINUTES < end - begin for begin, end in shift.spans()):
            name, why = shift.mode, f"shift {shift.begin}-{shift.end}"
    choice = _named(name, board, why, fresh)
    up = choice.mode is not None and board.now is not None and board.rank(choice.mode) > board.rank(board.now)
    return replace(choice, at_once=choice.at_once or up)


def by_takt(policy: TaktPolicy, board: Board, pace: Pace) -> Choice:
    """The least power that keeps the deadline with its margin: up when a part is late, down after a long calm.

    What a part takes in another mode is what was measured there, and what parts now take longer than measured: a
    camera's exposure and transfer do not depend on the mode.
    """
    strange = sorted(set(policy.modes) - {mode.name for mode in board.modes})
    if strange:
        return _unknown(strange, board)
    usable = [one for one in board.modes if policy.modes == () or one.name in policy.modes]
    usable = [one for one in usable if one.number not in board.barred]
    if not usable or board.now is None:
        return Choice()
    measured = [one for one in usable if one.name in pace.p99_ms]
    if not measured and not board.throttled:
        text = "no power mode was measured for this recipe: edge-inspector power tune"
        return _change(usable[-1], board, text, pace.fresh, warning=text)
    expected = _expected_ms(measured, board, pace)
    limit_ms = (1.0 - policy.margin) * pace.budget_ms
    keeping = [
        one for one in measured if expected[one.number] <= limit_ms and not _too_slow(one, expected, board, pace)
    ]
    if board.throttled:
        return _cooler(keeping, board, pace)
    if not keeping:
        fastest = min(measured, key=lambda one: expected[one.number])
        text = f"a part was late not long ago, and no power mode is faster than {fastest.name}"
        if expected[fastest.number] > limit_ms:
            text = (
                f"no power mode keeps {limit_ms:.0f} ms, the deadline less its margin: the fastest, {fastest.name}, "
                f"needs {expected[fastest.number]:.0f} ms"
            )
        return _change(fastest, board, text, pace.fresh or pace.late, warning=text)
    if board.now not in keeping:
        least = keeping[0]
        text = f"a part was late in {board.now.name}" if pace.late else f"{board.now.name} does not keep the deadline"
        if board.now not in measured:
            text = f"{board.now.name} is not one of the modes to be used, or was not measured"
        choice = _change(least, board, f"{text}; {_needs(least, expected, limit_ms)}", pace.fresh or pace.late)
        return replace(choice, blames=board.now in measured and not pace.fresh)
    return _lower(policy, keeping, board, pace, {one.number: _needs(one, expected, limit_ms) for one in keeping})


def _lower(
    policy: TaktPolicy, keeping: Sequence[PowerMode], board: Board, pace: Pace, needs: Mapping[int, str]
) -> Choice:
    """At a new recipe down to what it needs; otherwise one step, after a long calm."""
    below = [one for one in keeping if board.now is not None and board.rank(one) < board.rank(board.now)]
    if not below or not (pace.fresh or pace.calm_s >= policy.calm_s):
        return Choice()
    mode = below[0] if pace.fresh else below[-1]
    why = "" if pace.fresh else f"no part was late for {pace.calm_s:.0f} s; "
    return Choice(mode, why + needs[mode.number], at_once=pace.fresh)


def _cooler(keeping: Sequence[PowerMode], board: Board, pace: Pace) -> Choice:
    """A throttled board gets slower as it likes: a lower mode of known speed is better, if it keeps the deadline."""
    below = [one for one in keeping if board.now is not None and board.rank(one) < board.rank(board.now)]
    if not below:
        return Choice()
    return Choice(
        below[-1], f"the board is throttled, and {below[-1].name} keeps the deadline", pace.fresh or pace.late
    )


def _too_slow(mode: PowerMode, expected: Mapping[int, float], board: Board, pace: Pace) -> bool:
    """Whether it has missed a deadline, or is no faster than one that has; than one without figures: no stronger."""
    ranks = {one.number: board.rank(one) for one in board.modes}
    return any(
        expected[mode.number] >= expected[slow] if slow in expected else board.rank(mode) <= ranks.get(slow, -1)
        for slow in pace.too_slow
    )


def _expected_ms(measured: Sequence[PowerMode], board: Board, pace: Pace) -> dict[int, float]:
    """The p99 of a part in each mode, by its number."""
    known = None if board.now is None else pace.p99_ms.get(board.now.name)
    more_ms = 0.0
    if known is not None and pace.live_p99_ms is not None and not board.throttled:
        more_ms = max(0.0, pace.live_p99_ms - known)
    return {one.number: pace.p99_ms[one.name] + more_ms for one in measured}


def _needs(mode: PowerMode, expected: Mapping[int, float], limit_ms: float) -> str:
    return f"{mode.name} needs {expected[mode.number]:.0f} of {limit_ms:.0f} ms"


def _named(name: str, board: Board, why: str, fresh: bool) -> Choice:
    mode = next((one for one in board.modes if one.name == name), None)
    return _unknown([name], board) if mode is None else _change(mode, board, why, fresh)


def _change(mode: PowerMode, board: Board, why: str, at_once: bool, warning: str = "") -> Choice:
    """Nothing to do when the board is there, has refused lately, or does not say where it is."""
    if board.now is None or mode.number == board.now.number or mode.number in board.barred:
        return Choice(warning=warning)
    return Choice(mode, why, at_once, warning)


def _unknown(names: Sequence[str], board: Board) -> Choice:
    known = ", ".join(one.name for one in board.modes)
    return Choice(warning=f"the board has no power mode {', '.join(map(repr, names))}, expected one of {known}")
