"""deploy/install.sh on a copy of this machine: what it lays where, what it refuses, and the way back."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from spare_machine import PYTHON, SpareMachine, bundle, sums

pytestmark = pytest.mark.system
BASE = "/opt/edge-inspector"
UNITS = "/usr/local/lib/systemd/system"
STATION = "/etc/edge-inspector/line3/station.toml"
SYSTEMCTL = """\
#!/bin/sh
# Stands for systemd: one station runs, and restarts under a release that its file does not name as broken.
echo "$*" >>/run/asked
case "$1" in
  --version) echo "systemd 252 (252.1)" ;;
  list-units) echo "edge-inspector@line3.service loaded active running a station" ;;
  restart) ! grep -q "broken-$(edge-inspector --version | cut -d' ' -f2)" /etc/edge-inspector/line3/station.toml ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SpareMachine]:
    with SpareMachine(tmp_path) as made:
        yield made


def install(machine: SpareMachine, place: str, *options: str, verb: str = "install") -> tuple[int, str]:
    done = machine.run(f"{place}/install.sh", verb, *options)
    return done.returncode, done.stdout


def releases(machine: SpareMachine) -> list[str]:
    folder = machine.root / BASE.lstrip("/") / "releases"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("real_pip", [False, pytest.param(True, marks=pytest.mark.heavy)])
def test_a_station_is_installed_mended_upgraded_rolled_back_and_removed(machine: SpareMachine, real_pip: bool) -> None:
    first, second = (bundle(machine, version, real_pip=real_pip) for version in ("1.0.0", "1.1.0"))
    code, said = install(machine, first)
    assert code == 0, said
    assert machine.link(f"{BASE}/current") == "releases/1.0.0-1"
    assert machine.run("edge-inspector", "--version").stdout == "edge-inspector 1.0.0\n"
    unit = machine.root / UNITS.lstrip("/") / "edge-inspector@.service"
    assert unit.read_bytes() == (machine.root / first.lstrip("/") / "systemd" / unit.name).read_bytes()
    assert not unit.with_name("edge-inspector@.service.d").exists(), (
        "real-time settings are on only where somebody asks"
    )
    owner = machine.run("stat", "-c", "%U:%G %a", "/etc/edge-inspector/demo/station.toml").stdout
    assert owner == "root:edge-inspector 640\n"
    assert machine.run("getent", "passwd", "edge-inspector").stdout.strip().endswith(":/usr/sbin/nologin")

    unit.unlink()
    code, said = install(machine, first)
    assert (code, "nothing to do" in said) == (0, True), said
    assert unit.exists()
    assert releases(machine) == ["1.0.0-1"]

    code, said = install(machine, second, verb="upgrade")
    assert code == 0, said
    code, said = install(machine, second, verb="status")
    assert said.splitlines()[:3] == ["current=1.1.0-1", "previous=1.0.0-1", "version=1.1.0"]
    for version in ("1.0.0", "1.1.0"):  # one step back, and the same step forward
        done = machine.run(f"{BASE}/current/install.sh", "rollback")
        assert (done.returncode, done.stdout) == (0, f"install.sh: rolled back to {version}-1\n")
        assert machine.run("edge-inspector", "--version").stdout == f"edge-inspector {version}\n"

    assert machine.run(f"{BASE}/current/install.sh", "uninstall").returncode == 0
    assert machine.written() == {path for path in machine.written() if path.startswith("/etc/edge-inspector/demo/")}
    assert machine.run(f"{first}/install.sh", "uninstall", "--purge").returncode == 0
    assert machine.written() == set()
    assert machine.run("getent", "passwd", "edge-inspector").stdout == ""


@pytest.mark.parametrize(
    ("build", "word"),
    [
        ({"machine": "sparc64"}, f"for sparc64, this machine is {platform.machine()}"),
        ({"python": "3.8"}, f"for Python 3.8, .* is {PYTHON}: take edge-inspector-*-py{PYTHON}"),
        ({"glibc": "9.99"}, "expected 9.99 or newer"),
    ],
)
def test_a_bundle_for_another_machine_is_refused(machine: SpareMachine, build: dict[str, str], word: str) -> None:
    code, said = install(machine, bundle(machine, "1.0.0", build))
    assert code == 1
    assert all(part in said for part in word.split(".*")), said
    assert machine.written() == set()


