"""Who calls the daemon over its Unix socket: the web service, the command line, tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import TypeAdapter

from edge_inspector.errors import OutputError
from edge_inspector.interfaces import Order, OrderAnswer

MAX_LINE = 4096
"""Bytes of a request; answers may be of any length up to `MAX_ANSWER`."""
MAX_ANSWER = 64 * 2**20
_ANSWERS = TypeAdapter(OrderAnswer)


class StationAway(OutputError):
    """The daemon does not answer: it is not running, or it hangs."""


class ControlClient:
    """Calls the daemon; each call is a connection of its own, and safe on any thread or task.

    Every method but `__init__` raises StationAway. `timeout_s` is for the answer as a whole.
    """

    def __init__(self, path: Path, timeout_s: float = 5.0) -> None:
        self.path = path
        self.timeout_s = timeout_s

    def ask(self, request: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """One request, such as {"command": "status"}; blocks. ValueError: it is longer than `MAX_LINE`."""
        return anyio.run(partial(self.ask_async, request, timeout_s))

    async def ask_async(self, request: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """As `ask`."""
        line = _request(request)
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            with anyio.fail_after(limit_s):
                async with await anyio.connect_unix(self.path) as stream:
                    await stream.send(line)
                    buffered = BufferedByteReceiveStream(stream)
                    answer: object = json.loads(await buffered.receive_until(b"\n", MAX_ANSWER))
        except TimeoutError as exc:
            raise StationAway(f"the station at {self.path} has not answered within {limit_s:g} s") from exc
        except _GONE as exc:
            raise self._away(exc) from exc
        if not isinstance(answer, dict):
            raise StationAway(f"the station at {self.path} answered {answer!r:.100}, expected a JSON object")
        return answer

    def status(self) -> dict[str, Any] | None:
        """What the station is (`StationStatus`), None = it is just starting."""
        found: dict[str, Any] | None = self._value("status", self.ask({"command": "status"}))
        return found

    def counters(self) -> dict[str, float]:
        found: dict[str, float] = self._value("counters", self.ask({"command": "counters"}))
        return found

    def metrics(self) -> str:
        """OpenMetrics text."""
        return str(self._value("metrics", self.ask({"command": "metrics"})))

    def order(self, order: Order, timeout_s: float | None = None) -> OrderAnswer:
        """Have the station do something; blocks until it has."""
        return self._order_answer(self.ask(_ordering(order), timeout_s))

    async def order_async(self, order: Order, timeout_s: float | None = None) -> OrderAnswer:
        """As `order`."""
        return self._order_answer(await self.ask_async(_ordering(order), timeout_s))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What happens from now on, as {"event": kind, "record": {...}}, until the daemon goes away: StationAway."""
        try:
            async with await anyio.connect_unix(self.path) as stream:
                await stream.send(_request({"command": "events"}))
                buffered = BufferedByteReceiveStream(stream)
                while True:
                    message = json.loads(await buffered.receive_until(b"\n", MAX_ANSWER))
                    if "event" in message:
                        yield message
        except _GONE as exc:
            raise self._away(exc) from exc

    def _away(self, exc: BaseException) -> StationAway:
        why = str(exc) or type(exc).__name__
        return StationAway(f"no station answers at {self.path} ({why}); is `edge-inspector run` running?")

    def _value(self, name: str, answer: Mapping[str, Any]) -> Any:
        if name not in answer:
            raise StationAway(f"the station at {self.path} has no {name!r} to tell: {answer.get('error', answer)}")
        return answer[name]

    def _order_answer(self, answer: Mapping[str, Any]) -> OrderAnswer:
        if "error" in answer:
            return OrderAnswer(done=False, text=str(answer["error"]))
        return _ANSWERS.validate_python(self._value("answer", answer))


_GONE = (
    OSError,
    ValueError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.DelimiterNotFound,
)


def _ordering(order: Order) -> dict[str, Any]:
    return {"command": "order", "name": order.name, "who": order.who, "arguments": dict(order.arguments)}


def _request(request: Mapping[str, Any]) -> bytes:
    line = json.dumps(request).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"a request to the station has {len(line)} bytes, expected at most {MAX_LINE}")
    return line
