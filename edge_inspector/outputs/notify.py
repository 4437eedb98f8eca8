"""Tells people of events by e-mail, chat or webhook, through the services that Apprise knows."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, Literal

import structlog
from pydantic import Field

from edge_inspector.datatypes import Event, Identity, InspectionResult, OutboxMessage, SavedImage
from edge_inspector.errors import OutputError
from edge_inspector.outputs import payloads
from edge_inspector.settings import LocalPath, PluginConfig

log = structlog.get_logger()
Severity = Literal["info", "warning", "alarm"]
_RANK: Mapping[str, int] = {"info": 0, "warning": 1, "alarm": 2}
_SCHEMA = "vision.event/1"
_LISTED = 10  # events that are told one by one in one message; the rest is counted
_TEXT_CHARS = 300  # of one event; chat services cut long messages off anyway


class Config(PluginConfig):
    """One group of people; what they are told is only a copy: nothing else waits for it."""

    type: Literal["apprise"] = "apprise"
    urls_file: LocalPath = Field(
        description="File with one Apprise URL a line (mailtos://, wecombot://, workflows://, slack://, jsons:// ...);"
        " # begins a comment. It holds passwords: only the service's user should be able to read it."
    )
    severity: Severity = Field("alarm", description="Events below this are not told.")
    ignore: tuple[str, ...] = Field((), description="Codes of events that are not told, such as told_late.")
    group_s: float = Field(10.0, ge=0, le=3600, description="The first event waits so long for others to go with it.")
    every_s: float = Field(300.0, ge=0, le=86400, description="From one message to the next, at the least.")
    max_age_h: float = Field(24.0, gt=0, le=720, description="What could not be told for so long is only counted.")
    tries: int = Field(5, ge=1, le=100, description="How often a service is tried that fails while another one works.")


class AppriseNotifier:
    """Events are held in the outbox until their group is due; a group is done when a service has taken it.

    All calls but `render` on one thread. A service that fails is tried again with the same group, and given up for it
    after `tries` when another one has taken the group; the services that have it are not told again.
    """

    def __init__(
        self,
        destination: str,
        config: Config,
        identity: Identity,
        monotonic_s: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self.destination = destination
        self.config = config
        self.identity = identity
        self._monotonic_s = monotonic_s
        self._utc = utc
        self._services: list[Any] = []  # Apprise objects of one service each
        self._waiting_since: float | None = None
        self._sent_at: float | None = None
        self._told: set[int] = set()  # indices of services that have the first group
        self._failures: Counter[int] = Counter()
        self._group = 0  # how many messages the group had that is being told

    def __enter__(self) -> AppriseNotifier:
        """Read the URLs. OutputError: the package or the file is missing, or a line is no URL that Apprise knows."""
        try:
            import apprise
        except ImportError as exc:
            raise OutputError(f"{self.destination}: {exc}; install edge-inspector[notify]") from exc
        path = self.config.urls_file
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise OutputError(f"{self.destination}: urls_file {path} cannot be read: {exc}") from exc
        services = []
        for number, line in enumerate((line.strip() for line in lines), 1):
            if not line or line.startswith("#"):
                continue
            one = apprise.Apprise()
            if not one.add(line):
                scheme = line.partition("://")[0][:20] if "://" in line else "no scheme"
                raise OutputError(
                    f"{self.destination}: urls_file {path}, line {number}: Apprise does not take this URL ({scheme}); "
                    "its forms are listed at https://appriseit.com/services/"
                )
            services.append(one)
        if not services:
            raise OutputError(f"{self.destination}: urls_file {path} names no service; expected one Apprise URL a line")
        if len(services) != len(self._services):  # the file was changed: what was told to whom is not known any more
            self._told.clear()
            self._failures.clear()
        self._services = services
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def render(self, record: InspectionResult | Event | SavedImage) -> tuple[OutboxMessage, ...]:
        """Events of the wanted severity; a notification about each part would be none."""
        if not isinstance(record, Event):
            return ()
        if _RANK[record.severity] < _RANK[self.config.severity] or record.code in self.config.ignore:
            return ()
        body = payloads.event_payload(record).to_json()
        return (OutboxMessage(self.destination, record.code, _SCHEMA, body, 0),)

    def publish(self, messages: Sequence[OutboxMessage]) -> int:
        """Tell the group when it is due. OutputError: no service took it, or one failed that is worth another try."""
        foreign = next((i for i, message in enumerate(messages) if message.schema == _SCHEMA), len(messages))
        if foreign:  # results for a broker that had this name before: nobody is told of them, and nobody waits
            return foreign
        now = self._monotonic_s()
        if not self._told and not self._failures:
            if self._waiting_since is None:
                self._waiting_since = now
            if now < self._due(self._waiting_since):
                return 0
            self._group = len(messages)
        group = list(messages[: self._group])
        self._tell(group)
        self._told.clear()
        self._failures.clear()
        self._waiting_since, self._sent_at = None, now
        return len(group)

    def announce(self, state: str, state_no: int, recipe: str) -> None:
        """People are told of events, not of states."""

    def metrics(self, values: Mapping[str, float]) -> None:
        """Nor of numbers."""

    def idle(self, timeout_s: float) -> None:
        """There is no connection to keep."""
        time.sleep(timeout_s)

    def _due(self, waiting_since: float) -> float:
        due = waiting_since + self.config.group_s
        return due if self._sent_at is None else max(due, self._sent_at + self.config.every_s)

    def _tell(self, group: Sequence[OutboxMessage]) -> None:
        events = [json.loads(message.payload) for message in group if message.schema == _SCHEMA]
        title, body, severity = self._words(events)
        for index, service in enumerate(self._services):
            if index in self._told or self._given_up(index):
                continue
            if service.notify(title=title, body=body, notify_type=_APPRISE_TYPE[severity], body_format="text"):
                self._told.add(index)
            else:
                self._failures[index] += 1
        failing = [i for i in range(len(self._services)) if i not in self._told and not self._given_up(i)]
        if failing:
            names = ", ".join(self._name(i) for i in failing)
            raise OutputError(f"{self.destination}: not told to {names}; check its URL in {self.config.urls_file}")
        for index in range(len(self._services)):
            if index not in self._told:
                log.error("notification_given_up", destination=self.destination, service=self._name(index))

    def _given_up(self, index: int) -> bool:
        """Whether others have the group, and this service has failed often enough."""
        return bool(self._told) and self._failures[index] >= self.config.tries

    def _name(self, index: int) -> str:
        """The service without its secrets."""
        return str(self._services[index][0].url(privacy=True)).partition("?")[0]

    def _words(self, events: Sequence[Mapping[str, str]]) -> tuple[str, str, str]:
        """Title, text and worst severity of a group."""
        fresh = [event for event in events if not self._old(event["ts"])]
        worst = max((event["severity"] for event in events), key=lambda severity: _RANK[severity])
        lines = [f"{e['ts']} {e['severity']} {e['code']}: {e['text'][:_TEXT_CHARS]}" for e in fresh[:_LISTED]]
        rest = Counter(event["code"] for event in fresh[_LISTED:])
        if rest:
            lines.append("and " + ", ".join(f"{count} x {code}" for code, count in rest.most_common()))
        if len(fresh) < len(events):
            lines.append(f"and {len(events) - len(fresh)} events of more than {self.config.max_age_h:g} hours ago")
        what = events[0]["code"] if len(events) == 1 else f"{len(events)} events"
        return f"{self.identity.station}: {worst}: {what}", "\n".join(lines), worst

    def _old(self, ts: str) -> bool:
        age = self._utc() - datetime.fromisoformat(ts.replace("Z", "+00:00"))
        return age.total_seconds() > self.config.max_age_h * 3600


_APPRISE_TYPE: Mapping[str, str] = {"info": "info", "warning": "warning", "alarm": "failure"}
