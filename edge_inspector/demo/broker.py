"""The demo's MQTT broker: amqtt in a child process. Pure Python, MIT licence, nothing to install, no root.

It speaks MQTT 3.1.1 only and keeps nothing over a restart: a real site uses Mosquitto.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time

from edge_inspector.errors import OutputError

HOST = "127.0.0.1"  # a demo without passwords is not for the network
_POLL_S = 0.02


def main(port: int) -> None:
    """Serve until SIGTERM or SIGINT. OutputError when the port is taken."""
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it calls a client that just looks in an error
    asyncio.run(_serve(port))


def wait_until_listening(port: int, timeout_s: float) -> None:
    """Returns when something accepts connections on the loopback port. OutputError when nothing does in time."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection((HOST, port), timeout=timeout_s):
                return
        except OSError as exc:
            if time.monotonic() >= end:
                raise OutputError(f"no broker listens on {HOST}:{port} after {timeout_s:g} s: {exc}") from exc
        time.sleep(_POLL_S)


async def _serve(port: int) -> None:
    from amqtt.broker import Broker
    from amqtt.errors import BrokerError

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await broker.start()
    except BrokerError as exc:
        raise OutputError(f"demo broker cannot listen on {HOST}:{port}: {exc}; choose another port") from exc
    try:
        await stop.wait()
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
