"""The page of the fault table: every row has its test, and what a test says cannot break the table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    spec = importlib.util.spec_from_file_location("faults_tool", ROOT / "tools" / "faults.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def record(row: int, **changed: Any) -> dict[str, Any]:
    cells = {"test": f"t{row}", "injected": "how", "saw": "what", "recovery_s": 1.25, "books": "even"}
    return {"row": row, **cells, **changed}


def test_a_row_without_a_test_is_named(faults: ModuleType) -> None:
    assert len(faults.ROWS) == 40
    assert faults.without_record([record(row) for row in range(1, 41) if row not in (7, 40)]) == [7, 40]


def test_rows_stand_in_order_and_what_a_test_says_stays_in_its_cell(faults: ModuleType) -> None:
    text = faults.page([record(2, saw="a | b\n<c>", recovery_s=None), record(1)], "here")
    assert text.splitlines()[-2:] == [
        "| 1 | Camera unplugged while grabbing | how | what | 1.2 s | even |",
        "| 2 | A driver call hangs for ever | how | a \\| b &lt;c&gt; |  | even |",
    ]


def test_the_page_in_the_tree_has_every_row(faults: ModuleType) -> None:
    lines = faults.PAGE.read_text(encoding="utf-8").splitlines()
    shown = {
        int(line.split(" | ")[0].removeprefix("| ")) for line in lines if line[:3] in {f"| {n}" for n in range(10)}
    }
    assert shown == set(range(1, 41))
