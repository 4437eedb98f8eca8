"""The root helper at its socket: what it takes, whom it takes it from, and what it answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from simulated_board import SimulatedBoard

from edge_inspector.errors import PowerError, RebootNeededError
from edge_inspector.health.power import helper
from edge_inspector.health.power.control import SOCKET, HelperControl
from edge_inspector.health.power.helper import Peer, members_of, peer, serve
from edge_inspector.health.power.tools import BoardTools
from edge_inspector.interfaces import PowerMode

MODE_25W = PowerMode(1, "25W")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="board-") as folder:
        yield Path(folder)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedBoard:
    made = SimulatedBoard(tmp_path)
    monkeypatch.setenv("PATH", str(made.tools), prepend=":")
    return made


@contextmanager
def helping(board: SimulatedBoard, allowed: bool = True, of: SimulatedBoard | None = None) -> Iterator[Path]:
    """The helper at the board's own socket, changing this board or that `of` another machine; a last call ends it."""
    tools_of = of or board
    path = board.root / SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        served = threading.Thread(target=serve, args=(listener, BoardTools(tools_of.root), lambda _: allowed, 30.0))
        served.start()
        yield path
        listener.settimeout(0.001)  # counts from the call after the next
        asked(path)
        served.join(30)
        assert not served.is_alive()


def asked(path: Path, *parts: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        for part in parts:
            client.sendall(part)
        client.shutdown(socket.SHUT_WR)
        said = b""
        while more := client.recv(4096):
            said += more
        return said


def test_the_helper_sets_modes_and_clocks_and_the_client_looks_for_itself(board: SimulatedBoard) -> None:
    with helping(board):
        control = HelperControl(board.root, 30)
        control.set_mode(MODE_25W)
        control.set_clocks(True)
        assert control.state().mode == MODE_25W
        assert control.state().clocks_locked is True
        control.set_clocks(False)
        assert control.state().clocks_locked is False


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\n",
        b"mode 1",
        b"mode 1\r\n",
        b"mode  1\n",
        b"mode -1\n",
        b"mode 0001\n",
        b"mode 1;reboot\n",
        b"mode \xd9\xa1\n",  # an Arabic one
        b"MODE 1\n",
        b"clocks ON\n",
        b"clocks on\nmode 1\n",
        b"clocks\n",
        b"mode 1\0\n",
        b"x" * 100_000,
    ],
)
def test_what_is_not_one_of_two_orders_is_refused_before_a_board_is_looked_for(tmp_path: Path, request_: bytes) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(request_)
            client.shutdown(socket.SHUT_WR)
            serve(listener, BoardTools(tmp_path), lambda _: True, 0.001)
            said = _all(client)
    assert said == b"failed expected 'mode N', 'clocks on' or 'clocks off' and a line end\n"


def test_an_order_that_comes_in_pieces_is_put_together(board: SimulatedBoard) -> None:
    with helping(board) as path:
        assert asked(path, b"mo", b"de ", b"1\n") == b"ok\n"
    assert board.mode == "25W"


def test_the_order_of_somebody_who_may_not_is_refused(board: SimulatedBoard) -> None:
    with helping(board, allowed=False), pytest.raises(PowerError, match="you may not change this machine's power mode"):
        HelperControl(board.root, 30).set_mode(MODE_25W)
    assert board.calls == []


def test_a_client_that_says_nothing_is_left_after_a_while(
    board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "ASK_S", 0.1)
    with helping(board) as path, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        silent.sendall(b"mode")
        assert asked(path, b"mode 1\n") == b"ok\n"


def test_the_order_of_a_client_that_has_gone_away_is_dropped(board: SimulatedBoard) -> None:
    """Its time was up while others were served, and its station inspects parts again."""
    path = board.root / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(path))
            hasty.sendall(b"mode 1\n")
        serve(listener, BoardTools(board.root), lambda _: True, 0.001)
    assert board.calls == []


def test_a_client_that_says_a_letter_at_a_time_is_left_after_the_same_while(
    board: SimulatedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "ASK_S", 0.5)
    ours, theirs = socket.socketpair()
    left, sent = threading.Event(), []

    def drip() -> None:
        for letter in b"clocks o":
            theirs.send(bytes([letter]))
            sent.append(letter)
            if left.wait(0.2):
                return

    with ours, theirs:
        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(TimeoutError):
            helper._attend(ours, BoardTools(board.root), lambda _: True)
        left.set()
        thread.join(10)
    assert len(sent) < len(b"clocks o")


def test_a_stop_waits_for_the_end_of_a_change(board: SimulatedBoard) -> None:
    blocked: list[set[int]] = []

    class Slow(BoardTools):
        def set_mode(self, wanted: int, limit_s: float = 0.0) -> None:
            blocked.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, ())))

    path = board.root / "socket"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(path))
        listener.listen()
        client.connect(str(path))
        client.sendall(b"mode 1\n")
        serve(listener, Slow(board.root), lambda _: True, 0.001)
        assert _all(client) == b"ok\n"
    assert [signal.SIGTERM in signals for signals in blocked] == [True]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_mode_that_needs_a_reboot_is_told_as_such(board: SimulatedBoard) -> None:
    with helping(board), pytest.raises(RebootNeededError, match="7W needs a reboot, nothing was changed"):
        HelperControl(board.root, 30).set_mode(PowerMode(3, "7W"))


