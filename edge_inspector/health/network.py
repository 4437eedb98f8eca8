"""Checks of the network that GigE cameras hang on."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from edge_inspector.health.finding import Finding, judged, keep_sysctl, number, text
from edge_inspector.health.routes import GigeCamera, interface_of, reachable, routes_of

NO_CAMERA = "no GigE camera seen"
JUMBO_MTU = 8192
"""Basler's README of pylon for Linux: "We recommend using a value of 8192"."""
MTU_TO_SET = 9000
"""What network cards and switches that know jumbo frames have in common."""
PLAIN_MTU = 1500
RMEM_MAX = 2 * 1024 * 1024
"""Basler's README of pylon for Linux: "A maximum size of 2 MB is recommended"."""
RMEM_DEFAULT = 212992
"""Linux's own."""
BACKLOG = 5000
"""Packets: 60 ms of a full gigabit at 1500 bytes; Linux's own 1000 are 12 ms, less than a busy core's pause."""
GIGABIT = 1000
_ETHERNET = 1  # ARPHRD_ETHER
_ETHTOOL_GRINGPARAM, _SIOCETHTOOL = 0x10, 0x8946  # linux/ethtool.h, linux/sockios.h

RingSizes: TypeAlias = Callable[[str], "tuple[int, int] | None"]
"""Interface -> receive descriptors (now, most); None = the driver does not say."""


def network_findings(root: Path, cameras: Sequence[GigeCamera], ring: RingSizes) -> Iterator[Finding]:
    """The interfaces that cameras hang on, without a camera every physical one; then the kernel's buffers."""
    routes = routes_of(root)
    used: list[str] = []
    for camera in cameras:
        interface = interface_of(camera, routes)
        yield from reachable(root, camera, interface, routes)
        if interface and interface not in used:
            used.append(interface)
    for interface in used:
        yield _mtu(root, interface)
        yield _speed(root, interface)
        yield _cable(root, interface)
        yield _ring(root, interface, ring(interface))
    if not cameras:
        yield judged("network.camera", "", "note", NO_CAMERA)
        yield from (_mtu_unused(root, interface) for interface in _physical(root))
    yield from _kernel_buffers(root, bool(cameras))


