"""One station and one web service for all tests that change nothing at them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from web_rig import Rig, running


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(tmp_path_factory.mktemp("station")) as made:
        yield made


@pytest.fixture
def reader(rig: Rig) -> Iterator[httpx.Client]:
    with rig.client("reader") as client:
        yield client


@pytest.fixture
def operator(rig: Rig) -> Iterator[httpx.Client]:
    with rig.client("operator") as client:
        yield client


@pytest.fixture
def engineer(rig: Rig) -> Iterator[httpx.Client]:
    with rig.client("engineer") as client:
        yield client
