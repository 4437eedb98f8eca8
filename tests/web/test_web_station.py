"""What people order over HTTP, and what happens when the station or its files are not what they should be."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from web_rig import Rig, bearer, running, until

from edge_inspector import config
from edge_inspector.web.app import make_app
from edge_inspector.web.book import Book
from edge_inspector.web.server import make_service

pytestmark = [pytest.mark.system, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def picture(rig: Rig, name: str) -> bytes:
    return (rig.station.folder / "pictures" / name).read_bytes()


@pytest.mark.parametrize(("name", "evaluation"), [("0.png", "OK"), ("1.png", "NOT_OK")])
def test_a_posted_picture_is_judged_booked_and_counts_nowhere(
    rig: Rig, operator: httpx.Client, name: str, evaluation: str
) -> None:
    answer = post_when_free(operator, {"cam": picture(rig, name)}, part_id="hand 1")
    result = answer.raise_for_status().json()
    assert (result["evaluation"], result["mode"], result["part_id"]) == (evaluation, "MANUAL", "hand 1")
    booked = rig.rows(
        "SELECT mode, told, trigger_seq FROM results JOIN triggers USING (seq) WHERE result_id = ?", result["result_id"]
    )
    assert booked == [(5, 0, 0)]
    assert operator.get(f"/v1/results/{result['result_id']}").json()["defects"] == result["defects"]
    assert not list((rig.state / "run" / "inbox").iterdir())


def post_when_free(client: httpx.Client, files: dict[str, bytes], **query: str) -> httpx.Response:
    """Production goes before: 503 and Retry-After while a part is in work."""
    for _ in range(200):
        answer = client.post("/v1/inspect", params=query, files={name: ("p", data) for name, data in files.items()})
        if answer.status_code != 503:
            return answer
        assert answer.headers["retry-after"] == "2"
    return answer


def test_pictures_that_do_not_fit_are_refused_with_the_reason(rig: Rig, operator: httpx.Client) -> None:
    good = picture(rig, "0.png")
    large = cv2.imencode(".png", np.zeros((9000, 9000), np.uint8))[1].tobytes()  # 81 megapixels in 80 kB
    cases: list[tuple[dict[str, bytes], int, str]] = [
        ({"nobody": good}, 422, "of: cam"),
        ({"cam": b"GIF89a"}, 415, "PNG or JPEG"),
        ({"cam": large}, 413, "9000 x 9000"),
    ]
    for files, status, words in cases:
        answer = post_when_free(operator, files)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert operator.post("/v1/inspect", content=b"x", headers={"Content-Type": "image/png"}).status_code == 415
    nothing = operator.post(
        "/v1/inspect", content=b"--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert nothing.status_code == 422
    twice = [("cam", ("a", good)), ("cam", ("b", good))]
    assert operator.post("/v1/inspect", files=twice).status_code in (400, 422)
    assert operator.post("/v1/inspect?part_id=a%0ab", files={"cam": good}).status_code == 422


def test_an_engineer_sets_up_the_cameras_and_all_of_it_is_audited(tmp_path: Path) -> None:
    with running(tmp_path, results=1) as rig, rig.client("engineer") as engineer:
        assert engineer.get("/v1/state").json()["status"]["mode"] == 1
        assert engineer.post("/v1/orders/setup", json={"on": True}).json() == {"done": True}
        until("setup mode", lambda: engineer.get("/v1/state").json()["status"]["mode"] == 4)
        until("a live picture", lambda: engineer.get("/v1/live/cam").status_code == 200)
        view: dict[str, Any] = {"jpeg": None}

        def seen() -> bool:
            view.update(engineer.get("/v1/live/cam").raise_for_status().json())
            return view["jpeg"] is not None

        until("a live picture", seen)
        assert (view["width"], view["height"]) == (96, 64)
        assert view["sharpness"] > 0
        assert 0 < view["mean"] < 1
        assert engineer.post("/v1/orders/setup", json={"on": False}).json() == {"done": True}
        until("production", lambda: engineer.get("/v1/state").json()["status"]["mode"] == 1)
        assert engineer.post("/v1/orders/halt").json() == {"done": True}
        until("halted", lambda: engineer.get("/v1/state").json()["status"]["halted"])
        assert engineer.post("/v1/orders/resume").json() == {"done": True}
        refused = engineer.post("/v1/orders/recipe", json={"name": "nothing"})
        assert refused.status_code == 409
        assert engineer.post("/v1/orders/recipe", json={}).status_code == 422
        assert engineer.post("/v1/orders/setup", json={"on": "yes"}).status_code == 422
        until("both setups in the audit trail", lambda: len(audited(rig, "setup")) == 2)
        assert {who.partition(" ")[0] for who in audited(rig, "setup")} == {"engineer"}
        assert rig.stop_web() == 0


def audited(rig: Rig, what: str) -> list[str]:
    return [who for (who,) in rig.rows("SELECT who FROM audit WHERE what LIKE ?", f"%{what}%")]


class Copied:
    """The service over a copy of the ledger that a test may damage; audits still go to the real daemon."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(rig.ledger)) as book:
            book.execute("VACUUM INTO ?", (str(folder / "copy.sqlite"),))
        shutil.copytree(rig.state / "images", folder / "images", ignore=shutil.ignore_patterns(".*"))  # half written
        self.images, self.path, self.rig = folder / "images", folder / "copy.sqlite", rig
        query = "SELECT id, path FROM images WHERE kind = 'original' AND removed_utc IS NULL"
        self.number, self.file = self.rows(query)[0]
        self.headers = bearer(rig.tokens["reader"])

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as book:
            return book.execute(query, values).fetchall()

    def client(self, **changed: Any) -> httpx.AsyncClient:
        service = make_service(config.load(self.rig.file))
        app = make_app(replace(service, **{"book": Book(self.path), "images": self.images, **changed}))
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=self.headers)