def ring_sizes(interface: str) -> tuple[int, int] | None:
    """A network card's receive descriptors (now, most), asked of its driver as `ethtool -g` does; needs no root."""
    answer = (ctypes.c_uint32 * 9)(_ETHTOOL_GRINGPARAM)
    request = struct.pack("16sP16x", interface.encode()[:15], ctypes.addressof(answer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            fcntl.ioctl(asked, _SIOCETHTOOL, request)
        except OSError:
            return None
    return (answer[5], answer[1]) if answer[1] else None


def _mtu(root: Path, interface: str) -> Finding:
    mtu = number(root, f"sys/class/net/{interface}/mtu") or 0
    return judged(
        "network.mtu",
        interface,
        "ok" if mtu >= JUMBO_MTU else "warn" if mtu >= PLAIN_MTU else "fail",
        f"{mtu} bytes",
        f"at least {JUMBO_MTU}",
        "Basler recommends jumbo frames: at 1500 bytes a full gigabit is 80 000 packets a second, and a busy machine"
        " loses some of them; below 1500 a packet of a camera's default size does not arrive at all.",
        f"sudo ip link set dev {interface} mtu {MTU_TO_SET}",
    )


def _mtu_unused(root: Path, interface: str) -> Finding:
    mtu = number(root, f"sys/class/net/{interface}/mtu") or 0
    expected = f"at least {JUMBO_MTU} where a GigE camera hangs"
    if mtu >= JUMBO_MTU:
        return judged("network.mtu", interface, "ok", f"{mtu} bytes", expected)
    return judged("network.mtu", interface, "note", f"{mtu} bytes; {NO_CAMERA}", expected)


def _speed(root: Path, interface: str) -> Finding:
    speed = number(root, f"sys/class/net/{interface}/speed") or -1
    expected = f"at least {GIGABIT} Mbit/s"
    if speed < 0:
        return judged("network.speed", interface, "note", "its driver does not say", expected)
    return judged(
        "network.speed",
        interface,
        "ok" if speed >= GIGABIT else "fail",
        f"{speed} Mbit/s",
        expected,
        "A gigabit port falls back to 100 Mbit/s when one pair of the cable is broken or the switch knows no more.",
        f"change the cable (Cat 5e or better) and the port; then: cat /sys/class/net/{interface}/speed",
    )


def _cable(root: Path, interface: str) -> Finding:
    damaged = number(root, f"sys/class/net/{interface}/statistics/rx_crc_errors") or 0
    return judged(
        "network.cable",
        interface,
        "warn" if damaged else "ok",
        f"{damaged} damaged packets since start",
        "0",
        "Packets with a wrong check sum come from the cable, a plug or interference.",
        f"change the cable; watch: ip -s -s link show dev {interface}",
    )


def _ring(root: Path, interface: str, ring: tuple[int, int] | None) -> Finding:
    """Packets that the network card had no room for; they cost a picture even when all else is right."""
    lost = sum(
        number(root, f"sys/class/net/{interface}/statistics/{name}") or 0
        for name in ("rx_missed_errors", "rx_fifo_errors")
    )
    if ring is None:
        size, room = "size not told by its driver", False
    else:
        size, room = f"{ring[0]} of at most {ring[1]} receive descriptors", ring[0] < ring[1]
    remedy = (
        f"sudo ethtool -G {interface} rx {ring[1]}"
        if ring is not None and room
        else "lower the cameras' bandwidth: GevSCPD in [cameras.NAME.features]"
    )
    return judged(
        "network.ring",
        interface,
        "warn" if lost else "ok",
        f"{lost} packets lost since start; {size}",
        "no packet lost" + (f"; {ring[1]} descriptors" if ring is not None and lost and room else ""),
        "What the card cannot store while the CPU is busy is lost; Basler's GigE Configurator sets the most.",
        remedy,
    )


def _physical(root: Path) -> list[str]:
    """Ethernet interfaces with a device behind them, not bridges, tunnels or radio."""
    folder = root / "sys/class/net"
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [
        name
        for name in found
        if (folder / name / "device").exists()
        and number(root, f"sys/class/net/{name}/type") == _ETHERNET
        and not (folder / name / "wireless").exists()
    ]


def _kernel_buffers(root: Path, needed: bool) -> Iterator[Finding]:
    largest = number(root, "proc/sys/net/core/rmem_max")
    if largest is not None:
        yield judged(
            "network.rmem_max",
            "",
            "ok" if largest >= RMEM_MAX else "fail" if needed else "note",
            f"{largest} bytes" + ("" if needed or largest >= RMEM_MAX else f"; {NO_CAMERA}"),
            f"at least {RMEM_MAX}",
            "Basler recommends 2 MB for a stable image acquisition: the socket's buffer holds the packets while the CPU"
            " is busy, and what does not fit leaves an incomplete picture.",
            keep_sysctl("net.core.rmem_max", RMEM_MAX),
        )
    default = number(root, "proc/sys/net/core/rmem_default")
    if default is not None:
        yield judged(
            "network.rmem_default",
            "",
            "ok" if default >= RMEM_DEFAULT else "warn",
            f"{default} bytes",
            f"at least {RMEM_DEFAULT}",
            "Sockets that ask for no size get this one, as RTSP over UDP does; it is smaller than Linux's own.",
            keep_sysctl("net.core.rmem_default", RMEM_DEFAULT),
        )
    backlog = number(root, "proc/sys/net/core/netdev_max_backlog")
    if backlog is not None:
        dropped = sum(int(line.split()[1], 16) for line in (text(root, "proc/net/softnet_stat") or "").splitlines())
        small = backlog < BACKLOG
        yield judged(
            "network.backlog",
            "",
            "warn" if dropped and small else "ok" if not small or needed else "note",
            f"{backlog} packets, {dropped} dropped since start",
            f"none dropped, or at least {BACKLOG}",
            "Packets wait here when they come faster than a core takes them; what does not fit is dropped.",
            keep_sysctl("net.core.netdev_max_backlog", BACKLOG),
        )
