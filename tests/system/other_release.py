"""Makes release 9.9.9 of a bundle, for tests of upgrades: `next` is as good, the daemon of `bad` ends at once."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import zipfile
from pathlib import Path

VERSION = "9.9.9"
BROKEN = "\n\nasync def run(*_: object) -> None:\n    import os\n\n    os._exit(1)\n"


def rewrite(bundle: Path, kind: str) -> None:
    """Replaces edge-inspector's wheel in the bundle and all that names it; files are replaced, never written into."""
    (old,) = (bundle / "wheels").glob("edge_inspector-*.whl")
    version = old.name.split("-")[1]
    new = old.with_name(old.name.replace(version, VERSION, 1))
    _repack(old, new, version, kind)
    old.unlink()
    digest = hashlib.sha256(new.read_bytes()).hexdigest()
    requirements = (bundle / "requirements.txt").read_text()
    pattern = rf"edge-inspector=={re.escape(version)} \\\n +--hash=sha256:\w+"
    requirements, found = re.subn(pattern, f"edge-inspector=={VERSION} --hash=sha256:{digest}", requirements)
    assert found == 1, requirements[-300:]
    _replace(bundle / "requirements.txt", requirements)
    _replace(bundle / "BUILD", (bundle / "BUILD").read_text().replace(f"release={version}", f"release={VERSION}"))
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(bundle)}\n" for path in files]
    _replace(bundle / "SHA256SUMS", "".join(sums))


def _repack(old: Path, new: Path, version: str, kind: str) -> None:
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as target:
        record = []
        for old_name in source.namelist():
            name = old_name.replace(f"-{version}.dist-info/", f"-{VERSION}.dist-info/")
            data = source.read(old_name)
            if name.endswith("/RECORD"):
                continue
            if name == "edge_inspector/__init__.py" or name.endswith("/METADATA"):
                data = data.replace(version.encode(), VERSION.encode(), 1)
            if name == "edge_inspector/station/daemon.py" and kind == "bad":
                data += BROKEN.encode()
            target.writestr(name, data)
            checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={checksum},{len(data)}\n")
        own = f"edge_inspector-{VERSION}.dist-info/RECORD"
        target.writestr(own, "".join([*record, f"{own},,\n"]))


def _replace(path: Path, text: str) -> None:
    """The old file may be a hard link that others use."""
    path.unlink()
    path.write_text(text)


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), sys.argv[2])