@pytest.fixture
def copied(rig: Rig, tmp_path: Path) -> Copied:
    return Copied(rig, tmp_path)


async def test_a_picture_that_was_changed_on_the_disk_is_not_shown(copied: Copied) -> None:
    file = copied.images / copied.file
    content = bytearray(file.read_bytes())
    async with copied.client() as client:
        for damaged in (content[:-1], content[:40] + bytes([content[40] ^ 1]) + content[41:], b""):
            file.write_bytes(damaged)
            answer = await client.get(f"/v1/images/{copied.number}")
            assert answer.status_code == 500
            assert "not what was stored" in answer.json()["error"]
        file.write_bytes(content)
        assert (await client.get(f"/v1/images/{copied.number}")).status_code == 200
        file.unlink()
        assert (await client.get(f"/v1/images/{copied.number}")).status_code == 410
        copied.rows("UPDATE images SET removed_utc = '2026-11-22T12:00:00.000Z'")
        gone = await client.get(f"/v1/images/{copied.number}")
        assert (gone.status_code, "2026-11-22" in gone.json()["error"]) == (410, True)


async def test_no_row_of_the_ledger_leads_out_of_the_image_folder(copied: Copied, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (copied.images / "link.png").symlink_to(secret)
    os.mkfifo(copied.images / "pipe.png")
    digest = hashlib.sha256(b"secret").hexdigest()
    async with copied.client() as client:
        for path in ("../secret.png", str(secret), "link.png", "rejects/../../secret.png", "pipe.png"):
            copied.rows(
                "UPDATE images SET path = ?, sha256 = ?, size_bytes = 6 WHERE id = ?", path, digest, copied.number
            )
            answer = await client.get(f"/v1/images/{copied.number}")
            assert answer.status_code == 500, path
            assert b"secret" not in answer.content.replace(b"secret.png", b"")


async def test_while_the_station_is_away_results_are_there_but_no_picture(copied: Copied) -> None:
    from edge_inspector.control import ControlClient
    from edge_inspector.web.station import Station

    nobody = Station(ControlClient(copied.path.parent / "no.sock"))
    async with copied.client(station=nobody) as client:
        assert (await client.get("/v1/results")).status_code == 200
        for path in (f"/v1/images/{copied.number}", f"/v1/images/{copied.number}?width=64"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "2"
        metrics = await client.get("/metrics")
        assert metrics.status_code == 200
        assert "edge_inspector_up 0" in metrics.text


async def test_a_ledger_that_is_away_or_damaged_is_503_and_not_an_error_of_ours(copied: Copied) -> None:
    copied.path.write_bytes(b"SQLite format 3\x00" + b"x" * 5000)
    async with copied.client() as client:
        for path in ("/v1/results", "/v1/results/x", "/v1/images/1"):
            answer = await client.get(path)
            assert answer.status_code == 503, path
            assert "copy.sqlite" in answer.json()["error"]
        copied.path.unlink()
        assert (await client.get("/v1/results")).status_code == 503
        assert not copied.path.exists()


def test_a_question_that_takes_too_long_is_given_up(copied: Copied) -> None:
    from edge_inspector.errors import StorageError

    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    with pytest.raises(StorageError, match="interrupted"), Book(copied.path).open(longest_s=0.05) as connection:
        connection.execute(endless)
