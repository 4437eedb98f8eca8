"""Independent stacks that run in Node.js: installed once into a cache, started as programs that print JSON lines."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent / "interop"
ENV = "EDGE_INSPECTOR_NODE_MODULES"
INSTALL_S = 300.0
"""About 600 packages and 520 MB, once."""


def node_modules() -> Path:
    """The folder in which node-opcua and Node-RED are installed; skips only without npm or network."""
    given = os.environ.get(ENV)
    if given:
        folder = Path(given)
        assert (folder / "node-opcua").is_dir(), f"{ENV}={given} holds no node-opcua"
        return folder
    lock = SCRIPTS / "package-lock.json"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edge-inspector"
    root = cache / f"interop-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not (root / "installed").exists():
        _install(root)
    return root / "node_modules"


def _install(root: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: apt-get install npm")
    root.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SCRIPTS / name, root / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True, timeout=INSTALL_S)
    offline = any(
        word in done.stderr for word in ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")
    )
    if offline:
        pytest.skip(f"npm cannot reach its registry: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, f"npm ci ended with {done.returncode}:\n{done.stderr[-2000:]}"
    (root / "installed").touch()


class Script:
    """A running script; `lines` are the JSON objects that it has printed so far."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._out, self._errors = log.with_suffix(".out"), log.with_suffix(".err")
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=errors, cwd=log.parent, env=environment
            )

    @property
    def lines(self) -> list[dict[str, Any]]:
        whole = self._out.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def wait(self, what: str, condition: Callable[[], bool], timeout_s: float = 60.0) -> float:
        """Seconds that it took until the condition held."""
        begun = time.monotonic()
        while not condition():
            assert self.process.poll() is None, f"the script ended with {self.process.returncode}:\n{self.said}"
            assert time.monotonic() - begun < timeout_s, f"not within {timeout_s} s: {what}\n{self.said}"
            time.sleep(0.02)
        return time.monotonic() - begun

    def finish(self, timeout_s: float = 90.0) -> list[dict[str, Any]]:
        """All lines, after it has ended well."""
        try:
            code = self.process.wait(timeout_s)
        finally:
            self.end()
        assert code == 0, f"the script ended with {code}:\n{self.said}"
        return self.lines

    def end(self) -> None:
        """Kill it if it still runs, and let go of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def said(self) -> str:
        return self._errors.read_text(errors="replace")[-3000:] + self._out.read_text(errors="replace")[-3000:]


Node = Callable[..., Script]
"""Starts a script of tests/interop with Node.js: `node("follow.mjs", endpoint, ...)`."""


def node_program(modules: Path) -> str:
    """Node.js as installed beside the packages, else the one in PATH."""
    own = [p for p in modules.glob("node-linux-*/bin/node") if p.is_file()]
    program = str(own[0]) if own else shutil.which("node")
    assert program is not None, "Node.js is not there: no node-linux-* package fits this machine, and no node in PATH"
    return program


def start(modules: Path, home: Path, log: Path, script: Path, *arguments: object) -> Script:
    """Run a script with Node.js; `home` is where node-opcua keeps its own certificate."""
    environment = {**os.environ, ENV: str(modules), "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return Script([node_program(modules), str(script), *map(str, arguments)], environment, log)
