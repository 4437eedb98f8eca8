"""The fixture by which a test tells what it has shown of the fault table."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from fault_record import FaultBook, read_tests

RECORDS = "EDGE_INSPECTOR_FAULTS"
"""A file: each test of the fault table that passes appends its lines. Left out are tests that tell nothing, and those
that the file has already: a run that was broken off goes on where it was.
"""
_PASSED = pytest.StashKey[bool]()


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Iterator[FaultBook]:
    """For a test that shows rows of the fault table; it must tell at least one."""
    book = FaultBook(request.node.nodeid)
    yield book
    if not request.node.stash.get(_PASSED, False):
        return
    assert book.records, "the test has the fixture `fault` and has told of no row"
    if RECORDS in os.environ:
        book.write(Path(os.environ[RECORDS]))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`-k faults` means every test of the fault table, wherever it stands."""
    tests = [item for item in items if "fault" in getattr(item, "fixturenames", ())]
    for item in tests:
        item.extra_keyword_matches.add("faults")
    if RECORDS in os.environ:
        passed = read_tests(Path(os.environ[RECORDS]))
        wanted = [item for item in tests if item.nodeid not in passed]
        config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
        items[:] = wanted


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport]:
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.stash[_PASSED] = report.passed
