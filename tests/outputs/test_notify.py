"""Notifications, with a real web hook at the other end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest

from edge_inspector.datatypes import Event, Identity, OutboxMessage
from edge_inspector.errors import OutputError
from edge_inspector.outputs.notify import AppriseNotifier, Config

pytest.importorskip("apprise", reason="the extra notify is not installed")
# Apprise imports all of its services, and one of them an old module of Python's.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


@dataclass
class Hook:
    """A web hook: what it was told, and what it answers."""

    port: int = 0
    status: int = 200
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"json://localhost:{self.port}/{self.port}"


@pytest.fixture(scope="module", autouse=True)
def _apprises_own_thread() -> None:
    """Apprise looks names up on a thread that it keeps for ever: begun here, it is no test's leak."""
    import apprise

    nobody = apprise.Apprise()
    nobody.add("json://localhost:1")
    assert not nobody.notify("is anybody there?")


@pytest.fixture
def hooks() -> Iterator[list[Hook]]:
    """Two services."""
    made, servers = [], []
    for _ in range(2):
        hook = Hook()

        class Handler(BaseHTTPRequestHandler):
            answers = hook

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.answers.status == 200:
                    self.answers.told.append(json.loads(body))
                self.send_response(self.answers.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        hook.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        made.append(hook)
        servers.append((server, thread))
    yield made
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


class Watch:
    """A clock that stands until somebody sets it."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def notifier(folder: Path, watch: Watch, *lines: str, **settings: Any) -> AppriseNotifier:
    file = folder / "urls"
    file.write_text("\n".join(["# who is told", "", *lines]))
    config = Config(urls_file=file, **settings)
    return AppriseNotifier("people", config, Identity("press-7", 1, "0"), watch, lambda: NOW)


def event(
    code: str = "camera_lost", severity: Literal["info", "warning", "alarm"] = "alarm", ts: str = "2026-11-22T11:59:00Z"
) -> Event:
    return Event(severity, code, f"text of {code}", ts)


def rendered(people: AppriseNotifier, *events: Event) -> list[OutboxMessage]:
    return [message for one in events for message in people.render(one)]


def test_an_alarm_is_told_with_station_code_and_text(tmp_path: Path, hooks: list[Hook]) -> None:
    watch = Watch()
    with notifier(tmp_path, watch, hooks[0].url, group_s=0) as people:
        assert people.publish(rendered(people, event())) == 1
    (told,) = hooks[0].told
    assert told["title"] == "press-7: alarm: camera_lost"
    assert told["message"] == "2026-11-22T11:59:00Z alarm camera_lost: text of camera_lost"
    assert told["type"] == "failure"


def test_events_of_one_moment_go_together_and_the_next_group_waits(tmp_path: Path, hooks: list[Hook]) -> None:
    watch = Watch()
    with notifier(tmp_path, watch, hooks[0].url, group_s=10, every_s=300) as people:
        burst = rendered(people, *[event() for _ in range(12)], event("ledger_failed"))
        assert people.publish(burst[:1]) == 0
        watch.now_s += 10
        assert people.publish(burst) == 13
        assert people.publish(burst[:1]) == 0
        watch.now_s += 299
        assert people.publish(burst[:1]) == 0
        watch.now_s += 1
        assert people.publish(burst[:1]) == 1
    first, second = hooks[0].told
    assert first["title"] == "press-7: alarm: 13 events"
    assert first["message"].count("text of camera_lost") == 10
    assert first["message"].splitlines()[-1] == "and 2 x camera_lost, 1 x ledger_failed"
    assert second["title"] == "press-7: alarm: camera_lost"


def test_only_wanted_severities_and_codes_are_told(tmp_path: Path) -> None:
    people = notifier(tmp_path, Watch(), "json://x", severity="warning", ignore=("told_late",))
    kept = rendered(people, event("a", "info"), event("b", "warning"), event("c"), event("told_late", "warning"))
    assert [message.topic for message in kept] == ["b", "c"]


def test_a_service_that_fails_is_tried_again_and_the_other_is_not_told_twice(tmp_path: Path, hooks: list[Hook]) -> None:
    good, bad = hooks
    bad.status = 500
    with notifier(tmp_path, Watch(), good.url, bad.url, group_s=0) as people:
        messages = rendered(people, event())
        with pytest.raises(OutputError, match=f"not told to json://localhost:{bad.port}"):
            people.publish(messages)
        bad.status = 200
        assert people.publish([*messages, *rendered(people, event("later"))]) == 1
    assert len(good.told) == len(bad.told) == 1


def test_a_service_that_never_works_does_not_keep_the_others_from_the_next_event(
    tmp_path: Path, hooks: list[Hook]
) -> None:
    good, bad = hooks
    bad.status = 500
    with notifier(tmp_path, Watch(), bad.url, good.url, group_s=0, every_s=0, tries=3) as people:
        messages = rendered(people, event(), event("next"))
        for _ in range(2):
            with pytest.raises(OutputError):
                people.publish(messages[:1])
        assert people.publish(messages[:1]) == 1
        with pytest.raises(OutputError):
            people.publish(messages[1:])
    assert [told["title"][-4:] for told in good.told] == ["lost", "next"]


def test_while_no_service_works_nothing_is_given_up(tmp_path: Path, hooks: list[Hook]) -> None:
    hooks[0].status = 500
    with notifier(tmp_path, Watch(), hooks[0].url, group_s=0, tries=1) as people:
        messages = rendered(people, event("old", ts="2026-11-20T00:00:00Z"), event("new"))
        for _ in range(3):
            with pytest.raises(OutputError):
                people.publish(messages)
        hooks[0].status = 200
        assert people.publish(messages) == 2
    (told,) = hooks[0].told
    assert told["message"].splitlines()[1] == "and 1 events of more than 24 hours ago"


def test_a_line_that_is_no_url_is_named_without_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"line 3: Apprise does not take this URL \(nosuch\)") as caught:
        notifier(tmp_path, Watch(), "nosuch://user:secret@host").__enter__()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("line", ["", "# only a comment"])
def test_a_file_without_a_service_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(OutputError, match="names no service"):
        notifier(tmp_path, Watch(), line).__enter__()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    people = notifier(tmp_path, Watch(), "json://x")
    (tmp_path / "urls").unlink()
    with pytest.raises(OutputError, match=r"urls_file .*urls cannot be read"):
        people.__enter__()


def test_the_how_to_names_urls_that_apprise_takes(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "notifications.md"
    lines = page.read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0].splitlines()
    assert sum("://" in line for line in lines) == 5
    with notifier(tmp_path, Watch(), *lines):
        pass


def test_what_is_no_event_is_told_to_nobody_and_leaves_the_outbox(tmp_path: Path, hooks: list[Hook]) -> None:
    """The destination had been a broker before: its results still wait under the same name."""
    result = OutboxMessage("people", "edge/result", "vision.result/1", b'{"result_id":"line1.0a1b2c3d.1"}', 1)
    with notifier(tmp_path, Watch(), hooks[0].url, group_s=0) as people:
        alarm = rendered(people, event())
        assert people.publish([result, result]) == 2
        assert hooks[0].told == []
        assert people.publish([result, *alarm, result]) == 1
        assert people.publish([*alarm, result]) == 2
    assert [told["title"] for told in hooks[0].told] == ["press-7: alarm: camera_lost"]
