"""Loaded into the real program by PYTHONPATH: on order it breaks one of its threads or tasks, its loop or its breath.

Orders are JSON datagrams to the socket that SABOTEUR names; each is answered in the file beside it, one line each.
`{"do": "list"}` names all threads and tasks; `asleep` are the threads that wait for work without a time-out, in which
nothing can be raised before some comes. `raise`: a Sabotage comes up in the thread or the task `name`. `block`: the
event loop sleeps for `s` seconds. `busy`: a thread of pure Python runs for `s` seconds. `garbage`: for `s` seconds the
oldest generation is collected again and again over `n` objects.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import socket
import sys
import threading
import time
from typing import Any


class Sabotage(Exception):
    """What nobody expected."""


def _tasks() -> list[asyncio.Task[Any]]:
    """Of every loop; asyncio keeps them in a set whose name has changed with Python 3.12."""
    kept = getattr(asyncio.tasks, "_scheduled_tasks", None) or asyncio.tasks._all_tasks  # type: ignore[attr-defined]
    return [task for task in list(kept) if not task.done()]


def _asleep(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or frame.f_code.co_filename != threading.__file__ or frame.f_code.co_name != "wait":
        return False
    return "timeout" in frame.f_locals and frame.f_locals["timeout"] is None


def _in_thread(name: str) -> bool:
    """Have it raised where the thread runs its next line of Python; a call in C ends first."""
    idents = [thread.ident for thread in threading.enumerate() if thread.name == name]
    for ident in idents:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident or 0), ctypes.py_object(Sabotage))
    return bool(idents)


def _in_task(name: str) -> bool:
    """Have it raised by what the task awaits."""
    found = [task for task in _tasks() if task.get_name() == name]
    for task in found:
        task.get_loop().call_soon_threadsafe(_throw, task, time.monotonic() + 10.0)
    return bool(found)


def _throw(task: asyncio.Task[Any], until: float) -> None:
    waits_for = getattr(task, "_fut_waiter", None)
    if waits_for is not None and not waits_for.done() and not isinstance(waits_for, asyncio.Task):
        waits_for.set_exception(Sabotage(f"of task {task.get_name()}"))
    elif not task.done() and time.monotonic() < until:  # it runs, or waits for another task: look again
        task.get_loop().call_later(0.001, _throw, task, until)


def _busy(seconds: float) -> None:
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        count += 1


def _garbage(seconds: float, count: int) -> None:
    end, heap = time.monotonic() + seconds, [[i] for i in range(count)]
    while heap and time.monotonic() < end:
        gc.collect()


def _obey(order: dict[str, Any]) -> object:
    seconds = float(order.get("s", 0.0))
    if order["do"] == "list":
        threads = [thread.name for thread in threading.enumerate() if thread.name != "saboteur"]
        return {
            "threads": sorted(threads),
            "asleep": sorted(thread.name for thread in threading.enumerate() if _asleep(thread)),
            "tasks": sorted(task.get_name() for task in _tasks()),
        }
    if order["do"] == "raise":
        return _in_thread(order["name"]) if order.get("in") == "thread" else _in_task(order["name"])
    if order["do"] == "block":
        loops = {task.get_loop() for task in _tasks()}
        for loop in loops:
            loop.call_soon_threadsafe(time.sleep, seconds)
        return len(loops)
    work, given = (_busy, (seconds,)) if order["do"] == "busy" else (_garbage, (seconds, order["n"]))
    threading.Thread(target=work, args=given, name="saboteur", daemon=True).start()
    return True


def _listen(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as orders, open(path + ".did", "a", buffering=1) as did:
        orders.bind(path)
        while True:
            order = json.loads(orders.recv(4096))
            did.write(json.dumps({"order": order["number"], "did": _obey(order)}) + "\n")


_path = os.environ.pop("SABOTEUR", "")  # for this process, not for its children
if _path:
    if os.path.exists(_path):
        os.unlink(_path)
    threading.Thread(target=_listen, args=(_path,), name="saboteur", daemon=True).start()
