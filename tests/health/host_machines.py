"""Machines laid out in a folder: the files of /proc, /sys and /dev that the checks read."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max open files            {files}                 524288               files
Max realtime priority     {priority}                    {priority}                    \n"""


def routes(*lines: tuple[str, str, str]) -> str:
    """/proc/net/route of (interface, network, gateway), as Linux on x86 and ARM writes it."""

    def little(address: object) -> str:
        return IPv4Address(str(address)).packed[::-1].hex().upper()

    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    rows = []
    for interface, network, gateway in lines:
        net = IPv4Network(network)
        flags = "0001" if gateway == "0.0.0.0" else "0003"
        destination, mask = little(net.network_address), little(net.netmask)
        rows.append(f"{interface}\t{destination}\t{little(gateway)}\t{flags}\t0\t0\t0\t{mask}\t0\t0\t0\n")
    return head + "".join(rows)


OFFICE = ("eno1", "10.0.0.0/24", "0.0.0.0")
CAMERAS = ("enp2s0", "192.168.5.0/24", "0.0.0.0")
OUT = ("eno1", "0.0.0.0/0", "10.0.0.1")

HEALTHY = {
    "proc/net/route": routes(OUT, OFFICE, CAMERAS),
    "proc/net/softnet_stat": "0000a1b2 00000000 00000000\n0000c3d4 00000000 00000000\n",
    "proc/sys/net/core/rmem_max": "2097152\n",
    "proc/sys/net/core/rmem_default": "212992\n",
    "proc/sys/net/core/netdev_max_backlog": "1000\n",
    "proc/sys/net/ipv4/conf/all/rp_filter": "0\n",
    "proc/sys/net/ipv4/conf/enp2s0/rp_filter": "1\n",
    "proc/self/limits": LIMITS.format(files=4096, priority=99),
    "proc/self/status": "Name:\tpython\nCapEff:\t0000000000000000\n",
    "proc/self/mounts": "/dev/sda1 / ext4 rw\ntmpfs /run tmpfs rw\n"
    "/dev/sda2 /run/disk ext4 rw\ntmpfs /mnt/of\\040memory tmpfs rw\n",
    "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n",
    "proc/uptime": "260000.12 1000000.00\n",
    "sys/class/net/lo/type": "772\n",
    "sys/class/net/eno1/type": "1\n",
    "sys/class/net/eno1/mtu": "1500\n",
    "sys/class/net/eno1/device/vendor": "0x8086\n",
    "sys/class/net/enp2s0/type": "1\n",
    "sys/class/net/enp2s0/mtu": "9000\n",
    "sys/class/net/enp2s0/speed": "1000\n",
    "sys/class/net/enp2s0/device/vendor": "0x8086\n",
    "sys/class/net/enp2s0/statistics/rx_crc_errors": "0\n",
    "sys/class/net/enp2s0/statistics/rx_missed_errors": "0\n",
    "sys/class/net/enp2s0/statistics/rx_fifo_errors": "0\n",
    "sys/class/net/br0/type": "1\n",
    "sys/class/net/can0/type": "280\n",
    "sys/class/net/can0/device/vendor": "0x1d50\n",
    "sys/class/net/wlan0/type": "1\n",
    "sys/class/net/wlan0/device/vendor": "0x8086\n",
    "sys/class/net/wlan0/wireless/status": "\n",
    "sys/bus/usb/devices/usb2/idVendor": "1d6b\n",
    "sys/bus/usb/devices/2-1/idVendor": "2676\n",
    "sys/bus/usb/devices/2-1/product": "acA1920-155um\n",
    "sys/bus/usb/devices/2-1/serial": "24001122\n",
    "sys/bus/usb/devices/2-1/speed": "5000\n",
    "sys/bus/usb/devices/2-1/busnum": "2\n",
    "sys/bus/usb/devices/2-1/devnum": "3\n",
    "sys/module/usbcore/parameters/usbfs_memory_mb": "1000\n",
    "dev/bus/usb/002/003": "",
    "sys/class/video4linux/video0/name": "UVC Camera: Top\n",
    "sys/class/video4linux/video0/index": "0\n",
    "dev/video0": "",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "performance\n",
    "proc/1/cmdline": "/sbin/init\0",
    "proc/1/maps": "",
}
"""A station on which all is well: a GigE camera on enp2s0, a USB 3 camera, a video camera."""


def lay_out(root: Path) -> None:
    """Write the healthy machine's files below `root`."""
    for path, content in HEALTHY.items():
        write(root, path, content)
    for node in ("dev/bus/usb/002/003", "dev/video0"):
        (root / node).chmod(0o666)


def write(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content, encoding="utf-8")