def test_a_failure_of_the_board_reaches_the_caller_in_one_line(board: SimulatedBoard) -> None:
    board.fault("exit")
    with helping(board) as path:
        said = asked(path, b"mode 1\n")
    assert said.startswith(b"failed power mode 1 25W was not taken")
    assert said.count(b"\n") == 1
    assert len(said) <= helper.MAX_ANSWER


class BrokenBoard(BoardTools):
    """A board whose failures have been written by somebody else."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Path("/nowhere"))
        self.error = error

    def set_mode(self, wanted: int, limit_s: float = 0.0) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (PowerError("no\nok\x1b[2J \u00fc"), b"failed no ok [2J  \n"),
        (RebootNeededError("no\nok"), b"reboot no ok\n"),
        (PermissionError(13, "denied"), b"failed [Errno 13] denied\n"),
        (PowerError("x" * 5000), b"failed " + b"x" * (helper.MAX_ANSWER - 8) + b"\n"),
    ],
)
def test_an_answer_is_one_line_of_plain_letters_whatever_went_wrong(error: Exception, answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"mode 1\n")
        helper._attend(ours, BrokenBoard(error), lambda _: True)
        assert theirs.recv(4096) == answer


def test_a_helper_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(PowerError, match=r"has not answered 'mode 1' within 0\.1 s"):
            HelperControl(tmp_path, 0.1).set_mode(MODE_25W)


def test_a_helper_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match=r"systemctl status edge-inspector-power\.socket"):
        HelperControl(tmp_path, 0.1).set_clocks(True)


@pytest.mark.parametrize("answer", [b"", b"yes\n", b"ok", b"okay\n", b"\xff\xfe\n"])
def test_only_ok_is_success(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def liar() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                client.sendall(answer)

        thread = threading.Thread(target=liar)
        thread.start()
        with pytest.raises(PowerError, match="expected 'ok'"):
            HelperControl(tmp_path, 5).set_clocks(True)
        thread.join(10)


def test_a_success_that_the_board_does_not_confirm_is_none(board: SimulatedBoard) -> None:
    """The helper runs on another machine's board, say; the station reads its own."""
    other = SimulatedBoard(board.root / "other")
    (board.tools / "nvpmodel").write_bytes((other.tools / "nvpmodel").read_bytes())
    with helping(board, of=other), pytest.raises(PowerError, match="1 25W was reported as set, but the board is in 0"):
        HelperControl(board.root, 30).set_mode(MODE_25W)


@pytest.mark.parametrize(
    ("caller", "let_in"),
    [
        (Peer(1, 0, frozenset({0})), True),
        (Peer(1, 998, frozenset({998, 44})), True),
        (Peer(1, 998, frozenset({998})), False),
        (Peer(1, 65534, frozenset()), False),
    ],
)
def test_root_and_the_members_of_the_sockets_group_are_let_in(caller: Peer, let_in: bool) -> None:
    assert members_of(44)(caller) is let_in


def test_the_peer_is_whom_the_kernel_names_with_all_its_groups() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer(ours) == Peer(os.getpid(), os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


def test_the_helper_brings_nothing_but_the_standard_library_and_itself() -> None:
    program = (
        "import sys\nbefore = set(sys.modules)\nimport edge_inspector.health.power.helper\n"
        "print(sorted({n.split('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "['edge_inspector']"


def test_a_helper_that_no_systemd_started_serves_nobody() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "edge_inspector.health.power.helper"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 1
    assert "started by edge-inspector-power.socket" in said.stderr


def test_the_program_serves_the_socket_that_systemd_hands_over(board: SimulatedBoard, tmp_path: Path) -> None:
    path = tmp_path / "handed"
    program = (
        "from pathlib import Path; import edge_inspector.health.power.helper as helper, sys;"
        f"helper.Path = lambda text: Path({str(board.root)!r}) if text == '/' else Path(text); helper.main()"
    )
    server = subprocess.Popen(
        [
            "systemd-socket-activate",
            "-l",
            str(path),
            "-E",
            "PATH",
            "-E",
            "STATE_DIRECTORY",
            sys.executable,
            "-c",
            program,
        ],
        env={**os.environ, "STATE_DIRECTORY": str(tmp_path / "kept")},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert _asked_when_it_listens(path, b"clocks on\n") == b"ok\n"
        assert [kept.name for kept in (tmp_path / "kept").iterdir()] == ["clocks-mode-0.conf"]
    finally:
        server.kill()
        server.wait(10)


def _asked_when_it_listens(path: Path, request: bytes) -> bytes:
    deadline = time.monotonic() + 20
    while True:
        try:
            return asked(path, request)
        except (FileNotFoundError, ConnectionRefusedError):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _all(client: socket.socket) -> bytes:
    client.settimeout(5)
    said = b""
    try:
        while more := client.recv(4096):
            said += more
    except ConnectionResetError:  # it had not read all that we sent
        pass
    return said
