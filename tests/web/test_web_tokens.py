"""Tokens: who is known, until when, and that the file is trusted only as far as it deserves."""

from __future__ import annotations

import json
import multiprocessing
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge_inspector.errors import ConfigError, StorageError
from edge_inspector.web.limits import Buckets, one_who_asks
from edge_inspector.web.recent import Recent
from edge_inspector.web.tokens import ROLES, TokenFile, may

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "web" / "tokens.json")


def test_a_token_is_found_by_its_secret_alone(tokens: TokenFile) -> None:
    made, secret = tokens.add("panel-3", "operator", 0, NOW)
    other, _ = tokens.add("anna", "reader", 0, NOW)
    assert tokens.find(secret, NOW) == made
    for wrong in ("", secret[:-1], secret + "x", secret.lower(), made.sha256, other.sha256, "\ud800"):
        assert tokens.find(wrong, NOW) is None, wrong


def test_the_secret_is_random_and_stands_nowhere(tokens: TokenFile) -> None:
    secrets = {tokens.add(f"t{number}", "reader", 0, NOW)[1] for number in range(20)}
    assert len(secrets) == 20
    assert all(len(secret) >= 43 + len("ei_") for secret in secrets)  # 256 bits in base64
    assert not any(secret[3:] in tokens.path.read_text() for secret in secrets)
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(tokens.path.parent.stat().st_mode) == 0o700


def test_a_token_ends_to_the_second(tokens: TokenFile) -> None:
    _, secret = tokens.add("guest", "reader", 2, NOW)
    assert tokens.find(secret, NOW + timedelta(days=2, seconds=-1)) is not None
    assert tokens.find(secret, NOW + timedelta(days=2)) is None


def test_another_process_sees_at_once_what_was_changed(tokens: TokenFile) -> None:
    _, secret = tokens.add("panel", "reader", 0, NOW)
    service = TokenFile(tokens.path)
    assert service.find(secret, NOW) is not None
    tokens.remove("panel")
    assert service.find(secret, NOW) is None
    _, again = tokens.add("panel", "engineer", 0, NOW)
    found = service.find(again, NOW)
    assert found is not None
    assert found.role == "engineer"
    tokens.path.unlink()
    assert service.tokens() == ()


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "../x", "x" * 64, "ä", "loopback", "-x", "a\n"])
def test_a_name_that_could_mislead_is_refused(tokens: TokenFile, name: str) -> None:
    with pytest.raises(ConfigError, match="expected at most 63"):
        tokens.add(name, "reader", 0, NOW)
    assert not tokens.path.exists()


def test_a_name_is_given_once_and_removed_once(tokens: TokenFile) -> None:
    tokens.add("panel", "reader", 0, NOW)
    with pytest.raises(ConfigError, match="exists already"):
        tokens.add("panel", "engineer", 0, NOW)
    tokens.remove("panel")
    with pytest.raises(ConfigError, match="none at all"):
        tokens.remove("panel")


DAMAGED = {
    "no JSON": "{",
    "no tokens": "{}",
    "another schema": '{"schema": 2, "tokens": []}',
    "a role that is none": '{"schema": 1, "tokens": [{"name": "a", "role": "admin", "sha256": "%s", '
    '"created_utc": "2026-11-22T12:00:00+00:00", "expires_utc": null}]}' % ("0" * 64),
    "an empty hash": '{"schema": 1, "tokens": [{"name": "a", "role": "reader", "sha256": "", '
    '"created_utc": "2026-11-22T12:00:00+00:00", "expires_utc": null}]}',
    "an end without a zone": '{"schema": 1, "tokens": [{"name": "a", "role": "reader", "sha256": "%s", '
    '"created_utc": "2026-11-22T12:00:00+00:00", "expires_utc": "2026-11-22T12:00:00"}]}' % ("0" * 64),
    "an unknown key": '{"schema": 1, "tokens": [{"name": "a", "sudo": true}]}',
    "a list": "[]",
    "thousands of brackets": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_lets_nobody_in(tokens: TokenFile, text: str) -> None:
    _, secret = tokens.add("panel", "reader", 0, NOW)
    assert tokens.find(secret, NOW) is not None
    tokens.path.write_text(text)
    for _ in range(2):  # the second time, too: it is not remembered as read
        with pytest.raises(ConfigError, match=r"tokens\.json"):
            tokens.find(secret, NOW)


def test_a_file_that_others_may_write_is_not_trusted(tokens: TokenFile) -> None:
    _, secret = tokens.add("panel", "reader", 0, NOW)
    tokens.path.chmod(0o620)
    with pytest.raises(ConfigError, match="others than its owner may write"):
        tokens.find(secret, NOW)
    tokens.path.chmod(0o644)
    assert tokens.find(secret, NOW) is not None


def _add(path: str, name: str) -> None:
    TokenFile(Path(path)).add(name, "reader", 0, NOW)


def test_two_who_add_at_the_same_time_lose_nothing(tokens: TokenFile) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(str(tokens.path), f"t{number}")) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {token.name for token in tokens.tokens()} == {f"t{number}" for number in range(6)}
    assert len(json.loads(tokens.path.read_text())["tokens"]) == 6


def test_each_role_may_do_what_those_before_it_may() -> None:
    allowed = {(role, needed) for role in ROLES for needed in ROLES if may(role, needed)}
    assert allowed == {
        ("reader", "reader"),
        ("operator", "reader"),
        ("operator", "operator"),
        ("engineer", "reader"),
        ("engineer", "operator"),
        ("engineer", "engineer"),
    }


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    now = 100.0
    buckets = Buckets(per_s=2.0, burst=3.0, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0  # somebody else's is another one
    now += 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now += 1000  # it does not fill over its burst
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_remember_only_so_many_names() -> None:
    buckets = Buckets(1.0, 1.0, lambda: 0.0, most=3)
    for name in ("a", "b", "c", "d"):
        buckets.take(name)
    assert [buckets.take(name) for name in ("b", "c", "d")] == [1, 1, 1]
    assert buckets.take("a") == 0  # forgotten, so full again


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),  # one customer's network
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("testclient", "testclient", True),
    ],
)
def test_addresses_are_counted_as_those_who_have_them(one: str, other: str, same: bool) -> None:
    assert (one_who_asks(one) == one_who_asks(other)) is same


def test_what_is_known_is_not_asked_again_until_it_is_old() -> None:
    now = 10.0
    answers: Iterator[str | StorageError] = iter(["a", StorageError("away"), "b"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, StorageError):
            raise answer
        return answer

    recent = Recent(ask, 1.0, lambda: now)
    assert [recent.get(), recent.get()] == ["a", "a"]
    now += 1.0
    with pytest.raises(StorageError):
        recent.get()
    assert recent.get() == "b"  # a failure is not kept
