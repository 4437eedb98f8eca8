"""What a policy remembers, as text; what it needs; the bounds that it is given."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_inspector.errors import ConfigError
from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.stages.thresholds import Bounds, Estimate, Seen, State, Word, advance, begin, dumps, loads, needed
from edge_inspector.stages.thresholds.records import Learnt

SHARE = st.floats(0, 1)
STATE = State(
    policy="guarded",
    by_class=(0.1 + 0.2, 1 / 3),
    estimates=(Estimate(0.5, 0.4, 0.6), None),
    leaning=(-3, 7),
    stuck=(False, True),
    capped=(1.0, 0.45),
    parts=(Learnt(4, (0.0, 0.0001), (0.4, 0.4)), Learnt(9, (0.2, 0.3), (0.4, 0.4))),
    steps=12,
    escape="part 3 was bad",
    frozen="held",
    alarm="held; part 3 was bad",
)


def test_a_state_comes_back_as_it_was() -> None:
    assert loads(dumps(STATE)) == STATE


@settings(max_examples=20, deadline=None)
@given(
    by_class=st.tuples(SHARE, SHARE),
    estimates=st.tuples(st.none() | st.builds(Estimate, SHARE, SHARE, SHARE), st.none()),
    leaning=st.tuples(st.integers(), st.integers()),
    parts=st.lists(st.builds(Learnt, st.integers(0), st.tuples(SHARE, SHARE), st.tuples(SHARE, SHARE)), max_size=4),
    alarm=st.text(),
)
def test_every_state_comes_back_exactly(
    by_class: tuple[float, float],
    estimates: tuple[Estimate | None, None],
    leaning: tuple[int, int],
    parts: list[Learnt],
    alarm: str,
) -> None:
    state = State("tail", by_class, estimates, leaning, (True, False), (1.0, 1.0), tuple(parts), 3, "", "", alarm)
    assert loads(dumps(state)) == state


def damaged(**changes: Any) -> str:
    """The text of a state with some of its entries changed, or (None) gone."""
    found = {**json.loads(dumps(STATE)), **changes}
    return json.dumps({key: value for key, value in found.items() if value is not None})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "7",
        '"text"',
        "{}",
        "[" * 100_000,
        dumps(STATE)[:-1],
        damaged(schema="edge-inspector/thresholds/2"),
        damaged(schema=None),
        damaged(policy="brave"),
        damaged(policy=["guarded"]),
        damaged(by_class=None),
        damaged(by_class=[0.5]),
        damaged(by_class=[0.5, 1.5]),
        damaged(by_class=[0.5, "0.5"]),
        damaged(by_class=[0.5, True]),
        damaged(by_class=0.5),
        damaged(leaning=[1, 2, 3]),
        damaged(leaning=[1, 2.5]),
        damaged(stuck=[0, 1]),
        damaged(capped=[1.0, -0.1]),
        damaged(estimates=[None, {"wanted": 0.5, "low": 0.4}]),
        damaged(estimates=[None, 0.5]),
        damaged(parts={}),
        damaged(parts=[{"seq": 1, "peaks": [0.1], "thresholds": [0.4, 0.4]}]),
        damaged(parts=[{"seq": "1", "peaks": [0.1, 0.1], "thresholds": [0.4, 0.4]}]),
        damaged(steps=1.0),
        damaged(alarm=["a"]),
        damaged(more=1),
        dumps(STATE).replace("0.45", "NaN"),
        dumps(STATE).replace("0.45", "Infinity"),
    ],
)
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a state of thresholds .*; it must be learnt anew"):
        loads(text)


def test_tail_says_how_to_get_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ConfigError, match=r"pip install 'edge-inspector\[thresholds\]'"):
        needed("tail")


def test_guarded_needs_no_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(name for name in sys.modules if name.split(".")[0] == "scipy"), "scipy", "scipy.optimize"]:
        monkeypatch.setitem(sys.modules, name, None)
    needed("guarded")
    bounds = Bounds(("crack",), (0.4,), (0.2,), (0.6,), (False,))
    state = begin("guarded", bounds)
    rules = AdaptiveSettings.model_validate({"least": 20})
    for seq in range(25):
        state = advance(rules, bounds, state, Seen(seq, (0.1 + 0.01 * (seq % 5),), state.by_class, Word.OK))
    assert state.by_class[0] < 0.4


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"floor": (0.5, 0.1)}, r"Bounds of 'crack' are 0\.5 to 0\.4, expected 0 <= floor <= ceiling <= 1"),
        ({"ceiling": (0.4, 1.2)}, r"Bounds of 'dust' are 0\.1 to 1\.2"),
        ({"floor": (float("nan"), 0.1)}, r"Bounds of 'crack' are nan to 0\.4"),
        ({"base": (0.3, -0.3)}, r"Bounds\.base of 'dust' is -0\.3, expected 0 to 1"),
        ({"kept": (False,)}, r"Bounds\.kept has 1 entries, expected 2: one a class"),
        ({"floor": ()}, r"Bounds\.floor has 0 entries, expected 2"),
    ],
)
def test_bounds_that_are_none_are_refused(changes: dict[str, Any], text: str) -> None:
    sound: dict[str, Any] = {"base": (0.3, 0.3), "floor": (0.1, 0.1), "ceiling": (0.4, 0.4), "kept": (False, False)}
    with pytest.raises(ValueError, match=text):
        Bounds(("crack", "dust"), **{**sound, **changes})


def test_without_golden_parts_thresholds_may_only_fall() -> None:
    bounds = Bounds.tighten_only(("crack", "good"), (0.3, 0.5), {1})
    assert bounds == Bounds(("crack", "good"), (0.3, 0.5), (0.0, 0.0), (0.3, 0.5), (False, True))
    assert bounds.clamp((0.9, 0.9)) == (0.3, 0.5)
    assert bounds.clamp((0.1, 0.1)) == (0.1, 0.5)


def test_before_a_release_no_ceiling_is_above_the_recipes_threshold() -> None:
    bounds = Bounds(("a", "b", "c"), (0.3, 0.3, 0.3), (0.1, 0.35, 0.1), (0.5, 0.4, 0.2), (False,) * 3)
    unreleased = bounds.unreleased()
    assert unreleased.ceiling == (0.3, 0.3, 0.2)
    assert unreleased.floor == (0.1, 0.3, 0.1)
