"""Somebody who reads the metrics all the time makes no part later."""

from __future__ import annotations

import json
import sqlite3
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_run import Served, served

pytestmark = [pytest.mark.system, pytest.mark.heavy, pytest.mark.timeout(300)]
BLOCKS, PARTS = 8, 150
PAUSE_S = 0.5
"""The station keeps a text for half a second; a Prometheus asks each 15 s."""


@contextmanager
def scraped(seen: Served, counts: list[int]) -> Iterator[None]:
    """Read /metrics twice a second until the end of the block."""
    done = threading.Event()

    def scrape() -> None:
        while not done.wait(PAUSE_S):
            counts.append(len(seen.metrics()))

    reader = threading.Thread(target=scrape)
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join(30)


def last_seq(seen: Served) -> int:
    with sqlite3.connect(seen.ledger.as_uri() + "?mode=ro", uri=True) as book:
        return int(book.execute("SELECT coalesce(max(seq), 0) FROM results").fetchone()[0])


def p95_ms(seen: Served, after: int) -> float:
    """From the trigger to the end of telling the PLC, of the parts after `after`."""
    with sqlite3.connect(seen.ledger.as_uri() + "?mode=ro", uri=True) as book:
        rows = book.execute("SELECT cycle_ms, stage_ns FROM results WHERE seq > ?", (after,)).fetchall()
    assert len(rows) == PARTS
    return statistics.quantiles([cycle + json.loads(stages)["tell"] / 1e6 for cycle, stages in rows], n=20)[-1]


def test_a_scraper_that_never_rests_delays_no_verdict(tmp_path: Path) -> None:
    """Blocks with and without it by turns; the median ratio of their 95th percentiles, as for outages of a broker."""
    with served(tmp_path) as seen:
        seen.produce(PARTS)  # warm
        with_it: list[float] = []
        without: list[float] = []
        sizes: list[int] = []
        for _ in range(BLOCKS):
            before = last_seq(seen)
            seen.produce(PARTS)
            without.append(p95_ms(seen, before))
            before = last_seq(seen)
            with scraped(seen, sizes):
                seen.produce(PARTS)
            with_it.append(p95_ms(seen, before))
    ratio = statistics.median(a / b for a, b in zip(with_it, without, strict=True))
    sys.stdout.write(
        f"\n{len(sizes)} scrapes of {sizes[-1]} bytes; p95 {statistics.median(with_it):.2f} ms with, "
        f"{statistics.median(without):.2f} ms without; median ratio {ratio:.2f} of {BLOCKS} pairs\n"
    )
    assert len(sizes) > BLOCKS * 2
    assert ratio <= 1.5
