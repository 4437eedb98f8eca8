"""What holds for every test: no leaked thread, no leaked task, reproducible Hypothesis runs."""

from __future__ import annotations

import asyncio
import asyncio.runners
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio._backends._asyncio
import hypothesis
import pytest
import structlog

NOBODY = 65534
CRASHED = pytest.StashKey[bool]()
GRACE_S = 2.0  # a thread that was told to stop may need a moment on a busy machine
PYTEST_RUNNER = "TestRunner._run_tests_and_fixtures"  # the task in which anyio's pytest plugin runs our async tests

hypothesis.settings.register_profile("local", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, max_examples=100)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: what is short then fills the gaps at the end of a parallel run."""
    items.sort(key=lambda item: item.path.parent.name not in ("system", "web"))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of a parallel run that died took tests along that nobody has run: the run says so with its exit code."""
    if error:
        node.config.stash[CRASHED] = True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(CRASHED, False):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.fixture(autouse=True)
def no_leaked_thread() -> Iterator[None]:
    """Fails a test that leaves a thread of its own running, daemon threads included."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE_S
    while (leaked := _python_threads() - before) and time.monotonic() < deadline:
        time.sleep(0.005)
    if leaked:
        pytest.fail(f"leaked threads: {sorted(t.name for t in leaked)}; stop and join them before the test ends")


@pytest.fixture(autouse=True)
def no_leaked_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test whose event loop closes while tasks still run in it; asyncio alone would cancel them in silence."""
    leaked: list[str] = []
    runners = [asyncio.runners]
    if sys.version_info < (3, 11):
        runners.append(anyio._backends._asyncio)  # anyio brings its own copy of 3.11's asyncio.Runner
    cancel_all_tasks = asyncio.runners._cancel_all_tasks

    def report_and_cancel(loop: asyncio.AbstractEventLoop) -> None:
        leaked.extend(
            f"{t.get_name()} in {_place(t)}" for t in asyncio.all_tasks(loop) if _coroutine(t) != PYTEST_RUNNER
        )
        cancel_all_tasks(loop)

    for module in runners:
        monkeypatch.setattr(module, "_cancel_all_tasks", report_and_cancel)
    yield
    if leaked:
        pytest.fail(f"leaked tasks: {sorted(leaked)}; await or cancel them before the event loop closes")


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Commands set up logging for their process, on the stream of the moment; tests after them want it as it was."""
    yield
    if not structlog.is_configured():
        return
    structlog.reset_defaults()
    proxy = type(structlog.get_logger())
    for module in [module for name, module in sys.modules.items() if name.startswith("edge_inspector.")]:
        for one in vars(module).values():
            if isinstance(one, proxy):
                vars(one).pop("bind", None)  # where it has kept the logger of its first use
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(handler)


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Iterator[None]:
    """Runs the test without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _python_threads() -> set[threading.Thread]:
    """All threads but those that a vendor's library started: they call in once and stay listed for good."""
    return {t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)}


def _coroutine(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "")


def _place(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    return f"{_coroutine(task)}, {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else _coroutine(task)
