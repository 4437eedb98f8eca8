"""The page into which the figures of a GPU run go."""

from __future__ import annotations


class Results:
    """Figures by section, in the order in which they were measured."""

    def __init__(self) -> None:
        self._sections: dict[str, list[tuple[str, str]]] = {}

    def add(self, section: str, name: str, value: str) -> None:
        self._sections.setdefault(section, []).append((name, value))
        print(f"{section}: {name}: {value}")  # noqa: T201

    def page(self, facts: dict[str, str]) -> str:
        """Markdown."""
        lines = ["# GPU results", "", "Written by `make test-gpu`; do not edit.", ""]
        lines += ["| machine | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
        for section, rows in self._sections.items():
            lines += ["", f"## {section}", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
        return "\n".join(lines) + "\n"
