"""A mapping as lines of a station file, and a station file with them in it; all else stays as it was written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from edge_inspector.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def lines_of(nodes: Mapping[str, str]) -> list[str]:
    """One line of TOML for each tag."""
    return [f"{tag} = {_quoted(text)}" for tag, text in nodes.items()]


def links_in(text: str) -> list[str]:
    """The names of the links of our type. ConfigError when the text is no TOML."""
    links = _parsed(text).get("plc")
    tables = links.items() if isinstance(links, dict) else ()
    return [name for name, table in tables if isinstance(table, dict) and table.get("type") == "opcua_client"]


def table_of(text: str, link: str) -> dict[str, Any]:
    """The link's table as it is written. ConfigError when there is none."""
    if link not in links_in(text):
        raise ConfigError(
            f'there is no [plc.{link}] with type = "opcua_client" in the file; write these lines into it first:\n'
            f'[plc.{link}]\ntype = "opcua_client"\nendpoint = "opc.tcp://HOST:4840"'
        )
    table: dict[str, Any] = _parsed(text)["plc"][link]
    return table


def state_dir_in(text: str) -> str | None:
    """What the file says of the folder for the station's state."""
    return _of_the_station(text, "state_dir")


def station_in(text: str) -> str | None:
    """The station's name."""
    return _of_the_station(text, "name")


def _of_the_station(text: str, key: str) -> str | None:
    station = _parsed(text).get("station")
    written = station.get(key) if isinstance(station, dict) else None
    return written if isinstance(written, str) else None


def mapped_in(text: str, link: str) -> dict[str, str]:
    """What the file maps already: tag -> NodeId text. ConfigError when it has no such link."""
    found = table_of(text, link).get("map")
    flat: dict[str, str] = {}
    for key, value in found.items() if isinstance(found, dict) else ():
        flat |= {f"{key}.{leaf}": one for leaf, one in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def with_map(text: str, link: str, nodes: Mapping[str, str]) -> str:
    """The file with `nodes` added to [plc.LINK.map]; what is mapped there already stays.

    ConfigError when the file writes its map in a way into which nothing can be added without a person.
    """
    before = mapped_in(text, link)
    added = {tag: one for tag, one in nodes.items() if tag not in before}
    if not added:
        return text
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = newline.join(lines_of(added)) + newline
    header = re.compile(
        rf"^[ \t]*\[[ \t]*plc[ \t]*\.[ \t]*{_key(link)}[ \t]*\.[ \t]*map[ \t]*\][^\r\n]*(\r?\n|\Z)", re.M
    )
    place = header.search(text)
    if place is None:
        joined = text if not text or text.endswith("\n") else text + newline
        changed = f"{joined}{newline}[plc.{link}.map]{newline}{lines}"
    else:
        head = text[: place.end()]
        changed = (head if head.endswith("\n") else head + newline) + lines + text[place.end() :]
    if not _is_added(text, changed, link, {**before, **added}):
        raise ConfigError(
            f"nothing can be added to the way in which the file writes plc.{link}.map; add these lines yourself:\n"
            + "\n".join(lines_of(added))
        )
    return changed


def _is_added(text: str, changed: str, link: str, nodes: Mapping[str, str]) -> bool:
    """Whether the changed file says what it said before, and the mapping."""
    try:
        old, new = _parsed(text), _parsed(changed)
        if mapped_in(changed, link) != nodes:
            return False
    except ConfigError:
        return False
    for table in (old, new):
        table["plc"][link].pop("map", None)
    return old == new


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as exc:
        raise ConfigError(f"the file is not TOML: {exc}") from exc


def _key(link: str) -> str:
    quoted = f"(?:\"{re.escape(link)}\"|'{re.escape(link)}')"
    return f"(?:{re.escape(link)}|{quoted})" if _BARE.fullmatch(link) else quoted


def _quoted(text: str) -> str:
    plain = "'" not in text and text.isprintable()
    return f"'{text}'" if plain else json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
