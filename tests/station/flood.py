"""A program that asks a station for everything that people may ask it for, as fast as it is answered."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading
from pathlib import Path

SIDE = 64


def ask(path: str, request: dict[str, object]) -> None:
    with socket.socket(socket.AF_UNIX) as station:
        station.settimeout(10)
        station.connect(path)
        station.sendall(json.dumps(request).encode() + b"\n")
        with station.makefile("rb") as lines:
            json.loads(lines.readline())


def order(path: str, name: str, **arguments: object) -> None:
    ask(path, {"command": "order", "name": name, "who": "flood", "arguments": arguments})


def post(path: str, camera: str, number: int, side: int) -> None:
    file = Path(path).parent / "inbox" / f"{number}.raw"
    file.write_bytes(bytes([number % 256]) * side * side)
    picture = {"file": file.name, "shape": [side, side], "dtype": "uint8", "pixel_format": "Mono8"}
    order(path, "inspect", part_id=f"flood-{number}", pictures={camera: picture})
    file.unlink(missing_ok=True)


def main() -> None:
    path, camera, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
    kinds = [
        lambda n: ask(path, {"command": "metrics"}),
        lambda n: ask(path, {"command": "status"}),
        lambda n: order(path, "live", camera=camera),
        lambda n: order(path, "reset"),
        lambda n: order(path, "audit", what="image_read", detail=f"picture {n}"),
        lambda n: order(path, "fly", number=n),
        lambda n: ask(path, {"command": "x" * 4000}),
    ]

    def for_ever(number: int) -> None:
        for n in itertools.count():
            kinds[number % len(kinds)](n)

    for number in range(3 * len(kinds)):
        threading.Thread(target=for_ever, args=(number,), daemon=True).start()
    for number in itertools.count():
        post(path, camera, number, side)


if __name__ == "__main__":
    main()
