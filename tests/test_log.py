"""The log's level may change while the station runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from edge_inspector import log


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before, level, handlers = structlog.get_config(), root.level, root.handlers[:]
    yield
    structlog.configure(**before)
    root.setLevel(level)
    root.handlers[:] = handlers


def test_a_logger_that_was_made_before_obeys_the_new_level(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", json=True)
    logger, library = structlog.get_logger(), logging.getLogger("a.library")
    logger.info("too_little")
    log.set_level("debug")
    logger.debug("all_of_it")
    library.info("routine of a library")
    log.set_level("error")
    logger.warning("not_enough")
    library.warning("not enough either")
    logger.error("enough")
    said = capsys.readouterr().err
    assert [line.partition('"event": "')[2].partition('"')[0] for line in said.splitlines()] == ["all_of_it", "enough"]
