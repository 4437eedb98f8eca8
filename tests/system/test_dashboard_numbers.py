"""Each query of the dashboards, asked of a real Prometheus that has watched a real run, against the ledger."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_run import Watched, watched

from edge_inspector.datatypes import Evaluation, Reason
from edge_inspector.health.counted import LATENCY_S

pytestmark = pytest.mark.system
FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "dashboards" / "grafana" / "dashboards"
PARTS = 40
MACROS = {"$line": "line-1", "$station": "station-1", "$__range": "5m", "$__rate_interval": "1m"}


class Run:
    """What the dashboards showed at the end of the run, and what the ledger says."""

    def __init__(self, seen: Watched, at: float) -> None:
        self.seen, self.at = seen, at
        self._book = sqlite3.connect(seen.ledger.as_uri() + "?mode=ro", uri=True)

    def shown(self, board: str, title: str, number: int = 0) -> dict[tuple[str, ...], float]:
        """Values of a panel's n-th query, by the values of their labels without line and station."""
        (panel,) = [p for p in panels(board) if p["title"] == title]
        series = self.seen.ask(filled(panel["targets"][number]["expr"]), self.at)
        return {
            tuple(v for k, v in sorted(one["metric"].items()) if k not in PLACE): float(one["value"][1])
            for one in series
        }

    def one(self, board: str, title: str, number: int = 0) -> float:
        (value,) = self.shown(board, title, number).values()
        return value

    def booked(self, query: str) -> list[tuple[Any, ...]]:
        return self._book.execute(query).fetchall()

    def close(self) -> None:
        self._book.close()


PLACE = ("line", "station", "instance", "job", "__name__")


def panels(board: str) -> list[dict[str, Any]]:
    every: list[dict[str, Any]] = json.loads((FOLDER / f"{board}.json").read_text())["panels"]
    return [panel for panel in every if panel["type"] != "row"]


def filled(expression: str) -> str:
    for macro, value in MACROS.items():
        expression = expression.replace(macro, value)
    assert "$" not in expression
    return expression


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with watched(tmp_path_factory.mktemp("run")) as seen:
        seen.produce(PARTS, "--fault", "double-trigger=0.1")
        made = Run(seen, seen.wait_for_two_scrapes())
        yield made
        made.close()


def quantile(share: float, cycles_s: list[float]) -> float:
    """As Prometheus documents histogram_quantile: linear within the bucket that the rank falls into."""
    rank, below, lower = share * len(cycles_s), 0, 0.0
    for upper in (*LATENCY_S, math.inf):
        inside = sum(lower < cycle <= upper for cycle in cycles_s)
        if below + inside >= rank:
            return lower + (upper - lower) * (rank - below) / inside if upper < math.inf else lower
        below, lower = below + inside, upper
    raise AssertionError


def test_parts_yield_and_reasons_are_those_of_the_ledger(run: Run) -> None:
    booked = run.booked("SELECT evaluation, reason FROM results")
    good = sum(evaluation == Evaluation.OK for evaluation, _ in booked)
    reasons = Counter(Reason(reason).name.lower() for evaluation, reason in booked if evaluation != Evaluation.OK)
    parts = len(booked)
    assert 0 < good < parts < PARTS
    for board in ("station", "line"):
        assert run.one(board, "Parts") == pytest.approx(parts)
    assert run.one("station", "Yield") == pytest.approx(good / parts)
    assert run.one("station", "Not judged") == 0
    assert run.shown("station", "Why parts were rejected") == pytest.approx({(name,): n for name, n in reasons.items()})
    assert run.shown("line", "Rejects by station and reason") == pytest.approx(
        {(name,): n for name, n in reasons.items()}
    )


def test_defects_by_class_are_those_of_the_ledger(run: Run) -> None:
    booked = {(name,): count for name, count in run.booked("SELECT class_name, count(*) FROM defects GROUP BY 1")}
    assert booked
    for board in ("station", "line"):
        assert run.shown(board, "Defects by class") == pytest.approx(booked)