def test_a_python_that_a_service_cannot_see_is_refused(machine: SpareMachine) -> None:
    machine.write("/home/somebody/python3", '#!/bin/sh\nexec /usr/bin/python3 "$@"\n', 0o755)
    code, said = install(machine, bundle(machine, "1.0.0"), "--python", "/home/somebody/python3")
    assert (code, "lies in a home folder" in said) == (1, True), said
    assert machine.written() == {"/home/somebody/python3"}


def test_a_damaged_bundle_is_refused(machine: SpareMachine) -> None:
    place = bundle(machine, "1.0.0")
    machine.write(f"{place}/systemd/edge-inspector@.service", "[Service]\nExecStart=/bin/evil\n")
    code, said = install(machine, place)
    assert (code, "is damaged" in said) == (1, True), said
    assert machine.written() == set()


@pytest.mark.heavy
def test_a_wheel_that_the_requirements_do_not_name_is_not_installed(machine: SpareMachine) -> None:
    place = bundle(machine, "1.0.0", real_pip=True)
    machine.write(f"{place}/requirements.txt", f"edge-inspector==1.0.0 --hash=sha256:{'0' * 64}\n")
    sums(machine.root / place.lstrip("/"))
    code, said = install(machine, place)
    assert code == 1
    assert "DO NOT MATCH" in said, said
    assert machine.written() == set()


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref, EABI: aarch64", 1, "expected 36 (JetPack 6)"),
        ("nothing that we know", 1, "L4T nothing known"),
        ("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64", 0, "JetPack 6 (L4T 36.4.3)"),
        ("# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64", 0, "JetPack 7 (L4T 38.2.0)"),
    ],
)
def test_only_a_jetpack_that_fits_is_taken(machine: SpareMachine, line: str, code: int, word: str) -> None:
    machine.write("/etc/nv_tegra_release", line + "\n")
    place = bundle(machine, "1.0.0", {} if code else {"python": "3.8"})  # the next check ends it
    _, said = install(machine, place)
    assert word in said
    assert ("for Python 3.8" in said) == (code == 0)


def test_a_release_that_refuses_a_station_file_of_the_current_one_is_not_taken(machine: SpareMachine) -> None:
    code, said = install(machine, bundle(machine, "1.0.0"))
    assert code == 0, said
    machine.write(STATION, "# not-1.1.0\n")
    code, said = install(machine, bundle(machine, "1.1.0"), verb="upgrade")
    assert code == 1
    uid = machine.run("id", "-u", "edge-inspector").stdout.strip()
    assert f"{STATION}: refused by 1.1.0 as user {uid}" in said
    assert releases(machine) == ["1.0.0-1"]


@pytest.mark.heavy
def test_a_release_under_which_a_station_does_not_start_is_taken_back(machine: SpareMachine) -> None:
    (machine.root / "run/systemd/system").mkdir(parents=True)
    machine.write("/usr/local/sbin/systemctl", SYSTEMCTL, 0o755)
    machine.write(STATION, "# broken-1.1.0\n")
    code, said = install(machine, bundle(machine, "1.0.0"))
    assert code == 0, said
    code, said = install(machine, bundle(machine, "1.1.0"), verb="upgrade")
    assert (code, "back to 1.0.0-1" in said) == (1, True), said
    assert machine.link(f"{BASE}/current") == "releases/1.0.0-1"
    assert releases(machine) == ["1.0.0-1"]
    assert not (machine.root / BASE.lstrip("/") / "previous").is_symlink()
    asked = (machine.root / "run/asked").read_text().splitlines()
    assert asked.count("restart edge-inspector@line3.service") == 3, "installed, upgraded, taken back"
    machine.write(STATION, "# not-1.1.0 not-1.0.0\n")
    code, said = install(machine, "/media/b/1.1.0", "--no-restart")
    assert code == 0, "a file that was broken before does not hold an upgrade back"
    assert "must be changed" in said
    assert machine.link(f"{BASE}/previous") == "releases/1.0.0-1"
    asked = (machine.root / "run/asked").read_text().splitlines()
    assert asked.count("restart edge-inspector@line3.service") == 3
    assert asked[-1] == "daemon-reload"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "usage"),
        (("instal",), "no verb"),
        (("install", "--wheelhose", "x"), "no option"),
        (("install", "--python"), "a value"),
    ],
)
def test_wrong_use_says_what_is_right(machine: SpareMachine, arguments: tuple[str, ...], word: str) -> None:
    done = machine.run(f"{Path(__file__).resolve().parents[2]}/deploy/install.sh", *arguments)
    assert done.returncode == 2
    assert word in done.stdout
    assert machine.written() == set()
