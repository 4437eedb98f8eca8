"""What the system refuses costs a line of the log, a connection or a start, and has its own word; never the station."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer

from edge_inspector import log
from edge_inspector.cli import run
from edge_inspector.control import Control
from edge_inspector.errors import ConfigError, OutputError, StorageError
from edge_inspector.outputs.modbus.server import ModbusServer
from edge_inspector.outputs.mqtt.config import Broker
from edge_inspector.outputs.mqtt.connection import Connection, Outgoing


class Full:
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def isatty(self) -> bool:
        return False


@pytest.fixture
def root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("root_logger_as_it_was")
def test_a_line_that_the_log_cannot_write_is_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    log.configure()
    structlog.get_logger().warning("camera_lost")
    logging.getLogger("a.library").warning("it has lost it, too")
    with pytest.raises(OSError, match="No space"):
        sys.stderr.write("so it would have ended")


def wrapped(error: OSError) -> ConfigError:
    wrapping = ConfigError(f"the folder of engines cannot be written: {error}")
    wrapping.__cause__ = error
    return wrapping


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "state"), 75),
        (OSError(errno.EIO, "Input/output error", "state"), 75),
        (wrapped(OSError(errno.EMFILE, "Too many open files")), 75),
        (PermissionError(errno.EACCES, "Permission denied", "state"), 2),
        (wrapped(NotADirectoryError(errno.ENOTDIR, "Not a directory", "state")), 2),
        (ConfigError("recipes.pcb: no view"), 2),
    ],
)
def test_a_start_that_may_turn_out_well_later_ends_with_75_and_the_others_with_2(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    with pytest.raises(typer.Exit) as ended, run._told():
        raise error
    assert ended.value.exit_code == code
    assert str(error) in capsys.readouterr().err


class Refusing:
    """paho's client when the system gives it nothing."""

    def subscribe(self, *_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    publish = unsubscribe = loop = disconnect = subscribe

    def socket(self) -> None: ...


@pytest.mark.parametrize("call", ["subscribe", "unsubscribe", "send", "send_unacknowledged", "settled", "idle"])
def test_a_broker_for_which_the_system_gives_no_socket_is_lost_like_any_other(call: str) -> None:
    connection = Connection("broker", Broker(type="mqtt", host="127.0.0.1"), "me", None, lambda message: None)
    connection._client = Refusing()  # type: ignore[assignment]
    arguments: dict[str, tuple[object, ...]] = {
        "send": ([Outgoing("t", b"")],), "send_unacknowledged": ("t", b""), "idle": (0.0,)
    }  # fmt: skip
    with pytest.raises(OutputError, match=r"broker: the connection broke: .*Too many open files"):
        getattr(connection, call)(*arguments.get(call, ("t",)))
    assert connection.lost
    connection._lost, connection._connack = "", type("Reason", (), {"is_failure": False})
    connection.close()


def refused(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_without_a_socket_does_not_pretend_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio.create_server of Python 3.11 gives a server that listens nowhere."""
    server = ModbusServer("line", 1, (), 0.0)
    monkeypatch.setattr(socket, "socket", refused)
    with pytest.raises(OutputError, match=r"'line' cannot listen on 127\.0\.0\.1:0: .*Too many open files"):
        await server.open("127.0.0.1", 0, bytes)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_control_socket_that_cannot_be_made_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"control socket .*file/run/c.sock cannot be made: .*let this user write"):
        await Control(tmp_path / "file" / "run" / "c.sock").serve()
