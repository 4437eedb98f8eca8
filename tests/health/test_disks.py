"""Disks laid out in a folder: room for files, read-only mounts, and how worn they are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from host_machines import write

from edge_inspector.health import nvme
from edge_inspector.health.disks import Room, Smart, disk_findings, disk_of, room
from edge_inspector.health.finding import Finding

STATE = Path("/var/lib/edge-inspector/line1")
PLENTY = Room(1_000_000, 900_000, read_only=False)
NEW = Smart(3, ())
MOUNTS = """\
25 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
31 25 0:26 / /run rw,nosuid - tmpfs tmpfs rw
40 25 179:1 / /mnt/sd\\040card rw - ext4 /dev/mmcblk1p1 rw
41 25 254:0 / /mnt/secret rw - ext4 /dev/mapper/secret rw
42 25 179:32 / /mnt/emmc rw - ext4 /dev/mmcblk0 rw
43 25 8:1 / /mnt/ssd rw - ext4 /dev/sda1 rw
44 25 259:2 / /mnt/twice rw - ext4 /dev/nvme0n1p2 rw
45 44 8:1 / /mnt/twice rw - ext4 /dev/sda1 rw
"""
"""proc(5): the third field is the device."""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The state folder lies on an NVMe disk; an SD card, an eMMC, a SATA disk and an encrypted one are there, too."""
    write(tmp_path, "proc/self/mountinfo", MOUNTS)
    for disk, number in (("nvme0n1", "259:2"), ("mmcblk1", "179:1"), ("sda", "8:1"), ("nvme1n1", "259:7")):
        write(tmp_path, f"sys/block/{disk}/{disk}p1/partition", "1\n")
        link(tmp_path, number, f"{disk}/{disk}p1")
    write(tmp_path, "sys/block/mmcblk0/size", "1\n")
    link(tmp_path, "179:32", "mmcblk0")
    write(tmp_path, "sys/block/dm-0/size", "1\n")
    link(tmp_path, "254:0", "dm-0")
    (tmp_path / "sys/block/dm-0/slaves").mkdir()
    (tmp_path / "sys/block/dm-0/slaves/nvme1n1p1").symlink_to("../../nvme1n1/nvme1n1p1")
    write(tmp_path, "sys/block/mmcblk1/device/type", "SD\n")
    write(tmp_path, "sys/block/mmcblk0/device/type", "MMC\n")
    return tmp_path


def link(root: Path, number: str, target: str) -> None:
    folder = root / "sys/dev/block"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / number).symlink_to(Path("../../block") / target)


def told(root: Path, folder: Path = STATE, found: Room = PLENTY, smart: Smart | str = NEW) -> dict[str, Finding]:
    return {one.check: one for one in disk_findings(root, [folder], lambda _: found, lambda _: smart)}


@pytest.mark.parametrize(
    ("folder", "disk"),
    [
        ("/var/lib/edge-inspector", "nvme0n1"),
        ("/run/edge-inspector", ""),
        ("/mnt/sd card/state", "mmcblk1"),
        ("/mnt/secret", "nvme1n1"),
        ("/mnt/emmc", "mmcblk0"),
        ("/mnt/ssd/a/b", "sda"),
        ("/mnt/twice/a", "sda"),
    ],
)
def test_a_folder_lies_on_the_disk_that_the_kernel_names(machine: Path, folder: str, disk: str) -> None:
    assert disk_of(machine, Path(folder)) == disk


def test_without_a_list_of_mounts_no_disk_is_known(tmp_path: Path) -> None:
    assert disk_of(tmp_path, STATE) == ""
    assert told(tmp_path)["disk.wear"].level == "note"


def test_a_disk_with_room_and_little_wear_is_in_order(machine: Path) -> None:
    assert {name: one.level for name, one in told(machine).items()} == {
        "disk.writable": "ok",
        "disk.inodes": "ok",
        "disk.wear": "ok",
    }


@pytest.mark.parametrize(
    ("free", "level"), [(50_000, "ok"), (49_999, "warn"), (1_000, "warn"), (999, "fail"), (0, "fail")]
)
def test_few_inodes_warn_and_none_fail(machine: Path, free: int, level: str) -> None:
    one = told(machine, found=Room(1_000_000, free, read_only=False))["disk.inodes"]
    assert (one.level, one.found) == (level, f"{free} of 1000000 free")


def test_a_file_system_that_makes_inodes_as_it_needs_them_has_enough(machine: Path) -> None:
    one = told(machine, found=Room(None, 0, read_only=False))["disk.inodes"]
    assert (one.level, one.found) == ("ok", "no limit on the number of files")


