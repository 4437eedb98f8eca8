"""The documentation says what the code does: generated pages, links, command lines, station files, payloads."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from edge_inspector import assembly
from edge_inspector.cli.main import app
from edge_inspector.config import StationFileError
from edge_inspector.engine.bundle import load_bundle

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLE = ROOT / "deploy" / "examples" / "station.toml"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = _reference()


def _blocks(*languages: str) -> Iterator[tuple[Path, str]]:
    """Every fenced block of these languages, with its page."""
    for page in PAGES:
        for language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                yield page, text


def _command_lines() -> list[tuple[str, str]]:
    """(page, command line) of each `edge-inspector ...` in a fenced block; a backslash continues a line."""
    found = []
    for page, text in _blocks("", "sh", "console"):
        for line in text.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").partition("#")[0].strip()
            if command.startswith("edge-inspector "):
                found.append((str(page.relative_to(ROOT)), command))
    return found


def _links() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        found += [(str(page.relative_to(ROOT)), link) for link in _LINK.findall(text) if "://" not in link]
    return found


def _station_files() -> list[tuple[str, str]]:
    return [(str(page.relative_to(ROOT)), text) for page, text in _blocks("toml") if "[station]" in text]


@pytest.mark.parametrize("name", REFERENCE.pages())
def test_a_generated_page_is_what_make_docs_writes(name: str) -> None:
    written = (REFERENCE.FOLDER / name).read_text(encoding="utf-8")
    assert written == REFERENCE.pages()[name], f"docs/reference/{name} is stale: run `make docs` and commit it"


def test_no_schema_is_left_over_from_a_payload_that_is_gone() -> None:
    files = {f"schemas/{path.name}" for path in (REFERENCE.FOLDER / "schemas").iterdir()}
    assert files == {name for name in REFERENCE.pages() if name.startswith("schemas/")}


@pytest.mark.parametrize(("page", "link"), _links())
def test_a_link_leads_to_a_file_and_a_heading(page: str, link: str) -> None:
    target, _, heading = link.partition("#")
    path = (ROOT / page).parent.joinpath(target).resolve() if target else ROOT / page
    assert path.exists(), f"{page} links to {link}, which is not there"
    if heading:
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
        assert heading in anchors, f"{page} links to {link}; {path.name} has the headings {sorted(anchors)}"


@pytest.mark.parametrize(("page", "line"), _command_lines())
def test_a_command_line_uses_commands_and_options_that_exist(page: str, line: str) -> None:
    words = [word for word in shlex.split(line) if word not in ("&", ">")]
    group: Any = typer.main.get_command(app)
    if words[1] in ("--version", "--help"):
        return
    assert words[1] in group.commands, f"{page}: {line}: no such command"
    command = group.commands[words[1]]
    for word in words[2:]:
        if word not in getattr(command, "commands", ()):
            break
        command = command.commands[word]
    known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)} | {"--help", "-h"}
    used = {word.partition("=")[0] for word in words[2:] if word.startswith("-")}
    assert used <= known, f"{page}: {line}: unknown options {sorted(used - known)}"


@pytest.mark.parametrize(("page", "text"), _station_files())
def test_a_station_file_in_a_how_to_passes_check(page: str, text: str, tmp_path: Path) -> None:
    """Its bundle and its pictures are the reader's: only what the file itself says must be right."""
    path = tmp_path / "station.toml"
    path.write_text(text, encoding="utf-8")
    try:
        assembly.check(path)
    except StationFileError as exc:
        wrong = [str(problem) for problem in exc.problems if not problem.key.endswith(".bundle")]
        assert not wrong, f"{page}: {wrong}"


def test_the_example_station_file_is_right() -> None:
    assert assembly.check(EXAMPLE).station.name


@pytest.mark.parametrize(("page", "text"), [(str(p.relative_to(ROOT)), text) for p, text in _blocks("json")])
def test_a_payload_in_the_docs_fits_its_schema(page: str, text: str) -> None:
    payload = json.loads(text)
    schemas = REFERENCE.payload_schemas()
    if "schema" in payload:
        jsonschema.validate(payload, schemas[payload["schema"]])


def test_every_topic_that_is_published_is_in_the_table() -> None:
    """Asked of the publisher's own text: a new topic must be documented."""
    source = (ROOT / "edge_inspector" / "outputs" / "mqtt" / "publisher.py").read_text(encoding="utf-8")
    published = set(re.findall(r'_(?:topic|message)\("([\w/]+)"', source))
    assert published | {"response topic"} == {row[0] for row in REFERENCE._TOPICS}


def test_the_model_toml_in_the_how_to_is_a_right_one(tmp_path: Path) -> None:
    """Its sha256 is that of an empty file."""
    (text,) = (text for page, text in _blocks("toml") if page.name == "bring-a-model.md" and "decoder" in text)
    (tmp_path / "model.toml").write_text(text, encoding="utf-8")
    (tmp_path / "model.onnx").touch()
    assert load_bundle(tmp_path).classes == ("scratch", "dent")
