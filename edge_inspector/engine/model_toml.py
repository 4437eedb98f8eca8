"""The text of a model.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edge_inspector.datatypes import InputSpec

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_COMMENTS = {
    "classes": "in the order of the network's outputs",
    "good": "no defects: a classified view must show one of them to be OK",
    "score_floor": "candidates below are never looked at",
    "thresholds": "from which confidence a class counts: a starting point, tune it on pictures of your parts",
    "limits": "between which values, themselves included, a part is good",
    "color": "gray | rgb | bgr: what the network was trained on",
    "scale": "(value * scale - mean) / std, value 0 to 255",
    "pad_value": "border around the fitted picture, 0 to 255",
}
_TABLES = ("decoder_options", "input", "thresholds", "limits")


def model_toml(document: Mapping[str, Any], exporter: str, sources: Sequence[str]) -> str:
    """`document` by the keys of model.toml, `input` as an `InputSpec`; `sources` become a comment at its head."""
    lines = [f"# Imported from {_plain(exporter)}. Where the values are from:"]
    lines += [*(f"#   {_plain(line)}" for line in sources), ""]
    lines += ["schema = 1", *(_line(key, value) for key, value in document.items() if key not in _TABLES)]
    for table in _TABLES:
        values = document.get(table)
        if isinstance(values, InputSpec):
            values = vars(values)
        if values:
            lines += ["", f"[{table}]" + _comment(table), *(_line(key, value) for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """What a comment may hold: one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _line(key: str, value: Any) -> str:
    return f"{key if _BARE.fullmatch(key) else _text(key)} = {_value(value)}{_comment(key)}"


def _comment(key: str) -> str:
    return f"  # {_COMMENTS[key]}" if key in _COMMENTS else ""


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)


def _text(text: str) -> str:
    """A TOML string: JSON's, which leaves one control character as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