def test_a_disk_that_the_kernel_has_made_read_only_fails(machine: Path) -> None:
    one = told(machine, found=Room(9, 9, read_only=True))["disk.writable"]
    assert (one.level, one.found) == ("fail", "mounted read-only")


@pytest.mark.parametrize(
    ("smart", "level", "found"),
    [
        (Smart(79, ()), "ok", "79% of its life used"),
        (Smart(80, ()), "warn", "80% of its life used"),
        (Smart(100, ()), "fail", "100% of its life used"),
        (Smart(250, ()), "fail", "250% of its life used"),
        (Smart(1, ("it has turned read-only",)), "fail", "1% of its life used; it has turned read-only"),
        ("only root may ask it", "note", "only root may ask it"),
    ],
)
def test_an_nvme_disk_tells_its_wear(machine: Path, smart: Smart | str, level: str, found: str) -> None:
    one = told(machine, smart=smart)["disk.wear"]
    assert (one.subject, one.level, one.found) == ("nvme0n1", level, found)


@pytest.mark.parametrize(
    ("life", "reserve", "level", "found"),
    [
        ("0x01 0x01", "0x01", "ok", "0 to 10% of its life used"),
        ("0x02 0x08", "0x01", "ok", "70 to 80% of its life used"),
        ("0x09 0x01", "0x01", "warn", "80 to 90% of its life used"),
        ("0x0a 0x01", "0x01", "warn", "90 to 100% of its life used"),
        ("0x01 0x0B", "0x01", "fail", "all of its life used"),
        ("0x01 0x01", "0x02", "warn", "0 to 10% of its life used; 80% of the reserve blocks are used up"),
        ("0x01 0x01", "0x03", "fail", "0 to 10% of its life used; the reserve is nearly gone"),
        ("0x00 0x00", "0x00", "note", "this eMMC does not tell its wear"),
        ("worn", "", "note", "this eMMC does not tell its wear"),
    ],
)
def test_an_emmc_tells_its_wear_in_tenths(machine: Path, life: str, reserve: str, level: str, found: str) -> None:
    write(machine, "sys/block/mmcblk0/device/life_time", f"{life}\n")
    write(machine, "sys/block/mmcblk0/device/pre_eol_info", f"{reserve}\n")
    one = told(machine, Path("/mnt/emmc"))["disk.wear"]
    assert (one.subject, one.level, one.found) == ("mmcblk0", level, found)


def test_a_station_on_an_sd_card_is_warned(machine: Path) -> None:
    one = told(machine, Path("/mnt/sd card"))["disk.wear"]
    assert (one.subject, one.level, one.remedy[:4]) == ("mmcblk1", "warn", "move")


def test_a_disk_that_cannot_tell_says_how_to_ask(machine: Path) -> None:
    assert told(machine, Path("/mnt/ssd"))["disk.wear"].found == "not told here; ask: sudo smartctl -a /dev/sda"


def test_two_folders_of_one_disk_are_one_verdict_on_its_wear(machine: Path) -> None:
    found = disk_findings(machine, [STATE, Path("/var/pictures")], lambda _: PLENTY, lambda _: NEW)
    assert [one.check for one in found].count("disk.wear") == 1


def test_room_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    here, there = room(tmp_path), room(tmp_path / "not" / "yet")
    assert replace(there, inodes_free=here.inodes_free) == here  # other programs make and remove files meanwhile
    assert room(tmp_path).inodes == (os.statvfs(tmp_path).f_files or None)
    assert room(tmp_path).read_only is False


@pytest.mark.parametrize(
    ("first", "warnings"),
    [
        (0, ()),
        (0b00001, ("its spare blocks are below the threshold",)),
        (0b01000, ("it has turned read-only",)),
        (0b10100, ("it is not reliable any more", "its power-loss protection has failed")),
    ],
)
def test_the_smart_log_is_read_as_the_nvme_specification_lays_it_out(first: int, warnings: tuple[str, ...]) -> None:
    log = bytes([first, 44, 1, 97, 10, 63]) + bytes(506)
    assert nvme.smart_of(log) == Smart(63, warnings)


def test_what_is_no_nvme_disk_says_so() -> None:
    assert nvme.smart(os.path.relpath("/dev/null", "/dev")) == "does not tell its wear: Inappropriate ioctl for device"
    assert nvme.smart("no-such-disk") == "does not tell its wear: No such file or directory"
