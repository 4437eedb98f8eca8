"""Shares of all parts from the parts that were kept: worked by hand, and against populations that are known."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.replay.rates import Estimate, Stratum, estimate
from edge_inspector.replay.strata import Strata
from edge_inspector.store.kept_parts import Counted, Kind


@pytest.mark.parametrize(
    ("strata", "hits", "others", "share", "low", "high"),
    [
        pytest.param([Stratum("reject", 1, 10, 10)], [4], 0, 0.4, 0.4, 0.4, id="all were run: no error"),
        pytest.param([Stratum("reject", 1, 10, 10)], [4], 10, 0.2, 0.2, 0.2, id="half of them cannot"),
        # from SciPy's Wilson interval of 3 in 50
        pytest.param([Stratum("sample", 9, 1e12, 50)], [3], 0, 0.06, 0.020615, 0.162171, id="endless parts"),
        # from SciPy's brentq: where (0.06 - s)² is z² s (1 - s) / 50 times 400 / 449
        pytest.param([Stratum("sample", 9, 450, 50)], [3], 0, 0.06, 0.021798, 0.154575, id="a finite number of parts"),
        pytest.param([Stratum("reject", 1, 50, 50), Stratum("sample", 9, 450, 50)], [50, 0], 0, 0.1, 0.1, 0.157654,
                     id="sure rejects, and none of a sample"),
        pytest.param([Stratum("unkept", 1, 10, 0)], [0], 0, None, 0.0, 1.0, id="nothing was kept"),
        pytest.param([Stratum("reject", 1, 10, 10), Stratum("unkept", 1, 30, 0)], [10, 0], 0, None, 0.25, 1.0,
                     id="nothing is known of three quarters"),
        pytest.param([], [], 0, None, 0.0, 1.0, id="no part at all"),
    ],
)  # fmt: skip
def test_shares_and_intervals(
    strata: list[Stratum], hits: list[int], others: float, share: float | None, low: float, high: float
) -> None:
    found = estimate(strata, hits, others)
    assert found.share == (None if share is None else pytest.approx(share, abs=1e-9))
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-6)


def test_a_sample_that_says_nothing_is_wide_and_never_sure() -> None:
    """One part of a thousand was run, and passed."""
    found = estimate([Stratum("sample", 1000, 1000, 1)], [0])
    assert found.low == 0
    assert found.high > 0.79


def test_more_hits_than_parts_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="5 hits among 4"):
        estimate([Stratum("reject", 1, 9, 4)], [5])


kinds: st.SearchStrategy[Kind] = st.sampled_from(["reject", "near", "sample", "unkept"])
whole_strata = st.lists(
    st.integers(1, 200).flatmap(
        lambda parts: st.integers(0, parts).flatmap(
            lambda sample: st.tuples(
                st.builds(Stratum, kinds, st.just(1), st.just(parts), st.just(sample)), st.integers(0, sample)
            )
        )
    ),
    min_size=1,
    max_size=5,
)


@hypothesis.settings(max_examples=60)
@given(whole_strata)
def test_an_interval_holds_its_share_and_never_what_is_known_to_be_wrong(drawn: list[tuple[Stratum, int]]) -> None:
    strata, hits = [one for one, _ in drawn], [hit for _, hit in drawn]
    total = sum(one.parts for one in strata)
    found = estimate(strata, hits)
    certain = sum(hits) / total
    possible = 1 - sum(one.sample - hit for one, hit in drawn) / total
    assert certain - 1e-9 <= found.low <= found.high <= possible + 1e-9
    if found.share is not None:
        assert found.low - 1e-9 <= found.share <= found.high + 1e-9


@pytest.mark.parametrize(("share", "of_rejects"), [(0.01, 0.3), (0.05, 0.9), (0.3, 0.5)])
def test_intervals_hold_the_truth_in_95_of_100_replays(share: float, of_rejects: float) -> None:
    """2000 weeks of 5000 parts: 4 % rejects, of which all are kept but some are lost, and 1 of 20 OK parts."""
    rng = np.random.default_rng(7)
    parts, rejects, every_nth, weeks, held = 5000, 200, 20, 2000, 0
    ok = parts - rejects
    for _ in range(weeks):
        flipped = rng.random(ok) < share
        flipped_rejects = rng.random(rejects) < of_rejects
        sample = flipped[rng.integers(every_nth) :: every_nth]
        kept = flipped_rejects[:150]
        strata = [Stratum("reject", 1, rejects, len(kept)), Stratum("sample", every_nth, ok, len(sample))]
        found = estimate(strata, [int(kept.sum()), int(sample.sum())])
        truth = (flipped.sum() + flipped_rejects.sum()) / parts
        held += found.low <= truth <= found.high
    assert 0.93 <= held / weeks <= 0.985


@pytest.mark.parametrize(
    ("counted", "expected", "promised"),
    [
        pytest.param(
            [Counted("reject", 1, 7), Counted("sample", 10, 9), Counted("unkept", 1, 81)],
            [("reject", 7), ("sample", 90)], 1.0, id="as it was meant"),
        pytest.param(
            [Counted("sample", 10, 3), Counted("sample", 100, 7), Counted("unkept", 1, 720)],
            [("sample", 30), ("sample", 700)], 1.0, id="every_nth was changed in between"),
        pytest.param(
            [Counted("near", 1, 5), Counted("sample", 10, 10), Counted("unkept", 1, 190)],
            [("near", 5), ("sample", 200)], 2.0, id="half of the sample was skipped"),
        pytest.param([Counted("reject", 1, 4), Counted("unkept", 1, 40)], [("reject", 4), ("unkept", 40)], None,
                     id="OK parts are not kept at all"),
    ],
)  # fmt: skip
def test_parts_that_were_not_kept_are_shared_out(
    counted: list[Counted], expected: list[tuple[str, float]], promised: float | None
) -> None:
    strata = Strata(counted)
    assert [one.kind for one in strata.sampled([])] == [kind for kind, _ in expected]
    assert [one.parts for one in strata.sampled([])] == pytest.approx([parts for _, parts in expected])
    assert strata.total == pytest.approx(sum(one.parts for one in counted))
    assert strata.promised == (None if promised is None else pytest.approx(promised))
    assert strata.rejected == sum(one.parts for one in counted if one.kind == "reject")


def test_nothing_run_is_nothing_known() -> None:
    assert Strata([Counted("reject", 1, 4)]).share([], lambda part: True) == Estimate(None, 0.0, 1.0, 0, 0, 4)
