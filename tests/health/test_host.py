"""Broken machines: what the checks say of each, and the command that mends it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from host_machines import CAMERAS, LIMITS, OFFICE, OUT, lay_out, routes, write

from edge_inspector.health.finding import Finding
from edge_inspector.health.holders import GIGE_LIBRARY, Process, holders_of, users_of
from edge_inspector.health.host import Place, camera_limits, free_bytes, host_findings
from edge_inspector.health.network import network_findings, ring_sizes
from edge_inspector.health.routes import GigeCamera
from edge_inspector.health.usb import UsbCamera, usb_cameras, usb_findings
from edge_inspector.health.video import VideoDevice, video_devices, video_findings

MB = 2**20
CAMERA = GigeCamera("a2A1920-51gmBAS 40012345", "192.168.5.20", "192.168.5.1")
PLACE = Place(Path("/var/lib/edge-inspector"), Path("/run/edge-inspector"), "vision")
RING = {"enp2s0": (256, 4096)}

ENP2S0_RP_FILTER = (
    "echo 'net/ipv4/conf/enp2s0/rp_filter = 2' | sudo tee /etc/sysctl.d/60-net.ipv4.conf.enp2s0.rp_filter.conf"
    " && sudo sysctl -p /etc/sysctl.d/60-net.ipv4.conf.enp2s0.rp_filter.conf"
)
USBFS = (
    "echo 'w /sys/module/usbcore/parameters/usbfs_memory_mb - - - - 1000' | sudo tee /etc/tmpfiles.d/60-usbfs.conf"
    " && sudo systemd-tmpfiles --create /etc/tmpfiles.d/60-usbfs.conf"
)
UDEV = (
    """echo 'SUBSYSTEM=="usb", ATTRS{idVendor}=="2676", MODE="0666", TAG+="uaccess"' """
    "| sudo tee /etc/udev/rules.d/69-basler-cameras.rules && sudo udevadm control --reload"
    " && sudo udevadm trigger --attr-match=idVendor=2676"
)


def sysctl(key: str, value: int) -> str:
    return (
        f"echo '{key} = {value}' | sudo tee /etc/sysctl.d/60-{key}.conf && sudo sysctl -p /etc/sysctl.d/60-{key}.conf"
    )


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    lay_out(tmp_path / "root")
    return tmp_path / "root"


def examined(
    root: Path,
    cameras: Sequence[GigeCamera] = (CAMERA,),
    place: Place = PLACE,
    synced: bool = True,
    free_mb: int = 50_000,
) -> list[Finding]:
    return [
        *network_findings(root, cameras, RING.get),
        *usb_findings(root, usb_cameras(root)),
        *video_findings(video_devices(root), place.user),
        *camera_limits(root, place.user, bool(cameras), by_unit=False),
        *host_findings(root, place, synced, lambda _: free_mb * MB),
    ]


def wrong(findings: list[Finding]) -> list[tuple[str, str, str, str, str]]:
    """What is not in order, without the expectation and the reason."""
    return [(f.level, f.check, f.subject, f.found, f.remedy) for f in findings if f.level in ("warn", "fail")]


def test_a_healthy_station_has_nothing_to_mend(machine: Path) -> None:
    findings = examined(machine)
    assert {f.check for f in findings if f.level == "ok"} == {
        *("network.address", "network.reverse_path", "network.mtu", "network.speed", "network.cable", "network.ring"),
        *("network.rmem_max", "network.rmem_default", "network.backlog"),
        *("usb.speed", "usb.permission", "usb.usbfs_memory", "video.permission"),
        *("limits.open_files", "limits.real_time", "clock.synchronised", "disk.free", "disk.runtime"),
        *("memory.swap", "cpu.governor", "machine.up"),
    }
    assert [f for f in findings if f.level != "ok"] == []
    assert all(not f.remedy and not f.why for f in findings)


SLASH_24 = "192.168.5.0/24"
BROKEN = [
    pytest.param(
        {"sys/class/net/enp2s0/mtu": "1500\n"},
        ("warn", "network.mtu", "enp2s0", "1500 bytes", "sudo ip link set dev enp2s0 mtu 9000"),
        id="no jumbo frames",
    ),
    pytest.param(
        {"sys/class/net/enp2s0/mtu": "8191\n"},
        ("warn", "network.mtu", "enp2s0", "8191 bytes", "sudo ip link set dev enp2s0 mtu 9000"),
        id="jumbo frames one byte short of what Basler recommends",
    ),
    pytest.param(
        {"sys/class/net/enp2s0/mtu": "1400\n"},
        ("fail", "network.mtu", "enp2s0", "1400 bytes", "sudo ip link set dev enp2s0 mtu 9000"),
        id="packets smaller than a camera's default",
    ),
    pytest.param(
        {"sys/class/net/enp2s0/speed": "100\n"},
        (
            *("fail", "network.speed", "enp2s0", "100 Mbit/s"),
            "change the cable (Cat 5e or better) and the port; then: cat /sys/class/net/enp2s0/speed",
        ),
        id="a broken pair in the cable",
    ),
    pytest.param(
        {"sys/class/net/enp2s0/statistics/rx_crc_errors": "3\n"},
        (
            *("warn", "network.cable", "enp2s0", "3 damaged packets since start"),
            "change the cable; watch: ip -s -s link show dev enp2s0",
        ),
        id="interference on the cable",
    ),
    pytest.param(
        {
            "sys/class/net/enp2s0/statistics/rx_missed_errors": "2\n",
            "sys/class/net/enp2s0/statistics/rx_fifo_errors": "5\n",
        },
        (
            *("warn", "network.ring", "enp2s0", "7 packets lost since start; 256 of at most 4096 receive descriptors"),
            "sudo ethtool -G enp2s0 rx 4096",
        ),
        id="a small ring buffer that has overflowed",
    ),
    pytest.param(
        {"proc/sys/net/core/rmem_max": "212992\n"},
        ("fail", "network.rmem_max", "", "212992 bytes", sysctl("net.core.rmem_max", 2097152)),
        id="Linux's own receive buffer",
    ),
    pytest.param(
        {"proc/sys/net/core/rmem_default": "65536\n"},
        ("warn", "network.rmem_default", "", "65536 bytes", sysctl("net.core.rmem_default", 212992)),
        id="somebody has made the default buffer smaller",
    ),
    pytest.param(
        {"proc/net/softnet_stat": "0000a1b2 00000010 00000000\n0000c3d4 00000002 00000000\n"},
        (
            *("warn", "network.backlog", "", "1000 packets, 18 dropped since start"),
            sysctl("net.core.netdev_max_backlog", 5000),
        ),
        id="packets dropped before the socket",
    ),
    pytest.param(
        {"proc/net/route": routes(OUT, OFFICE, ("enp2s0", "192.168.7.0/24", "0.0.0.0"))},
        (
            *("fail", "network.address", CAMERA.name, "192.168.5.20; the interface it hangs on has no subnet"),
            "sudo ip address add 192.168.5.1/24 dev INTERFACE"
            " # or give the camera an address of that subnet (pylon IP Configurator)",
        ),
        id="the camera has an address of another subnet, and pylon does not say where",
    ),
    pytest.param(
        {"proc/net/route": routes(OUT, OFFICE, CAMERAS, ("enp3s0", SLASH_24, "0.0.0.0"))},
        (
            *("fail", "network.address", CAMERA.name),
            "192.168.5.20; enp2s0 and enp3s0 are in the same subnet 192.168.5.0/24",
            "give enp2s0 and enp3s0 and their cameras a subnet each",
        ),
        id="two interfaces in one subnet",
    ),
    pytest.param(
        {"sys/bus/usb/devices/2-1/speed": "480\n"},
        (
            *("fail", "usb.speed", "24001122", "480 Mbit/s"),
            "plug it into a USB 3 port of the machine itself, with a screwed USB 3 cable up to 5 m; then: lsusb -t",
        ),
        id="a USB 3 camera in a USB 2 port",
    ),
    pytest.param(
        {"sys/module/usbcore/parameters/usbfs_memory_mb": "16\n"},
        ("fail", "usb.usbfs_memory", "", "16 MB", USBFS),
        id="Linux's own USB memory",
    ),
    pytest.param(
        {"sys/module/usbcore/parameters/usbfs_memory_mb": "200\n"},
        ("warn", "usb.usbfs_memory", "", "200 MB", USBFS),
        id="more USB memory, but less than Basler recommends",
    ),
    pytest.param(
        {"proc/self/limits": LIMITS.format(files=1024, priority=99)},
        (
            *("warn", "limits.open_files", "", "1024, at most 524288, in this shell"),
            "ulimit -n 4096 # in a service: LimitNOFILE=4096",
        ),
        id="few open files",
    ),
    pytest.param(
        {"proc/self/limits": LIMITS.format(files=4096, priority=0)},
        (
            *("warn", "limits.real_time", "", "not allowed for this user"),
            "echo 'vision - rtprio 99' | sudo tee /etc/security/limits.d/60-edge-inspector.conf"
            " # then log in again; in a service: LimitRTPRIO=99",
        ),
        id="no real-time priority for pylon's receive thread",
    ),
    pytest.param(
        {"proc/self/mounts": "/dev/sda1 / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n"},
        (
            *("warn", "disk.runtime", "/run/edge-inspector", "ext4"),
            'runtime_dir = "/dev/shm/edge-inspector" in [station]; in a service: RuntimeDirectory=edge-inspector',
        ),
        id="the runtime folder lies on a disk",
    ),
    pytest.param(
        {
            "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0\tpartition\t9\t4096\t5\n"
            "/swapfile\tfile\t2097148\t10240\t-2\n"
        },
        (
            *("warn", "memory.swap", "", "10 MB swapped out to /swapfile"),
            "free memory, then: sudo swapoff -a && sudo swapon -a",
        ),
        id="memory on a disk, not that in zram",
    ),
    pytest.param(
        {"sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "schedutil\n"},
        (
            *("warn", "cpu.governor", "", "performance, schedutil"),
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        ),
        id="one core that saves power",
    ),
]
GOVERNED = "sys/devices/system/cpu/cpu1/cpufreq/scaling_"


@pytest.mark.parametrize(("changed", "expected"), BROKEN)
def test_a_broken_machine_gets_one_verdict_and_the_command_that_mends_it(
    machine: Path, changed: dict[str, str], expected: tuple[str, str, str, str, str]
) -> None:
    for path, content in changed.items():
        write(machine, path, content)
    findings = examined(machine, [GigeCamera(CAMERA.name, CAMERA.ip)])
    assert wrong(findings) == [expected]
    assert all(f.why and f.expected for f in findings if f.level in ("warn", "fail"))


REMEDIES = [cast("tuple[dict[str, str], tuple[str, ...]]", row.values)[1][4] for row in BROKEN]


@pytest.mark.parametrize("command", [*REMEDIES, ENP2S0_RP_FILTER, UDEV])
def test_what_mends_is_a_line_that_a_shell_can_read_or_plain_words(command: str) -> None:
    if command.startswith(("sudo ", "echo ", "ulimit ", "kill ")):
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert command[0].islower()


def test_a_camera_of_another_subnet_than_its_interface_cannot_be_opened_nor_answered(machine: Path) -> None:
    """pylon has found it by broadcast on enp2s0."""
    found = wrong(examined(machine, [GigeCamera("cam", "192.168.9.1", "192.168.5.1", "255.255.255.128")]))
    add = "sudo ip address add 192.168.9.2/25 dev enp2s0"
    assert found == [
        (
            *("fail", "network.address", "cam", "192.168.9.1; enp2s0 has 192.168.5.0/24"),
            f"{add} # or give the camera an address of that subnet (pylon IP Configurator)",
        ),
        (
            *("fail", "network.reverse_path", "cam", "rp_filter = 1 on enp2s0; the way back to 192.168.9.1 is eno1"),
            ENP2S0_RP_FILTER,
        ),
    ]


@pytest.mark.parametrize("subnet", ["", "0.0.0.0", "255.255.255.255"])
def test_a_camera_without_a_usable_mask_is_met_in_a_small_subnet(machine: Path, subnet: str) -> None:
    found = wrong(examined(machine, [GigeCamera("cam", "192.168.9.20", "192.168.5.1", subnet)]))
    assert found[0][4].startswith("sudo ip address add 192.168.9.1/24 dev enp2s0 ")


@pytest.mark.parametrize("mode", ["0", "2"])
def test_a_loose_reverse_path_filter_lets_a_camera_of_another_subnet_answer(machine: Path, mode: str) -> None:
    write(machine, "proc/sys/net/ipv4/conf/enp2s0/rp_filter", mode)
    found = wrong(examined(machine, [GigeCamera("cam", "192.168.9.20", "192.168.5.1")]))
    assert [row[1] for row in found] == ["network.address"]


def test_the_stricter_setting_for_all_interfaces_counts(machine: Path) -> None:
    write(machine, "proc/sys/net/ipv4/conf/enp2s0/rp_filter", "0")
    write(machine, "proc/sys/net/ipv4/conf/all/rp_filter", "1")
    found = wrong(examined(machine, [GigeCamera("cam", "192.168.9.20", "192.168.5.1")]))
    assert [row[1] for row in found] == ["network.address", "network.reverse_path"]


def test_a_longer_route_through_another_interface_takes_the_packets_away(machine: Path) -> None:
    write(machine, "proc/net/route", routes(OUT, OFFICE, CAMERAS, ("tun0", "192.168.5.16/28", "0.0.0.0")))
    found = wrong(examined(machine, [GigeCamera("cam", "192.168.5.20", "192.168.5.1")]))
    assert found == [
        (
            *("fail", "network.address", "cam", "192.168.5.20; the way to it is tun0, it hangs on enp2s0"),
            "sudo ip route add 192.168.5.20/32 dev enp2s0 # or give tun0 another subnet",
        ),
        (
            *("fail", "network.reverse_path", "cam", "rp_filter = 1 on enp2s0; the way back to 192.168.5.20 is tun0"),
            ENP2S0_RP_FILTER,
        ),
    ]


def test_a_camera_that_chose_its_own_address_is_a_warning(machine: Path) -> None:
    write(machine, "proc/net/route", routes(OUT, OFFICE, ("enp2s0", "169.254.0.0/16", "0.0.0.0")))
    found = wrong(examined(machine, [GigeCamera("cam", "169.254.3.4")]))
    assert [row[:4] for row in found] == [
        ("warn", "network.address", "cam", "169.254.3.4, which the camera has chosen itself")
    ]


def test_cameras_on_one_interface_are_one_verdict_on_it(machine: Path) -> None:
    write(machine, "sys/class/net/enp2s0/mtu", "1500")
    cameras = [GigeCamera("a", "192.168.5.20"), GigeCamera("b", "192.168.5.21")]
    assert [row[1:3] for row in wrong(examined(machine, cameras))] == [("network.mtu", "enp2s0")]


def test_packets_lost_with_the_largest_ring_need_less_bandwidth(machine: Path) -> None:
    write(machine, "sys/class/net/enp2s0/statistics/rx_missed_errors", "1")
    (told,) = [f for f in network_findings(machine, [CAMERA], lambda _: (4096, 4096)) if f.check == "network.ring"]
    assert (told.level, told.expected) == ("warn", "no packet lost")
    assert told.remedy == "lower the cameras' bandwidth: GevSCPD in [cameras.NAME.features]"


def test_without_a_gige_camera_nothing_is_guessed_about_the_network(machine: Path) -> None:
    for path, content in {
        "sys/class/net/enp2s0/mtu": "1500",
        "sys/class/net/enp2s0/speed": "100",
        "proc/sys/net/core/rmem_max": "212992",
        "proc/self/limits": LIMITS.format(files=4096, priority=0),
    }.items():
        write(machine, path, content)
    findings = examined(machine, ())
    assert wrong(findings) == []
    assert [(f.check, f.subject, f.found) for f in findings if f.level == "note"] == [
        ("network.camera", "", "no GigE camera seen"),
        ("network.mtu", "eno1", "1500 bytes; no GigE camera seen"),
        ("network.mtu", "enp2s0", "1500 bytes; no GigE camera seen"),
        ("network.rmem_max", "", "212992 bytes; no GigE camera seen"),
        ("network.backlog", "", "1000 packets, 0 dropped since start"),
        ("limits.real_time", "", "not allowed for this user; no GigE camera seen"),
    ]


def test_without_a_usb_camera_nothing_is_guessed_about_usb(machine: Path) -> None:
    write(machine, "sys/bus/usb/devices/2-1/idVendor", "046d")
    write(machine, "sys/module/usbcore/parameters/usbfs_memory_mb", "16")
    told = [(f.level, f.check, f.found) for f in usb_findings(machine, usb_cameras(machine))]
    assert told == [
        ("note", "usb.camera", "no Basler USB camera seen"),
        ("note", "usb.usbfs_memory", "16 MB; no Basler USB camera seen"),
    ]


def test_usb_memory_without_a_limit_is_enough(machine: Path) -> None:
    write(machine, "sys/module/usbcore/parameters/usbfs_memory_mb", "0")
    assert wrong(examined(machine)) == []


def test_a_machine_without_usb_network_or_cpu_files_is_no_error(tmp_path: Path) -> None:
    """As in a container."""
    assert wrong(examined(tmp_path, (), Place(Path("/state"), Path("/run"), "vision"))) == [
        (
            *("warn", "disk.runtime", "/run", "unknown"),
            "sudo mount -t tmpfs -o size=64M tmpfs /run",
        )
    ]


def test_the_kernel_names_the_cameras_of_each_bus(machine: Path) -> None:
    assert usb_cameras(machine) == [UsbCamera("24001122", "acA1920-155um", 5000, "/dev/bus/usb/002/003")]
    assert video_devices(machine) == [VideoDevice("/dev/video0", "UVC Camera: Top", 0, True)]


@pytest.fixture
def locked(machine: Path) -> Path:
    """No udev rule, and a user who is not in group video."""
    for node in ("dev/bus/usb/002/003", "dev/video0"):
        (machine / node).chmod(0o000)
    return machine


@pytest.mark.usefixtures("locked", "ordinary_user")
def test_device_files_that_this_user_may_not_open_fail(machine: Path) -> None:
    assert wrong([*usb_findings(machine, usb_cameras(machine)), *video_findings(video_devices(machine), "vision")]) == [
        ("fail", "usb.permission", "24001122", "/dev/bus/usb/002/003 may not be read and written by this user", UDEV),
        (
            *("fail", "video.permission", "/dev/video0"),
            "UVC Camera: Top; may not be read and written by this user",
            "sudo usermod -aG video vision # then log in again",
        ),
    ]


@pytest.mark.parametrize(
    ("free_mb", "level"), [(1999, "warn"), (2000, "ok"), (200, "warn"), (199, "fail"), (0, "fail")]
)
def test_little_room_warns_and_no_room_fails(machine: Path, free_mb: int, level: str) -> None:
    (told,) = [f for f in examined(machine, free_mb=free_mb) if f.check == "disk.free"]
    assert (told.level, told.subject, told.found) == (level, "/var/lib/edge-inspector", f"{free_mb} MB free")


def test_a_clock_that_nobody_sets_is_a_warning(machine: Path) -> None:
    (told,) = wrong(examined(machine, synced=False))
    assert (told[0], told[1], told[4]) == ("warn", "clock.synchronised", "sudo timedatectl set-ntp true")


@pytest.mark.parametrize(("folder", "kind"), [("/run/disk/edge", "ext4"), ("/mnt/of memory", ""), ("/mnt/of", "ext4")])
def test_the_mount_nearest_to_the_runtime_folder_counts(machine: Path, folder: str, kind: str) -> None:
    told = wrong(examined(machine, place=Place(PLACE.state_dir, Path(folder), "vision")))
    assert [row[1:4] for row in told] == ([("disk.runtime", folder, kind)] if kind else [])


def test_a_user_who_may_change_priorities_needs_no_limit(machine: Path) -> None:
    """root, or a service with CAP_SYS_NICE (bit 23)."""
    write(machine, "proc/self/limits", LIMITS.format(files=4096, priority=0))
    write(machine, "proc/self/status", "CapEff:\t0000000000800000\n")
    assert wrong(examined(machine)) == []


def test_a_machine_that_has_just_started_says_so(machine: Path) -> None:
    write(machine, "proc/uptime", "75.3 100.0")
    (told,) = [f for f in examined(machine) if f.check == "machine.up"]
    assert (told.level, told.found) == ("note", "0 days 0 h 1 min; cameras and switches may still be starting")


def process(root: Path, pid: int, command: str, *, holds: str = "", maps: str = "") -> None:
    write(root, f"proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")
    write(root, f"proc/{pid}/maps", maps)
    (root / f"proc/{pid}/fd").mkdir()
    os.symlink(holds or "/dev/null", root / f"proc/{pid}/fd/7")


def test_proc_tells_who_holds_a_camera(machine: Path) -> None:
    process(machine, 812, "pylonviewer", holds="/dev/bus/usb/002/003")
    process(machine, 90, "python look.py", maps=f"7f00-7f10 r-xp 0 0:0 0 /opt/pylon/lib/{GIGE_LIBRARY}-9.0.so\n")
    process(machine, os.getpid(), "edge-inspector doctor", holds="/dev/bus/usb/002/003", maps=f"x /{GIGE_LIBRARY}.so")
    assert holders_of(machine, "/dev/bus/usb/002/003") == [Process(812, "pylonviewer")]
    assert users_of(machine, GIGE_LIBRARY) == [Process(90, "python look.py")]
    assert str(Process(812, "pylonviewer")) == "process 812 (pylonviewer)"


@pytest.mark.parametrize(
    ("command", "is_station"),
    [
        ("/opt/ei/bin/python /opt/ei/bin/edge-inspector run /etc/ei/station.toml", True),
        ("python3 -m edge_inspector run station.toml", True),
        ("edge-inspector grab top", False),
        ("python3 edge-inspector-tool.py run", False),
        ("pylonviewer", False),
    ],
)
def test_a_running_station_is_known_by_its_command_line(command: str, is_station: bool) -> None:
    assert Process(1, command).is_station is is_station


def test_free_room_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_a_ring_that_nobody_has_is_not_told() -> None:
    assert ring_sizes("lo") is None
    assert ring_sizes("no-such-interface") is None


@pytest.mark.parametrize(
    ("lowest", "verdict", "seen"),
    [("1510400", "ok", "performance, schedutil, locked"), ("115200", "warn", "performance, schedutil")],
)
def test_a_governor_with_one_frequency_to_choose_from_saves_nothing(
    machine: Path, lowest: str, verdict: str, seen: str
) -> None:
    for name, said in (("governor", "schedutil"), ("min_freq", lowest), ("max_freq", "1510400")):
        write(machine, GOVERNED + name, said)
    told = {one.check: one for one in examined(machine, [GigeCamera(CAMERA.name, CAMERA.ip)])}["cpu.governor"]
    assert (told.level, told.found) == (verdict, seen)


def test_the_files_of_a_shell_say_nothing_of_a_station_that_a_unit_runs(machine: Path) -> None:
    write(machine, "proc/self/limits", LIMITS.format(files=1024, priority=99))
    assert [one.check for one in camera_limits(machine, "vision", False, by_unit=True)] == ["limits.real_time"]
