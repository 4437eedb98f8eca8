"""Schemathesis against the real service: no request makes it answer what its OpenAPI document does not say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from web_rig import Rig, running

pytestmark = pytest.mark.system
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
STREAM = "/v1/events"
"""Never ends; its tests are in test_web_results.py."""
PICTURES = "/v1/inspect"
"""A schema cannot say that bytes are a PNG: here valid data may be refused."""
BUSY = "not_a_server_error"
"""503 is an answer here; an undocumented 500 is found by the check of the statuses."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A station of its own: it is halted, set up and whatever else there is to order."""
    with running(tmp_path_factory.mktemp("ordered-about")) as made:
        yield made


@pytest.mark.parametrize(
    "narrowed",
    [
        (f"--exclude-path={STREAM}", f"--exclude-path={PICTURES}", f"--exclude-checks={BUSY}", "--max-examples=8"),
        (f"--include-path={PICTURES}", f"--exclude-checks={BUSY},positive_data_acceptance", "--max-examples=8"),
    ],
    ids=["all but pictures", "pictures"],
)
def test_every_answer_is_what_the_document_says(rig: Rig, narrowed: tuple[str, ...], tmp_path: Path) -> None:
    token = f"Authorization: Bearer {rig.tokens['engineer']}"
    command = [
        str(SCHEMATHESIS),
        "run",
        f"{rig.url}/openapi.json",
        "--header",
        token,
        "--checks=all",
        "--seed=1",
        *narrowed,
    ]
    run = subprocess.run(
        [*command, "--no-color"], capture_output=True, text=True, cwd=tmp_path, timeout=90, check=False
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "No test cases were generated" not in run.stdout


def test_the_document_tells_the_roles_the_stream_and_the_fields_of_the_form(rig: Rig) -> None:
    document = httpx.get(f"{rig.url}/openapi.json").raise_for_status().json()
    assert "engineer" in document["info"]["description"]
    assert "text/event-stream" in document["paths"][STREAM]["get"]["responses"]["200"]["content"]
    form = document["paths"][PICTURES]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"] == {"cam": {"type": "string", "format": "binary"}}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (path, method)
            refusals = [answer for status, answer in operation["responses"].items() if status >= "400"]
            kinds = {
                content["schema"]["$ref"].rsplit("/")[-1] for one in refusals for content in one["content"].values()
            }
            assert kinds <= {"Problem", "Ready"}, (path, kinds)
