"""What leaves the station in a support bundle: no password, key or token, and everything else as it was."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.cli.doctor_scrub import Scrub, read_toml, secrets_of

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQ\n-----END PRIVATE KEY-----"
STATION = """\
[station]
name = "line1"
[cameras.top]
source = "rtsp://viewer:p%40ss%2Fw0rd@10.0.0.9/live?token=abc123def"
[publishers.plant]
username = "line1"
password_file = "mqtt.password"
[publishers.people]
urls_file = "urls"
[[further]]
api_key = "0123456789abcdef"
private_key = "keys/web.key"
password_dir = "keys"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mqtt.password").write_text('geh"eim-ß\n')
    (tmp_path / "urls").write_text("# mail\nmailtos://me:mailword@mail.example?to=boss\nslack://TokenA/TokenB\n")
    (tmp_path / "station.toml").write_text(STATION, encoding="utf-8")
    return tmp_path


@pytest.fixture
def scrub(place: Path) -> Scrub:
    return Scrub(secrets_of(read_toml(place / "station.toml"), place))


def test_secrets_are_found_in_the_file_and_in_the_files_that_it_names(place: Path) -> None:
    assert secrets_of(read_toml(place / "station.toml"), place) == {
        *("p%40ss%2Fw0rd", 'geh"eim-ß', "# mail", "mailword", "0123456789abcdef"),
        *("mailtos://me:mailword@mail.example?to=boss", "slack://TokenA/TokenB"),
    }


def test_a_station_file_keeps_all_that_is_no_secret(place: Path, scrub: Scrub) -> None:
    assert scrub.document(read_toml(place / "station.toml")) == {
        "station": {"name": "line1"},
        "cameras": {"top": {"source": "rtsp://***@10.0.0.9/live?***"}},
        "publishers": {
            "plant": {"username": "line1", "password_file": "mqtt.password"},
            "people": {"urls_file": "urls"},
        },
        "further": [{"api_key": "***", "private_key": "keys/web.key", "password_dir": "keys"}],
    }


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ('login as line1 with geh"eim-ß refused', "login as line1 with *** refused"),
        (json.dumps({"event": 'geh"eim-ß', "n": 1}), '{"event": "***", "n": 1}'),
        (json.dumps({"event": 'geh"eim-ß'}, ensure_ascii=False), '{"event": "***"}'),
        (f"GET http://a/{quote('geh')}/{quote('geh' + chr(34) + 'eim-ß', safe='')}", "GET http://a/geh/***"),
        ("decoded: p@ss/w0rd", "decoded: ***"),
        ("cannot open rtsp://other:word@10.0.0.8/x: refused", "cannot open rtsp://***@10.0.0.8/x: refused"),
        ("GET https://a.example/x?key=1&b=2 failed", "GET https://a.example/x?*** failed"),
        (f"before\n{PEM}\nafter", "before\n*** private key ***\nafter"),
        (PEM[:60], "*** private key ***"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer ***"),
        ("mqtt_password = hunter2, user=me", "mqtt_password = ***, user=me"),
        ('{"password": "hunter2", "user": "me"}', '{"password": "***", "user": "me"}'),
        ("token: 'a b c' end", "token: '***' end"),
        (
            "s.toml: publishers.plant.password = 'x y': unknown key",
            "s.toml: publishers.plant.password = '***': unknown key",
        ),
        ("password:x", "password:***"),
    ],
)
def test_a_log_line_loses_its_secret_and_nothing_else(scrub: Scrub, line: str, clean: str) -> None:
    assert scrub.text(line) == clean


@pytest.mark.parametrize(
    "line",
    [
        "password_file = mqtt.password",
        "/etc/edge-inspector/s/mqtt.password: mode 640",
        "opc.tcp://192.168.0.1:4840 answers in 3 ms, result 4711",
        "12:30:01.123 camera_lost camera=top error='no cable'",
        "a@b.example, see https://example.org/path/to/page",
        "tokens are renewed by `edge-inspector web token add`",
    ],
)
def test_a_line_without_a_secret_stays_as_it_was(scrub: Scrub, line: str) -> None:
    assert scrub.text(line) == line


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=3, max_size=20).filter(str.strip))
def test_no_form_of_a_known_secret_gets_through(secret: str) -> None:
    scrub = Scrub(frozenset({secret}))
    forms = [secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), quote(secret, safe="")]
    for form in forms:
        clean = scrub.text(f"before {form} after")
        assert form.strip('"') not in clean.replace("before", "").replace("after", "").replace("***", "")
    assert secret not in json.loads(json.dumps(scrub.document({"a": [f"x{secret}x"]})))["a"][0].replace("***", "")


def test_a_secret_of_digits_breaks_no_json() -> None:
    scrub = Scrub(frozenset({"123"}))
    assert scrub.document({"parts": 51234, "text": "a123b"}) == {"parts": 51234, "text": "a***b"}


def test_a_secret_too_short_to_look_for_is_still_gone_under_its_key() -> None:
    scrub = Scrub(frozenset({"x"}))
    assert scrub.document({"password": "x", "axis": "x"}) == {"password": "***", "axis": "x"}


def test_secret_files_that_are_not_there_hold_none(tmp_path: Path) -> None:
    assert secrets_of({"a": {"password_file": "none"}}, tmp_path) == frozenset()
