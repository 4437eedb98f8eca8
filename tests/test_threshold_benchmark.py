"""The benchmark of thresholds counts what it says that it counts; its figures are in docs/reference/thresholds.md."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_inspector.settings.adaptive import AdaptiveSettings
from edge_inspector.stages.thresholds import Bounds

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DATA = Path(__file__).parents[2] / "shared" / "data"
BOUNDS = Bounds.tighten_only(("scratch", "dent"), (0.5, 0.6))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The benchmark's modules, which lie beside one another as scripts do."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("streams", "drift", "scores", "runs", "figures")
    return SimpleNamespace(**{name: importlib.import_module(f"threshold_{name}") for name in names})


def stream(bench: SimpleNamespace, *parts: tuple[bool, float, float]) -> Any:
    """(bad, peak of scratch, peak of dent) of each part."""
    peaks = np.array([[scratch, dent] for _, scratch, dent in parts])
    return bench.scores.Scored(peaks, np.array([bad for bad, _, _ in parts]), np.zeros(len(parts)))


@pytest.mark.parametrize(
    ("picture", "role"),
    [("00041200", "tuning"), ("00041201", "claim"), ("13000198", "claim"), ("scratches_1", "ceilings")],
)
def test_a_picture_keeps_its_role(bench: SimpleNamespace, picture: str, role: str) -> None:
    assert bench.streams.role_of(picture) == role


def test_the_roles_get_a_fifth_and_twice_two_fifths(bench: SimpleNamespace) -> None:
    roles = [bench.streams.role_of(f"{number:08d}") for number in range(5000)]
    shares = [roles.count(role) / len(roles) for role in ("ceilings", "tuning", "claim")]
    assert shares == pytest.approx([0.2, 0.4, 0.4], abs=0.03)


def test_no_seed_of_the_claim_is_one_of_tuning(bench: SimpleNamespace) -> None:
    seeds = [seed for role in bench.streams.SEEDS.values() for seed in role]
    assert len(seeds) == len(set(seeds))
    assert len(bench.streams.SEEDS["claim"]) >= 5


def test_a_stream_is_the_same_twice_and_another_with_another_seed(bench: SimpleNamespace) -> None:
    shots = bench.streams.shots
    assert shots("light", 1, 50, 50) == shots("light", 1, 50, 50)
    assert shots("light", 1, 50, 50) != shots("light", 2, 50, 50)


def test_the_burst_is_a_hundred_bad_parts_in_a_row(bench: SimpleNamespace) -> None:
    burst = bench.streams.shots("burst", 1, 50, 50)
    assert len(burst) == bench.streams.PARTS
    assert all(shot.bad for shot in burst[800:900])
    assert not all(shot.bad for shot in burst[700:800])


@pytest.mark.parametrize("kind", ["light", "dirt", "defocus", "ramp", "burst"])
def test_nothing_drifts_before_its_time_and_all_of_it_later(bench: SimpleNamespace, kind: str) -> None:
    levels = [shot.level for shot in bench.streams.shots(kind, 1, 50, 50)]
    since, gone = bench.streams.SINCE[kind], bench.streams.GONE[kind]
    assert max(levels[: since + 1]) == 0.0
    assert max(levels) == 1.0
    assert levels[gone - 1] > 0.9
    assert set(levels[gone + 50 :]) <= {0.0}


def test_light_falls_off_and_specks_are_darker_than_the_glass(bench: SimpleNamespace) -> None:
    strength = bench.drift.Strength(
        gain=0.5,
        shade=0.2,
        noise=0.0,
        quiet_noise=0.0,
        specks=3,
        dust=0.0,
        radius_px=(3.0, 3.0),
        depth=(0.4, 0.4),
        blur_px=2.0,
        exposure=2.0,
        ramp=0.5,
    )
    white = np.full((64, 64), 200, np.uint8)
    shot = bench.streams.Shot(bad=False, source=0, turn=0, level=1.0, seed=1)

    def taken(kind: str) -> np.ndarray:
        return bench.drift.Optics(kind, 1, strength).taken(white, shot)  # type: ignore[no-any-return]

    assert (taken("quiet") == 200).all()
    assert (int(taken("light")[0, 0]), int(taken("light")[0, -1])) == (100, 80)
    assert taken("dirt").min() == 120
    assert np.median(taken("dirt")) == 200
    assert (taken("defocus") == 255).all()


def test_fixed_is_counted_part_by_part(bench: SimpleNamespace) -> None:
    seen = stream(bench, (False, 0.5, 0.0), (False, 0.4999, 0.5999), (True, 0.2, 0.6), (True, 0.4, 0.4))
    done = bench.runs.run(AdaptiveSettings.model_validate({}), "fixed", BOUNDS, seen, 0.0, 1)
    assert done.rejected.tolist() == [True, False, True, False]
    assert (done.thresholds == [0.5, 0.6]).all()


def test_a_policy_hears_of_rejects_that_somebody_has_looked_at(bench: SimpleNamespace) -> None:
    settings = AdaptiveSettings.model_validate({"least": 20})
    rng = np.random.default_rng(1)
    quiet = [(False, float(rng.uniform(0.0, 0.2)), float(rng.uniform(0.0, 0.2))) for _ in range(300)]
    loud = [(False, 0.55, 0.1) if n % 4 == 0 else part for n, part in enumerate(quiet)]
    bounds = Bounds(("scratch", "dent"), (0.5, 0.6), (0.0, 0.0), (0.9, 0.9), (False, False))
    told, untold = (
        bench.runs.run(settings, "guarded", bounds, stream(bench, *loud), share, 1).thresholds[-1, 0]
        for share in (1.0, 0.0)
    )
    assert told > untold


def test_thresholds_are_held_from_the_level_at_which_somebody_is_warned(bench: SimpleNamespace) -> None:
    settings = AdaptiveSettings.model_validate({"least": 20})
    rng = np.random.default_rng(1)
    peaks = rng.uniform(0.2, 0.4, (300, 2))
    seen = bench.scores.Scored(peaks, np.zeros(300, bool), np.linspace(0.0, 1.0, 300))
    bounds = Bounds(("scratch", "dent"), (0.5, 0.6), (0.0, 0.0), (0.9, 0.9), (False, False))
    held = bench.runs.run(settings, "guarded", bounds, seen, 0.0, 1, held_from=0.5).thresholds
    free = bench.runs.run(settings, "guarded", bounds, seen, 0.0, 1).thresholds
    assert (held[:150] == free[:150]).all()
    assert (held[151:] == held[150]).all()
    assert (free[200:] != free[150]).any()


def test_golden_parts_are_missed_when_all_their_scores_were_below_at_some_moment(bench: SimpleNamespace) -> None:
    thresholds = np.array([[0.5, 0.6], [0.7, 0.6], [0.5, 0.8]])
    done = bench.runs.Run(thresholds, np.zeros(3, bool), 0)
    golden = np.array([[0.6, 0.0], [0.0, 0.7], [0.6, 0.7], [0.75, 0.0], [0.4, 0.5]])
    assert bench.runs.missed_golden(done, golden, (0.5, 0.6)) == 2


@pytest.mark.parametrize(
    ("rejected", "expected"),
    [
        (range(0), 0),
        (range(300, 340), 234),  # the 100 good parts that end with 434 hold 5 of them
        (range(300, 1000), None),
        (range(300, 305), 0),
    ],
    ids=["never loud", "forty in a row", "until the end", "no more than are allowed"],
)
def test_time_to_recover_ends_with_the_last_loud_hundred(
    bench: SimpleNamespace, rejected: range, expected: int | None
) -> None:
    wrong = np.zeros(1000, bool)
    wrong[list(rejected)] = True
    done = bench.runs.Run(np.zeros((1000, 1)), wrong, 0)
    assert bench.runs.recovered(done, np.zeros(1000, bool), 200, 1000) == expected


def test_the_reduction_is_that_of_all_streams_together(bench: SimpleNamespace) -> None:
    def row(kind: str, fixed: tuple[int, ...], own: tuple[int, ...]) -> Any:
        return bench.figures.Row(
            product="boards",
            kind=kind,
            seed=1,
            policy="guarded",
            looked_at=0.0,
            good=100,
            bad=0,
            false_rejects=sum(own),
            escapes=0,
            additional=0,
            caught_more=0,
            missed_parts=0,
            missed_defects=0,
            above_ceiling=False,
            recovered=None,
            back=None,
            alarms=0,
            blocks=(fixed, own),
        )

    assert bench.figures.reduction([row("light", (10, 10), (5, 5))]) == (0.5, 0.5, 0.5)
    share, low, high = bench.figures.reduction([row("light", (10, 30), (10, 0)), row("dirt", (20, 20), (20, 20))])
    assert share == 0.375
    assert (low, high) == pytest.approx((0.0, 0.6), abs=0.05)


def test_false_rejects_are_counted_in_blocks_of_fifty_parts(bench: SimpleNamespace) -> None:
    wrong = np.zeros(120, bool)
    wrong[[0, 49, 50, 119]] = True
    assert bench.figures.in_blocks(wrong) == (2, 1, 1)


@pytest.mark.realdata
@pytest.mark.skipif(not (DATA / "steel").is_dir(), reason="no ../shared/data/steel on this machine")
def test_the_benchmark_runs_on_a_short_stream_of_steel(tmp_path: Path) -> None:
    rows_file = tmp_path / "rows.json"
    command = [sys.executable, str(BENCHMARKS / "thresholds.py"), "--quick", "--data", str(DATA)]
    command += ["--cache", str(tmp_path), "--json", str(rows_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["policy"]: row for row in json.loads(rows_file.read_text())["rows"]}
    assert set(rows) == {"fixed", "percentile", "guarded", "tail"}
    assert rows["fixed"]["false_rejects"] > 0
    assert rows["fixed"]["additional"] == 0
    assert not rows["guarded"]["above_ceiling"]
    assert not rows["tail"]["above_ceiling"]
    assert "light     guarded" in done.stdout
