"""Runs the subset of IEC 61131-3 Structured Text and Siemens SCL in which our function blocks are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

_UNSIGNED_BITS: Mapping[str, int] = {"UDINT": 32, "UINT": 16}
_DECLARATION = re.compile(r"^\s+(\w+) : ([^;:]+?)(?: := (\w+))?;", re.MULTILINE)
_WORDS: Mapping[str, str] = {"AND": "and", "OR": "or", "NOT": "not", "MOD": "%", "TRUE": "True", "FALSE": "False"}
_FUNCTIONS = {"UDINT_TO_DINT": int}


class Program:
    """One function block; `memory` is how its variables begin."""

    def __init__(self, source: str) -> None:
        text = re.sub(r"\(\*.*?\*\)|//[^\n]*", "", source, flags=re.DOTALL).replace('"', "")
        structs = dict(re.findall(r"TYPE (\w+)\b.*?STRUCT\n(.*?)END_STRUCT", text, re.DOTALL))
        block = text[text.index("FUNCTION_BLOCK") :]
        declared = "".join(re.findall(r"VAR(?:_\w+)?\n(.*?)END_VAR", block, re.DOTALL))
        self._types: dict[str, str] = {}
        self.memory = SimpleNamespace(**self._variables(declared, structs, ""))
        body = block[block.rindex("END_VAR") + len("END_VAR") : block.index("END_FUNCTION_BLOCK")]
        self._code = compile(self._python(body.replace("BEGIN", "")), "<function block>", "exec")

    def run(self, memory: SimpleNamespace) -> None:
        """One cycle on these variables."""
        exec(self._code, {"m": memory, **_FUNCTIONS})

    def _variables(self, declared: str, structs: Mapping[str, str], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, kind, initial in _DECLARATION.findall(declared):
            if kind in structs:
                found[name] = SimpleNamespace(**self._variables(structs[kind], structs, f"{name}."))
                continue
            array = re.fullmatch(r"array\[0\.\.(\d+)\] of (.+)", kind, re.IGNORECASE)
            scalar = (array[2] if array else kind).upper()
            self._types[prefix + name] = scalar
            zero: Any = "" if scalar.startswith("STRING") else False if scalar == "BOOL" else int(initial or 0)
            found[name] = [zero] * (int(array[1]) + 1) if array else zero
        return found

    def _python(self, body: str) -> str:
        lines, depth = [], 0
        for statement in re.split(r";|\bTHEN\b|\bDO\b", body.replace("#", "")):
            text = " ".join(statement.split())
            if text in ("END_IF", "END_FOR"):
                depth -= 1
            elif text:
                depth -= text.startswith("ELSIF")
                lines.append("    " * depth + self._statement(text))
                depth += text.startswith(("IF ", "ELSIF ", "FOR "))
        assert depth == 0, "an IF or FOR is not closed"
        return "\n".join(lines)

    def _statement(self, text: str) -> str:
        first, _, rest = text.partition(" ")
        if first in ("IF", "ELSIF"):
            return f"{'if' if first == 'IF' else 'elif'} {self._expression(rest)}:"
        target, _, value = text.removeprefix("FOR ").partition(" := ")
        if first == "FOR":
            low, _, high = value.partition(" TO ")
            return f"for m.{target} in range({low}, {high} + 1):"
        bits = _UNSIGNED_BITS.get(self._types[target.partition("[")[0]])
        new = self._expression(value)
        return f"{self._expression(target)} = {f'({new}) % 2**{bits}' if bits else new}"

    def _expression(self, text: str) -> str:
        """Python for it. As on a 64-bit controller (CODESYS) a result wraps only when it is assigned."""
        text = re.sub(r"(?<![<>!:])=", "==", text.replace("<>", "!="))

        def named(found: re.Match[str]) -> str:
            word = found[0]
            return _WORDS.get(word, word if word in _FUNCTIONS or word.isdigit() else f"m.{word}")

        return re.sub(r"(?<![\w.])\w+", named, text)
