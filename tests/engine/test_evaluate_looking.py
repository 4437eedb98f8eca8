"""What an evaluation makes of a model that fails: a fake at the backend's protocol, for no real one fails on order."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluate_rig import picture, subject

from edge_inspector.datatypes import Batch, PreparePlan, Tensors
from edge_inspector.engine.evaluate.looking import look
from edge_inspector.errors import ConfigError, DeviceLostError, InferenceError
from edge_inspector.interfaces import ModelFile, Ticket

BOXES = Tensors({"output0": np.zeros((1, 5, 3), np.float32)})


class Answers:
    """A backend and its model in one: gives or raises what it was told, one for each picture."""

    def __init__(self, *answers: Tensors | Exception) -> None:
        self.answers = list(answers)
        self.closed = False

    def load(self, model: ModelFile, plan: PreparePlan, max_batch: int) -> Answers:
        return self

    def submit(self, batch: Batch, slot: int) -> Ticket:
        return Ticket(slot, 0)

    def collect(self, ticket: Ticket, timeout_s: float) -> Tensors:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pictures(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((32, 32), np.uint8))
    return [picture(str(i), path=tmp_path / "one.png") for i in range(2)]


def silent(done: int, total: int) -> None: ...


def test_a_picture_without_an_answer_says_why_and_the_next_one_is_looked_at(pictures) -> None:
    backend = Answers(InferenceError("NaN"), BOXES)
    first, second = look(subject(["a"]), backend, pictures, "fused", silent)
    assert (first.failure, len(first.findings)) == ("NaN", 0)
    assert second.failure == ""
    assert backend.closed


def test_numbers_that_are_none_are_a_failure_of_that_picture(pictures) -> None:
    nan = Tensors({"output0": np.full((1, 5, 3), np.nan, np.float32)})
    first, second = look(subject(["a"]), Answers(BOXES, nan), pictures, "plain", silent)
    assert first.failure == ""
    assert "a score is nan" in second.failure


def test_a_model_that_never_answers_cannot_be_evaluated(pictures) -> None:
    backend = Answers(InferenceError("cold"), InferenceError("colder"))
    with pytest.raises(InferenceError, match="handmade gave no answer to any picture: cold"):
        look(subject(["a"]), backend, pictures, "fused", silent)
    assert backend.closed


def test_a_lost_device_ends_the_evaluation(pictures) -> None:
    backend = Answers(DeviceLostError("gone"), BOXES)
    with pytest.raises(DeviceLostError, match="gone"):
        look(subject(["a"]), backend, pictures, "fused", silent)
    assert backend.closed


def test_a_picture_that_cannot_be_read_is_told_after_the_others_were_looked_at(pictures, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pictures.insert(0, picture("bad", path=tmp_path / "bad.png"))
    backend = Answers(BOXES, BOXES)
    with pytest.raises(ConfigError, match=r"bad\.png \(not a picture\); replace or remove"):
        look(subject(["a"]), backend, pictures, "fused", silent)
    assert backend.answers == []
