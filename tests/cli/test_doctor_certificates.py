"""`edge-inspector doctor` on certificates: until when each is valid, whoever it belongs to."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from mqtt_rig import certificate, config_to, mosquitto, needs_mosquitto, tls_settings

from edge_inspector import config
from edge_inspector.cli.doctor_certificates import broker_certificate, certificate_findings
from edge_inspector.health.finding import Finding
from edge_inspector.outputs.mqtt import Tls

NOW = datetime.now(timezone.utc) - timedelta(hours=1)  # certificates tell no parts of seconds
STATION = """\
schema = 1
[station]
name = "s"
recipe = "r"
state_dir = "state"
[cameras.top]
type = "folder"
path = "."
[backend]
type = "onnxruntime"
[recipes.r]
number = 1
trigger = "timer"
period_s = 1.0
bundle = "pcb-demo"
views = [{ camera = "top" }]
[web]
certificate = "web.crt"
private_key = "web.key"
[publishers.plant]
type = "mqtt"
tls = { ca_file = "ca.crt", cert_file = "ours.crt", key_file = "ours.key" }
[plc.line]
type = "opcua_server"
host = "0.0.0.0"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A station file with certificates of 400 days everywhere."""
    certificate(tmp_path, "ca", None, days=(-1, 400))
    for name in ("web", "ours"):
        certificate(tmp_path, name, "ca", days=(-1, 400))
    (tmp_path / "station.toml").write_text(STATION)
    for folder in ("own", "trusted/certs"):
        (tmp_path / "state/plc/line/pki" / folder).mkdir(parents=True)
    shutil.copy(tmp_path / "ours.crt", tmp_path / "state/plc/line/pki/own/cert.der")
    shutil.copy(tmp_path / "ours.crt", tmp_path / "state/plc/line/pki/trusted/certs/s7.der")
    return tmp_path


def told(place: Path, now: datetime = NOW, synced: bool = True) -> dict[str, Finding]:
    draft = config.draft(place / "station.toml")
    assert not draft.problems
    return {one.subject: one for one in certificate_findings(draft, now, synced)}


def test_every_certificate_of_a_station_is_looked_at(place: Path) -> None:
    found = told(place)
    assert {subject: one.level for subject, one in found.items()} == dict.fromkeys(
        (
            *("publishers.plant.tls.ca_file", "publishers.plant.tls.cert_file", "web.certificate"),
            *("plc.line: our own", "plc.line: trusted"),
        ),
        "ok",
    )
    end = x509.load_pem_x509_certificate((place / "web.crt").read_bytes()).not_valid_after_utc
    assert found["web.certificate"].found == f"CN=web in {place / 'web.crt'}: until {end:%Y-%m-%d}, 400 days left"


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [(369, "ok", "31 days left"), (371, "warn", "29 days left"), (402, "fail", "expired 2 days ago")],
)
def test_a_certificate_warns_a_month_before_its_end_and_fails_after_it(
    place: Path, days: int, level: str, words: str
) -> None:
    found = told(place, NOW + timedelta(days=days))
    assert {one.level for one in found.values()} == {level}
    assert all(words in one.found for one in found.values())
    assert all(bool(one.remedy) is (level != "ok") for one in found.values())


def test_a_certificate_of_tomorrow_fails_only_when_the_clock_is_set(place: Path) -> None:
    certificate(place, "web", "ca", days=(1, 400))
    assert told(place)["web.certificate"].level == "fail"
    assert "valid only from" in told(place)["web.certificate"].found
    assert told(place, synced=False)["web.certificate"].level == "ok"


def test_of_several_authorities_in_a_file_the_one_that_lasts_counts(place: Path) -> None:
    certificate(place, "old", None, days=(-9, -1))
    both = (place / "old.crt").read_text() + (place / "ca.crt").read_text()
    (place / "ca.crt").write_text(both)
    assert told(place)["publishers.plant.tls.ca_file"].level == "ok"


def test_of_a_chain_the_link_that_ends_first_counts(place: Path) -> None:
    certificate(place, "issuer", None, days=(-9, 7))
    chain = (place / "web.crt").read_text() + (place / "issuer.crt").read_text()
    (place / "web.crt").write_text(chain)
    one = told(place)["web.certificate"]
    assert (one.level, one.found.split(" in ")[0]) == ("warn", "CN=issuer")


def test_a_damaged_certificate_fails_and_a_missing_one_is_for_check_to_tell(place: Path) -> None:
    (place / "web.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (place / "ours.crt").unlink()
    found = told(place)
    assert found["web.certificate"].level == "fail"
    assert "publishers.plant.tls.cert_file" not in found


@needs_mosquitto
@pytest.mark.parametrize(("days", "level"), [(90, "ok"), (9, "warn")])
def test_the_certificate_that_a_broker_shows_is_looked_at(tmp_path: Path, days: int, level: str) -> None:
    certificate(tmp_path, "ca", None, days=(-1, 400))
    certificate(tmp_path, "server", "ca", "127.0.0.1", days=(-1, days))
    with mosquitto(tmp_path, *tls_settings(tmp_path, "server")) as broker:
        asked = config_to(broker.port, tls=Tls(ca_file=tmp_path / "ca.crt"))
        (one,) = broker_certificate("plant", asked, NOW)
    assert (one.subject, one.level) == ("publishers.plant: the broker's own", level)
    assert list(broker_certificate("plant", asked, NOW)) == []
    assert list(broker_certificate("plant", config_to(broker.port), NOW)) == []