def test_refused_triggers_are_those_of_the_ledger(run: Run) -> None:
    ((refused,),) = run.booked("SELECT sum(count) FROM refusals")
    assert refused > 0
    assert run.one("station", "Refused") == pytest.approx(refused)
    assert run.one("line", "Stations now", 3) == pytest.approx(refused)


def test_percentiles_are_those_of_the_ledgers_times(run: Run) -> None:
    cycles_s = [cycle_ms / 1e3 for (cycle_ms,) in run.booked("SELECT cycle_ms FROM results")]
    assert run.one("station", "p95 cycle") == pytest.approx(quantile(0.95, cycles_s), rel=1e-6)


def test_every_stage_of_every_part_is_counted(run: Run) -> None:
    booked: Counter[str] = Counter()
    for (stages,) in run.booked("SELECT stage_ns FROM results"):
        booked.update(json.loads(stages).keys())
    counted = run.seen.ask("edge_inspector_stage_seconds_count", run.at)
    assert {one["metric"]["stage"]: float(one["value"][1]) for one in counted} == booked


def test_what_was_accepted_told_acknowledged_and_published_balances(run: Run) -> None:
    ((accepted, results, told, acknowledged),) = run.booked(
        "SELECT (SELECT count(*) FROM triggers), count(*), sum(told), count(acknowledged_utc) FROM results"
    )
    assert accepted == results == told == acknowledged > 0
    for name in ("triggers_accepted_total", "results_total", "told_seconds_count", "results_acknowledged_total"):
        assert run.seen.number(f"sum(edge_inspector_{name})", run.at) == accepted, name
    assert run.one("station", "Messages that wait") == 0
    ((waiting,),) = run.booked("SELECT count(*) FROM outbox")
    assert waiting == 0
    ((events,),) = run.booked("SELECT count(*) FROM events")
    assert run.seen.number("sum(edge_inspector_events_total) or vector(0)", run.at) == events
    ((defective,),) = run.booked("SELECT count(DISTINCT seq) FROM defects")
    delivered = run.seen.number("edge_inspector_outbox_delivered_total", run.at)
    assert delivered == 2 * accepted + defective + events  # result, result/last, defects; event


def test_every_query_is_answered_and_only_what_this_station_lacks_is_empty(run: Run) -> None:
    """No picture is kept here, the machine has no GPU, nothing waits, no recipe was changed, no alert is raised."""
    lacking = (
        "edge_inspector_images_",
        "edge_inspector_gpu_load",
        "edge_inspector_temperature",
        "edge_inspector_power",
        "engine_memory",
        "changeover_seconds",
        "ALERTS",
    )
    asked = [target["expr"] for board in ("station", "line") for panel in panels(board) for target in panel["targets"]]
    empty = [query for query in asked if not run.seen.ask(filled(query), run.at)]
    assert [query for query in empty if not any(word in query for word in lacking)] == []


def test_what_the_state_panels_show_is_the_station(run: Run) -> None:
    assert run.one("station", "State") == 2
    assert run.one("line", "Stations READY") == run.one("line", "Stations known") == 1
    assert run.one("station", "Line stop") == 0
    (recipe,) = run.seen.ask(filled("edge_inspector_active_recipe_info"), run.at)
    assert (recipe["metric"]["recipe"], recipe["metric"]["recipe_no"]) == ("spots", "7")
    (info,) = run.seen.ask("edge_inspector_station_info", run.at)
    assert info["metric"]["name"] == "bench"


def test_a_killed_station_is_seen_as_down_and_its_web_service_stays(run: Run) -> None:
    run.seen.station.kill()
    end = time.monotonic() + 20
    while run.seen.number("edge_inspector_up") != 0:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert run.seen.number('up{job="edge-inspector"}') == 1
    assert run.seen.ask("edge_inspector_ready") == []
    (state,) = [panel for panel in panels("station") if panel["title"] == "State"]
    assert run.seen.number(filled(state["targets"][0]["expr"])) == 0
