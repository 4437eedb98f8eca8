"""A copy-on-write copy of this machine in a mount namespace of its own, and small bundles, to try the installer on."""

from __future__ import annotations

import base64
import hashlib
import platform
import subprocess
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
PYTHON = subprocess.run(
    ["/usr/bin/python3", "-c", 'import sys; print("%d.%d" % sys.version_info[:2])'],
    capture_output=True,
    text=True,
    check=True,
).stdout.strip()
"""Of the system: an installed station takes no Python out of a home folder."""
MOUNTS = """\
mount -t tmpfs none "$0" && mkdir "$0/upper" "$0/work" "$0/root" &&
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root" &&
mount -t proc proc "$0/root/proc" && mount --bind /dev "$0/root/dev" && mount -t tmpfs none "$0/root/run" &&
mkdir "$0/root/media/b" && mount -t tmpfs none "$0/root/media/b" &&
"""
PROGRAM = '''\
"""Stands for edge-inspector: says its version, and takes station files that do not name it."""

import os
import sys
from pathlib import Path

VERSION = "{version}"


def main():
    if sys.argv[1:] == ["--version"]:
        print("edge-inspector", VERSION)
    elif sys.argv[1] == "check":
        if "not-" + VERSION in Path(sys.argv[2]).read_text():
            sys.exit(f"{{sys.argv[2]}}: refused by {{VERSION}} as user {{os.getuid()}}")
'''
UNPACKER = '''\
"""Stands for pip, which takes seconds: lays the one wheel where pip would."""

import sys
import zipfile
from pathlib import Path

links = Path(sys.argv[sys.argv.index("--find-links") + 1])
(wheel,) = links.glob("edge_inspector-*.whl")
assert {"install", "--isolated", "--no-index", "--require-hashes", "--no-deps"} < set(sys.argv), sys.argv
(place,) = Path(sys.prefix).glob("lib/python3*/site-packages")
zipfile.ZipFile(wheel).extractall(place)
script = Path(sys.prefix) / "bin" / "edge-inspector"
script.write_text(f"#!{sys.executable}\\nimport edge_inspector\\nedge_inspector.main()\\n")
script.chmod(0o755)
'''


class SpareMachine:
    """Everything that is written inside is gone at the end; processes and the network are this machine's.

    Skips the test where this machine lets nobody mount.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = ["unshare", "--mount", "sh", "-c", MOUNTS + "echo there && exec sleep infinity", str(folder)]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "there\n":
            why = self._holder.communicate()[1]
            if "ermission denied" in why or "not permitted" in why:
                pytest.skip(f"this machine lets nobody mount: {why}")
            raise AssertionError(why)
        self.root = Path(f"/proc/{self._holder.pid}/root{folder}/root")
        self.upper = Path(f"/proc/{self._holder.pid}/root{folder}/upper")

    def __enter__(self) -> SpareMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.communicate()

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The command inside, with standard error in standard output."""
        inside = ["nsenter", f"--target={self._holder.pid}", "--mount", "chroot", f"{self.folder}/root"]
        path = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        return subprocess.run(
            [*inside, *command], env=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def link(self, path: str) -> str:
        return str((self.root / path.lstrip("/")).readlink())

    def written(self) -> set[str]:
        """Every path that differs from this machine, but for Python's caches and the data base of users."""
        own = (
            "/etc/passwd",
            "/etc/shadow",
            "/etc/group",
            "/etc/gshadow",
            "/etc/.pwd.lock",
            "/etc/subuid",
            "/etc/subgid",
        )
        found = (f"/{path.relative_to(self.upper)}" for path in self.upper.rglob("*") if not path.is_dir())
        return {path for path in found if not path.startswith(own) and "__pycache__" not in path}


def bundle(
    machine: SpareMachine, version: str, build: Mapping[str, str] | None = None, *, real_pip: bool = False
) -> str:
    """Where a bundle of a small program lies on the machine; `build` replaces lines of BUILD."""
    place = f"/media/b/{version}"
    folder = machine.root / place.lstrip("/")
    (folder / "wheels").mkdir(parents=True)
    wheel = folder / "wheels" / f"edge_inspector-{version}-py3-none-any.whl"
    _wheel(wheel, version)
    if real_pip:
        pip = _pip()
        (folder / "wheels" / pip.name).write_bytes(pip.read_bytes())
    else:
        with zipfile.ZipFile(folder / "wheels" / "pip-0-py3-none-any.whl", "w") as archive:
            archive.writestr("pip/__main__.py", UNPACKER)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "requirements.txt").write_text(f"edge-inspector=={version} --hash=sha256:{digest}\n")
    said = {"release": version, "machine": platform.machine(), "python": PYTHON, "glibc": "2.17", **(build or {})}
    (folder / "BUILD").write_text("".join(f"{key}={value}\n" for key, value in said.items()))
    subprocess.run(["cp", "-R", "systemd", "deploy/examples", "deploy/install.sh", str(folder)], cwd=ROOT, check=True)
    sums(folder)
    return place


def sums(folder: Path) -> None:
    """SHA256SUMS of what lies there now."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _wheel(path: Path, version: str) -> None:
    info = f"edge_inspector-{version}.dist-info"
    files = {
        "edge_inspector.py": PROGRAM.format(version=version),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: edge-inspector\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nedge-inspector = edge_inspector:main\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text.encode())}\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)


def _pip() -> Path:
    """The wheel that came with this Python."""
    places = [Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled", Path("/usr/share/python-wheels")]
    found = sorted(wheel for place in places for wheel in place.glob("pip-*.whl"))
    assert found, f"no wheel of pip in {places}: install python3-venv"
    return found[0]
