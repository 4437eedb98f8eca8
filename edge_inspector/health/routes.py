"""Whether packets find the way between this machine and its GigE cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

from edge_inspector.health.finding import Finding, judged, keep_sysctl, number, text

STRICT, LOOSE = 1, 2
"""Values of rp_filter (ip-sysctl.rst of the kernel)."""
LINK_LOCAL = IPv4Network("169.254.0.0/16")


@dataclass(frozen=True)
class GigeCamera:
    """A camera that pylon sees: its address and mask, and the address of this machine's interface, empty = not told."""

    name: str
    ip: str
    interface: str = ""
    subnet: str = "255.255.255.0"


@dataclass(frozen=True)
class Route:
    interface: str
    network: IPv4Network
    direct: bool
    """The network lies on the interface itself, not behind a gateway."""


def routes_of(root: Path) -> list[Route]:
    """The longest prefix first; addresses stand in /proc/net/route as hexadecimal in the machine's byte order."""
    routes = []
    for line in (text(root, "proc/net/route") or "").splitlines()[1:]:
        name, destination, gateway, _, _, _, _, mask = line.split()[:8]
        network = IPv4Network((_from_hex(destination), str(IPv4Address(_from_hex(mask)))))
        routes.append(Route(name, network, direct=int(gateway, 16) == 0 and network.prefixlen > 0))
    return sorted(routes, key=lambda route: -route.network.prefixlen)


def _from_hex(value: str) -> int:
    return int.from_bytes(int(value, 16).to_bytes(4, "little"), "big")


def interface_of(camera: GigeCamera, routes: Sequence[Route]) -> str:
    """By what pylon says, else by the route to the camera; empty = it cannot be told."""
    for address in (camera.interface, camera.ip):
        for route in routes:
            if route.direct and _is_in(address, route.network):
                return route.interface
    return ""


def _is_in(address: str, network: IPv4Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:  # not told
        return False


def reachable(root: Path, camera: GigeCamera, interface: str, routes: Sequence[Route]) -> Iterator[Finding]:
    """Whether packets to and from the camera's address use the interface that it hangs on."""
    direct = [route for route in routes if route.direct and _is_in(camera.ip, route.network)]
    nearest = [route for route in direct if route.network == direct[0].network]
    ways = sorted({route.interface for route in nearest})
    expected = f"an address in the subnet of {interface}" if interface else "an address in the subnet of its interface"
    own = next((str(r.network) for r in routes if r.direct and r.interface == interface), "no subnet")
    if len(ways) > 1:
        both = " and ".join(ways)
        yield judged(
            "network.address",
            camera.name,
            "fail",
            f"{camera.ip}; {both} are in the same subnet {nearest[0].network}",
            "one interface in each subnet",
            "The kernel sends through one of them, whichever the camera hangs on.",
            f"give {both} and their cameras a subnet each",
        )
    elif not any(route.interface == interface for route in direct):
        yield judged(
            "network.address",
            camera.name,
            "fail",
            f"{camera.ip}; {interface or 'the interface it hangs on'} has {own}",
            expected,
            "A camera of another subnet is found by broadcast, but cannot be opened.",
            f"sudo ip address add {_beside(camera)} dev {interface or 'INTERFACE'}"
            " # or give the camera an address of that subnet (pylon IP Configurator)",
        )
    elif ways != [interface]:
        yield judged(
            "network.address",
            camera.name,
            "fail",
            f"{camera.ip}; the way to it is {ways[0]}, it hangs on {interface}",
            f"the way to it is {interface}",
            f"{nearest[0].network} of {ways[0]} is the narrower subnet: the kernel sends what is for the camera there.",
            f"sudo ip route add {camera.ip}/32 dev {interface} # or give {ways[0]} another subnet",
        )
    elif _is_in(camera.ip, LINK_LOCAL):
        yield judged(
            "network.address",
            camera.name,
            "warn",
            f"{camera.ip}, which the camera has chosen itself",
            "a fixed address",
            "It found no DHCP server and has no address stored: after a power cut it may have another one.",
            "store a fixed address in the camera (pylon IP Configurator)",
        )
    else:
        yield judged(
            "network.address", camera.name, "ok", f"{camera.ip} in {nearest[0].network} of {interface}", expected
        )
    if interface:
        yield _reverse_path(root, camera, interface, routes)


def _beside(camera: GigeCamera) -> str:
    """An address for this machine in the camera's subnet, with its prefix length."""
    network = IPv4Network(f"{camera.ip}/{camera.subnet or 24}", strict=False)
    if not 8 <= network.prefixlen <= 30:  # a camera without a mask says 0.0.0.0
        network = IPv4Network(f"{camera.ip}/24", strict=False)
    first = network[1] if str(network[1]) != camera.ip else network[2]
    return f"{first}/{network.prefixlen}"


def _reverse_path(root: Path, camera: GigeCamera, interface: str, routes: Sequence[Route]) -> Finding:
    """The kernel takes the larger of `all` and the interface's own (ip-sysctl.rst)."""
    conf = "proc/sys/net/ipv4/conf"
    mode = max(number(root, f"{conf}/{name}/rp_filter") or 0 for name in ("all", interface))
    back = next((route.interface for route in routes if _is_in(camera.ip, route.network)), "no interface")
    return judged(
        "network.reverse_path",
        camera.name,
        "fail" if mode == STRICT and back != interface else "ok",
        f"rp_filter = {mode} on {interface}; the way back to {camera.ip} is {back}",
        f"the way back is {interface}, or rp_filter 0 or {LOOSE}",
        "A strict reverse-path filter (1) throws away packets whose way back is another interface (RFC 3704).",
        keep_sysctl(f"net/ipv4/conf/{interface}/rp_filter", LOOSE),
    )
