"""What an NVMe disk says of its own wear: the SMART log, through the kernel's admin command."""

from __future__ import annotations

import ctypes
import fcntl
import os

from edge_inspector.health.disks import Smart

_LOG_BYTES = 512
_GET_LOG_PAGE = 0x02  # NVMe base specification, figure 202: opcode of the admin command
_SMART_LOG = 0x02  # its log page
_EVERY_NAMESPACE = 0xFFFFFFFF
_NVME_IOCTL_ADMIN_CMD = 0xC0484E41  # _IOWR('N', 0x41, struct nvme_admin_cmd), linux/nvme_ioctl.h
_TIMEOUT_MS = 2000
_WARNINGS = (
    "its spare blocks are below the threshold",
    "it is too hot or too cold",
    "it is not reliable any more",
    "it has turned read-only",
    "its power-loss protection has failed",
)
"""By the bits of the first byte; figure 207."""


class _Command(ctypes.Structure):
    """struct nvme_passthru_cmd."""

    _fields_ = (
        ("opcode", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("rsvd1", ctypes.c_uint16),
        ("nsid", ctypes.c_uint32),
        ("cdw2_3", ctypes.c_uint32 * 2),
        ("metadata", ctypes.c_uint64),
        ("addr", ctypes.c_uint64),
        ("metadata_len", ctypes.c_uint32),
        ("data_len", ctypes.c_uint32),
        ("cdw10", ctypes.c_uint32),
        ("cdw11_15", ctypes.c_uint32 * 5),
        ("timeout_ms", ctypes.c_uint32),
        ("result", ctypes.c_uint32),
    )


def smart(device: str) -> Smart | str:
    """Of the device in /dev, such as nvme0n1; or why it does not say. The kernel lets only root ask."""
    log = (ctypes.c_ubyte * _LOG_BYTES)()
    command = _Command(
        opcode=_GET_LOG_PAGE,
        nsid=_EVERY_NAMESPACE,
        addr=ctypes.addressof(log),
        data_len=_LOG_BYTES,
        cdw10=_SMART_LOG | (_LOG_BYTES // 4 - 1) << 16,
        timeout_ms=_TIMEOUT_MS,
    )
    try:
        descriptor = os.open(f"/dev/{device}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = fcntl.ioctl(descriptor, _NVME_IOCTL_ADMIN_CMD, command)
        finally:
            os.close(descriptor)
    except PermissionError:
        return "only root may ask it: sudo edge-inspector doctor"
    except OSError as exc:
        return f"does not tell its wear: {exc.strerror}"
    return f"does not tell its wear: NVMe status {status:#x}" if status else smart_of(bytes(log))


def smart_of(log: bytes) -> Smart:
    """Read the log's first bytes: critical warning, temperature, spare, its threshold, percentage used."""
    return Smart(log[5], tuple(word for bit, word in enumerate(_WARNINGS) if log[0] >> bit & 1))
