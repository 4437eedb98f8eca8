"""Who gets in, who does not, and what every answer carries. In-process, with a clock of our own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from real_station import STATION
from web_rig import bearer

from edge_inspector import config
from edge_inspector.web.access import Door
from edge_inspector.web.app import make_app
from edge_inspector.web.server import make_service
from edge_inspector.web.tokens import ROLES, Role, token_file

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
PER_S = 5.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class House:
    """The application without a station: what matters here is decided before it is asked."""

    def __init__(self, folder: Path, tables: str = f"[web]\nrequests_per_s = {PER_S}\n") -> None:
        file = folder / "station.toml"
        file.write_text(STATION.replace('trigger = "plc"', 'trigger = "timer"\nperiod_s = 1.0') + tables)
        settings = config.load(file)
        self.now, self.seconds = NOW, 50.0
        self.tokens = token_file(settings.station.state_dir)
        service = make_service(settings)
        door = Door(self.tokens, "edge_inspector_bench", PER_S, lambda: self.seconds, lambda: self.now)
        self.app = make_app(replace(service, door=door, now=lambda: self.now), lambda: self.seconds)

    def add(self, role: Role, days: int = 0) -> str:
        return self.tokens.add(role, role, days, NOW)[1]

    def client(self, address: str = "127.0.0.1", host: str = "127.0.0.1:8080") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


READ = "/v1/state"


async def test_without_any_token_this_machine_may_read_but_order_nothing(house: House) -> None:
    async with house.client() as here:
        assert (await here.get(READ)).json()["you"] == {"name": "loopback", "role": "reader", "expires_utc": None}
        for path in ("reset", "halt", "resume", "ack_line_stop"):
            answer = await here.post(f"/v1/orders/{path}")
            assert answer.status_code == 403
            assert "token add" in answer.json()["error"]
        assert (await here.get("/v1/live/cam")).status_code == 403


async def test_without_any_token_nobody_else_may_do_anything(house: House) -> None:
    async with house.client("10.0.0.7") as away:
        answer = await away.get(READ)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_a_proxy_on_this_machine_does_not_make_strangers_local(house: House, name: str) -> None:
    async with house.client() as proxy:
        assert (await proxy.get(READ, headers={name: "for=10.0.0.7"})).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "[::1", "10.0.0.1:8080", ""])
async def test_a_name_that_somebody_has_pointed_to_this_machine_is_not_local(house: House, host: str) -> None:
    async with house.client() as rebound:
        assert (await rebound.get(READ, headers={"Host": host})).status_code == 401


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080"])
async def test_this_machine_has_several_names(house: House, host: str) -> None:
    async with house.client("::1") as here:
        assert (await here.get(READ, headers={"Host": host})).status_code == 200


async def test_with_one_token_everybody_needs_one(house: House) -> None:
    secret = house.add("reader")
    async with house.client() as here:
        assert (await here.get(READ)).status_code == 401
        assert (await here.get(READ, headers=bearer("ei_wrong"))).status_code == 401
        assert (await here.get(READ, headers={"Authorization": f"Basic {secret}"})).status_code == 401
        assert (await here.get(READ, headers=bearer(secret))).json()["you"]["name"] == "reader"


NEEDED: dict[tuple[str, str], Role] = {
    ("GET", "/v1/results"): "reader",
    ("GET", "/v1/results/x"): "reader",
    ("GET", "/v1/images/1"): "reader",
    ("GET", "/v1/events"): "reader",
    ("GET", "/v1/state"): "reader",
    ("GET", "/health"): "reader",
    ("GET", "/metrics"): "reader",
    ("GET", "/v1/live/cam"): "operator",
    ("POST", "/v1/inspect"): "operator",
    ("POST", "/v1/orders/ack_line_stop"): "operator",
    ("POST", "/v1/orders/reset"): "operator",
    ("POST", "/v1/orders/halt"): "engineer",
    ("POST", "/v1/orders/resume"): "engineer",
    ("POST", "/v1/orders/recipe"): "engineer",
    ("POST", "/v1/orders/setup"): "engineer",
    ("POST", "/v1/orders/golden"): "engineer",
    ("POST", "/v1/feedback"): "operator",
    ("GET", "/v1/thresholds"): "reader",
}
OPEN = {("GET", "/health/live"), ("GET", "/health/ready"), ("POST", "/v1/sign-in"), ("POST", "/v1/sign-out")}


async def test_each_route_asks_for_the_role_that_it_needs(house: House) -> None:
    secrets = {role: house.add(role) for role in ROLES}
    json = {"Content-Type": "application/json"}
    async with house.client() as client:
        for (method, path), needed in NEEDED.items():
            assert (await client.request(method, path)).status_code == 401, path
            for role in ROLES:
                house.seconds += 10
                given = {**bearer(secrets[role]), **(json if method == "POST" else {})}
                content = '{"on": true}' if method == "POST" else None
                answer = await client.request(method, path, headers=given, content=content)
                allowed = ROLES.index(role) >= ROLES.index(needed)
                assert (answer.status_code != 403) is allowed, (path, role, answer.text)


def test_no_route_is_left_out_of_the_table_of_roles(house: House) -> None:
    paths = house.app.openapi()["paths"]
    known = {
        (method.upper(), path.replace("{result_id}", "x").replace("{number}", "1").replace("{camera}", "cam"))
        for path, methods in paths.items()
        for method in methods
    }
    assert known == set(NEEDED) | OPEN


async def test_an_expired_token_is_refused(house: House) -> None:
    secret = house.add("reader", days=1)
    async with house.client() as client:
        assert (await client.get(READ, headers=bearer(secret))).status_code == 200
        house.now += timedelta(days=1)
        assert (await client.get(READ, headers=bearer(secret))).status_code == 401


async def test_a_damaged_token_file_closes_the_door_and_says_why(house: House) -> None:
    secret = house.add("reader")
    house.tokens.path.write_text("{")
    async with house.client() as client:
        for headers in ({}, bearer(secret)):
            answer = await client.get(READ, headers=headers)
            assert answer.status_code == 503
            assert "the log of the web service says why" in answer.json()["error"]
            assert "tokens.json" not in answer.text  # nobody knows who asks


async def test_wrong_tokens_count_for_their_address_and_lock_nobody_else_out(house: House) -> None:
    secret = house.add("reader")
    async with house.client("10.0.0.7") as thief, house.client("10.0.0.8") as panel:
        statuses = [(await thief.get(READ, headers=bearer(f"ei_{i}"))).status_code for i in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        assert (await panel.get(READ, headers=bearer(secret))).status_code == 200


async def test_an_address_and_a_token_have_their_rates(house: House) -> None:
    secret = house.add("reader")
    async with house.client("10.0.0.7") as one, house.client("10.0.0.8") as other:
        for _ in range(int(2 * PER_S)):
            assert (await one.get("/health/live")).status_code == 200
        refused = await one.get("/health/live")
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert (await other.get("/health/live")).status_code == 200
        house.seconds += 2.0
        assert (await one.get("/health/live")).status_code == 200
        house.seconds += 100
        for number in range(int(2 * PER_S)):  # one token from two addresses
            client = (one, other)[number % 2]
            assert (await client.get("/health", headers=bearer(secret))).status_code == 200
        answer = await other.get("/health", headers=bearer(secret))
        assert answer.status_code == 429
        assert "token 'reader'" in answer.json()["error"]


async def test_signing_in_gives_a_cookie_that_only_this_page_can_use(house: House) -> None:
    secret = house.add("engineer", days=3)
    ours = {"Origin": "http://127.0.0.1:8080"}
    async with house.client() as client:
        answer = await client.post("/v1/sign-in", json={"token": secret}, headers=ours)
        assert answer.json() == {"name": "engineer", "role": "engineer", "expires_utc": "2026-11-25T12:00:00+00:00"}
        cookie = answer.headers["set-cookie"].lower()
        for word in ("httponly", "samesite=strict", f"max-age={3 * 86400}", "path=/"):
            assert word in cookie
        assert "secure" not in cookie  # no TLS here
        assert (await client.get(READ)).json()["you"]["name"] == "engineer"
        for origin in ({}, {"Origin": "http://127.0.0.1:9999"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            answer = await client.post("/v1/orders/reset", headers=origin)
            assert answer.status_code == 403, origin
            assert "another web site" in answer.json()["error"]
        assert (await client.post("/v1/orders/reset", headers=ours)).status_code == 503  # in, but there is no station
        await client.post("/v1/sign-out", headers=ours)
        assert (await client.get(READ)).status_code == 401


async def test_a_wrong_token_signs_nobody_in(house: House) -> None:
    house.add("reader")
    async with house.client() as client:
        answer = await client.post(
            "/v1/sign-in", json={"token": "ei_wrong"}, headers={"Origin": "http://127.0.0.1:8080"}
        )
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        elsewhere = await client.post("/v1/sign-in", json={"token": "x"}, headers={"Origin": "https://evil.example"})
        assert elsewhere.status_code == 403


async def test_other_web_sites_get_nothing(house: House) -> None:
    async with house.client() as browser:
        for site in ("cross-site", "same-site"):
            assert (await browser.get(READ, headers={"Sec-Fetch-Site": site})).status_code == 403
        assert (await browser.get("/", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200  # a link to us
        answer = await browser.get(READ, headers={"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8080"})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/page.js", "/health/live", "/v1/state", "/v1/results/x", "/nothing"])
async def test_every_answer_carries_the_strict_headers(house: House, path: str) -> None:
    async with house.client() as client:
        headers = (await client.get(path)).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers


async def _chunks(count: int) -> Iterator[bytes]:  # type: ignore[misc]
    for _ in range(count):
        yield b"x" * 10_000


async def test_a_body_is_no_larger_than_what_is_needed(house: House) -> None:
    secret = house.add("engineer")
    json = {**bearer(secret), "Content-Type": "application/json"}
    async with house.client() as client:
        declared = await client.post("/v1/orders/setup", headers=json, content=b"x" * 20_000)
        undeclared = await client.post("/v1/orders/setup", headers=json, content=_chunks(2))
        for answer in (declared, undeclared):
            assert answer.status_code == 413
            assert "16384 bytes" in answer.json()["error"]
        form = {**bearer(secret), "Content-Type": "multipart/form-data; boundary=b"}
        large = await client.post("/v1/inspect", headers={**form, "Content-Length": "32000001"}, content=b"x")
        assert large.status_code == 413


async def test_the_page_and_its_files_need_no_token_and_come_from_here(house: House) -> None:
    house.add("reader")
    async with house.client("10.0.0.7") as client:
        page = await client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "http://" not in page.text.replace("http://www.w3.org", "")
        assert "https://" not in page.text
        for path in ("/page.js", "/live.js", "/page.css", "/icon.svg"):
            assert (await client.get(path)).status_code == 200
        for path in ("/static/page.js", "/../tokens.json", "/docs", "/redoc"):
            assert (await client.get(path)).status_code == 404
