"""The examples in deploy/ are right, and say the same of what they share. Their own linters: tools/deploy_lint.sh."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import jinja2
import pytest
import yaml

from edge_inspector import config
from edge_inspector.health import ready

DEPLOY = Path(__file__).parents[1] / "deploy"
DOCKERFILE = (DEPLOY / "container" / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["line1-cell1", "line1-cell2"])
def test_station_file_of_the_overlay_is_right(tmp_path, name):
    shutil.copy(DEPLOY / "k3s" / "example" / f"{name}.toml", tmp_path / "station.toml")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "mqtt-password").write_text("change-me\n")
    settings = config.load(tmp_path / "station.toml")
    assert (settings.station.name, settings.backend.type) == (name, "tensorrt")


def test_template_of_the_inventory_gives_a_right_station_file(tmp_path):
    text = (DEPLOY / "ansible" / "inventory" / "stations" / "station.toml.j2").read_text()
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)
    (tmp_path / "station.toml").write_text(template.render(ansible_managed="by a test", station_one={"name": "cell7"}))
    (tmp_path / "mqtt-password").write_text("change-me\n")
    settings = config.load(tmp_path / "station.toml")
    assert (settings.station.name, str(settings.station.state_dir)) == ("cell7", "/var/lib/edge-inspector/cell7")


def test_variables_of_the_inventory_name_what_is_there():
    variables = yaml.safe_load((DEPLOY / "ansible" / "inventory" / "group_vars" / "stations" / "main.yml").read_text())
    (station,) = variables["station_instances"]
    assert (DEPLOY / "ansible" / station["template"]).is_file()
    assert (DEPLOY / "ansible" / station["files"]).is_dir()
    vault = yaml.safe_load((DEPLOY / "ansible" / "inventory" / "group_vars" / "stations" / "vault.yml").read_text())
    assert set(re.findall(r"\{\{ (vault_\w+) \}\}", json.dumps(variables))) == set(vault)


def test_every_manifest_is_in_the_kustomization():
    base = DEPLOY / "k3s" / "base"
    named = set(yaml.safe_load((base / "kustomization.yaml").read_text())["resources"])
    assert named == {path.name for path in base.glob("*.yaml")} - {"kustomization.yaml"}


def test_probes_ask_what_the_program_answers(tmp_path, capsys):
    pod = yaml.safe_load((DEPLOY / "k3s" / "base" / "stations.yaml").read_text())["spec"]["template"]["spec"]
    station = pod["containers"][0]
    health_check = json.loads(re.search(r"HEALTHCHECK .*\\\n  CMD (\[.*\])", DOCKERFILE)[1])
    probes = [station[name]["exec"]["command"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert probes[0] == probes[1] == health_check
    assert probes[2] == [part for part in health_check if part != "--alive"]
    assert health_check[:4] == ["python", "-I", "-m", ready.__name__]
    socket = Path(health_check[-1])
    assert f"RUNTIME_DIRECTORY={socket.parent} " in DOCKERFILE
    assert str(socket.parent) in [mount["mountPath"] for mount in station["volumeMounts"]]
    assert ready.main([*health_check[4:-1], str(tmp_path / socket.name)]) == ready.EXIT_AWAY
    assert "no station answers" in capsys.readouterr().out


def test_one_user_owns_the_folders_everywhere():
    pod = yaml.safe_load((DEPLOY / "k3s" / "base" / "stations.yaml").read_text())["spec"]["template"]["spec"]
    numbers = set(re.findall(r"\b1\d{4}\b", DOCKERFILE + (DEPLOY / "container" / "tmpfiles.conf").read_text()))
    security = pod["securityContext"]
    assert numbers == {str(security[key]) for key in ("runAsUser", "runAsGroup", "fsGroup")} == {"10001"}
    made = re.findall(r"^d (\S+)", (DEPLOY / "container" / "tmpfiles.conf").read_text(), re.MULTILINE)
    assert {volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume} <= set(made)
    compose = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())
    sources = {volume.rpartition(":")[0] for volume in compose["x-common"]["volumes"] if volume.startswith("/")}
    assert sources <= set(made)
