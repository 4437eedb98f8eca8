"""What leaves the station in a support bundle: no password, key or token, and everything else as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_inspector.cli.doctor_known import read_toml, secrets_in, secrets_of
from edge_inspector.cli.doctor_scrub import Scrub

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
    (tmp_path / "urls").write_text(
        "# mail\nmailtos://me:mailword@mail.example?to=boss\nslack://TokenA/TokenB\nhttps://hooks2.example/services/T1JJ3T3L2/A1BRTD4JD\n"
    )
    (tmp_path / "station.toml").write_text(STATION, encoding="utf-8")
    return tmp_path


@pytest.fixture
def scrub(place: Path) -> Scrub:
    return Scrub(secrets_of(read_toml(place / "station.toml"), place))


def test_secrets_are_found_in_the_file_and_in_the_files_that_it_names(place: Path) -> None:
    assert secrets_of(read_toml(place / "station.toml"), place) == {
        *("p%40ss%2Fw0rd", 'geh"eim-ß', "# mail", "mailword", "0123456789abcdef"),
        *("mailtos://me:mailword@mail.example?to=boss", "slack://TokenA/TokenB"),
        *("https://hooks2.example/services/T1JJ3T3L2/A1BRTD4JD", "T1JJ3T3L2", "A1BRTD4JD"),
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
        ('{"password": "geh\\"eim", "n": 1}', '{"password": "***", "n": 1}'),
        (r'{"event": "sent {\"password\": \"hunter2\"}"}', r'{"event": "sent {\"password\": \"***\"}"}'),
        ('{"password":4711,"user":"me"}', '{"password":***,"user":"me"}'),
        ("password = hunt,er'2 end", "password = *** end"),
        ("password = 'cut off in the mid", "password = '***'"),
        ("mqttPassword: hunter2", "mqttPassword: ***"),
        ("X-Auth-Token: hunter2", "X-Auth-Token: ***"),
        ("client_secret_key=hunter2", "client_secret_key=***"),
        ("PLANT_PWD=hunter2 up", "PLANT_PWD=*** up"),
        ("smtp_pass=hunter2", "smtp_pass=***"),
        ("SNMP community = public2", "SNMP community = ***"),
        ("a%3D1 password%3Dhunter2", "a%3D1 password%3D***"),
        ("\x1b[36mpassword\x1b[0m=\x1b[35mhunter2\x1b[0m", "password=***"),
        ("ran: tool --password hunter2 --out x", "ran: tool --password *** --out x"),
        ("Authorization: Digest username='me', response='77ab'", "Authorization: Digest ***"),
        ('{"Authorization": "Basic dTpw", "n": 1}', '{"Authorization": "Basic ***", "n": 1}'),
        ("Cookie: session=ab; other=cd", "Cookie: ***"),
        ("open rtsp://u:pa/ss@w@10.0.0.8/x", "open rtsp://***@10.0.0.8/x"),
        ("held by process 7 (vlc rtsp://admin:hunter2-of-t...)", "held by process 7 (vlc rtsp://admin:***"),
        ("GET https://a.example/x#access_token=1", "GET https://a.example/x#***"),
        ("POST /services/T1JJ3T3L2/A1BRTD4JD/x failed", "POST /services/***/***/x failed"),
        ("b3BlbnNz\nMIIEvQ==\n-----END RSA PRIVATE KEY-----\nafter", "*** private key ***\nafter"),
        ("before:\nMIIEvQ==\n-----END PRIVATE KEY-----", "before:\n*** private key ***"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----", "*** private key ***"),
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
        "verdict: pass: 12 of 13, took 3 ms",
        "http://[fe80::1]:8080/x and opc.tcp://plc:4840: no answer",
        "--password-file mqtt.password",
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
    assert secrets_of({"a": {"password_file": "keys/none"}}, tmp_path) == frozenset()


def test_a_password_in_the_place_of_its_file_is_one(tmp_path: Path) -> None:
    document = {"a": {"password_file": "hunter2"}}
    assert secrets_of(document, tmp_path) == {"hunter2"}
    assert Scrub().document(document) == {"a": {"password_file": "***"}}
    (tmp_path / "hunter2").write_text("word\n")
    assert secrets_of(document, tmp_path) == {"word"}


@pytest.mark.parametrize("key", ["pwd", "smtp_pass", "Passwort", "PSK", "snmp_community", "apiKey", "X-Auth", "cookie"])
def test_keys_with_odd_names_hold_secrets_too(key: str, tmp_path: Path) -> None:
    assert Scrub().document({key: "hunter2", "pass_score": 0.5}) == {key: "***", "pass_score": 0.5}
    assert secrets_of({key: 4711}, tmp_path) == {"4711"}


def test_all_that_a_table_with_such_a_name_holds_is_secret(tmp_path: Path) -> None:
    document = {"credentials": {"user": "me", "word": ["hunter2"], "on": True}}
    assert Scrub().document(document) == {"credentials": {"user": "***", "word": ["***"], "on": True}}
    assert secrets_of(document, tmp_path) == {"me", "hunter2"}


def test_a_login_with_blanks_and_quotes_is_found(tmp_path: Path) -> None:
    document = {"source": "rtsp://me:geh ei'm@10.0.0.9/x"}
    assert Scrub().document(document) == {"source": "rtsp://***@10.0.0.9/x"}
    assert secrets_of(document, tmp_path) == {"geh ei'm"}
    assert secrets_of({"source": "https://T0KEN@host/x"}, tmp_path) == {"T0KEN"}


def test_the_secrets_of_a_file_that_is_no_toml_are_found_line_by_line(place: Path) -> None:
    (place / "station.toml").write_text(STATION + "[broken\npassword = 'half\nrecipe = r\n")
    found = secrets_in(place / "station.toml")
    assert found == secrets_of(read_toml_of(STATION, place), place) | {"half"}


def read_toml_of(content: str, place: Path) -> dict[str, object]:
    (place / "whole.toml").write_text(content)
    return read_toml(place / "whole.toml")


@pytest.mark.timeout(20)
def test_a_pipe_and_endless_brackets_are_no_station_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "deep").write_text("x = " + "[" * 5000)
    with pytest.raises(OSError, match="not a plain file"):
        read_toml(tmp_path / "pipe")
    with pytest.raises(ValueError, match="brackets"):
        read_toml(tmp_path / "deep")
    assert secrets_in(tmp_path / "pipe") == frozenset()
    assert secrets_of({"password_file": "pipe"}, tmp_path) == frozenset()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["x", "a_", "://", "x ", "password", "-", "b3Bl\n", "'", "\\"])
def test_a_long_log_is_cleaned_in_time(piece: str) -> None:
    """With nested repeats in a pattern this would take hours."""
    long = piece * (50_000 // len(piece))
    assert len(Scrub(frozenset({"hunter2"})).text(long)) <= len(long)


def test_what_a_terminal_would_obey_is_not_in_it() -> None:
    assert Scrub().text("a\x1b]0;title\x07b\x9bc\u202ed\te\r\nf\n") == "a?]0;title?b?c?d\te\nf\n"
