"""`edge-inspector doctor` on files with passwords and keys that others can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_inspector.cli.doctor_secrets import secret_findings
from edge_inspector.config.web import WebSettings
from edge_inspector.outputs import mqtt, notify
from edge_inspector.outputs.opcua_client.config import Config as ClientConfig


def secret(folder: Path, mode: int) -> Path:
    path = folder / "secret"
    path.write_text("word")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o640, "ok"), (0o644, "warn"), (0o666, "warn")])
def test_a_file_that_everybody_may_read_is_told_with_what_mends_it(tmp_path: Path, mode: int, level: str) -> None:
    path = secret(tmp_path, mode)
    (finding,) = secret_findings({"publishers.people": notify.Config.model_validate({"urls_file": str(path)})})
    assert (finding.subject, finding.level) == ("publishers.people.urls_file", level)
    assert f"{path}: mode {mode:o}" in finding.found
    assert ("chmod" in finding.remedy) == (level == "warn")


def test_every_key_that_names_a_secret_is_looked_at(tmp_path: Path) -> None:
    path = secret(tmp_path, 0o644)
    tls = {"cert_file": str(path), "key_file": str(path)}
    user = {"username": "c", "password_file": str(path)}
    broker = mqtt.Config.model_validate({"host": "a", "tls": tls, **user})
    web = WebSettings.model_validate({"certificate": str(path), "private_key": str(path)})
    found = {one.subject for one in secret_findings({"publishers.plant": broker, "web": web})}
    assert found == {"publishers.plant.password_file", "publishers.plant.tls.key_file", "web.private_key"}


def test_a_file_that_is_not_there_is_for_check_to_tell(tmp_path: Path) -> None:
    assert not list(secret_findings({"people": notify.Config.model_validate({"urls_file": str(tmp_path / "none")})}))


def test_the_key_of_an_opcua_client_is_looked_at(tmp_path: Path) -> None:
    path = secret(tmp_path, 0o644)
    link = ClientConfig.model_construct(
        None, **dict[str, object]({**dict.fromkeys(ClientConfig.model_fields), "key": path})
    )
    assert [one.subject for one in secret_findings({"plc.line": link})] == ["plc.line.key"]
