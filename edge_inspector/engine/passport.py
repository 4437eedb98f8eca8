"""The passport of an engine: what it was built from, and what its proof has shown."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from edge_inspector.engine.fingerprint import Fingerprint, canonical
from edge_inspector.errors import BundleError
from edge_inspector.settings import Settings

FILE = "passport.json"
SCHEMA: Literal[1] = 1
Outcome = Literal["passed", "failed", "unverified"]


class DamagedPassportError(BundleError):
    """What is written there is not what was written by us."""


class NewerPassportError(BundleError):
    """Written by a later version of edge-inspector; nothing is wrong with it."""


class _Record(Settings):
    model_config = ConfigDict(allow_inf_nan=False, extra="ignore")  # a later version may add keys to schema 1


class FileSum(_Record):
    """One file of an engine, in bytes."""

    sha256: str
    size: int


class Flip(_Record):
    """One picture on which two models disagree: each one's verdict, and what it saw.

    `label` is what a person says of the picture; `escape` that the reference rejects what the engine passes.
    """

    picture: str
    label: Literal["good", "bad", ""]
    reference: str
    engine: str
    reference_text: str
    engine_text: str
    escape: bool


class Latency(_Record):
    """Of one run after another, from the prepared picture to the outputs; `runs` of them."""

    median_ms: float
    p99_ms: float
    runs: int


class Proof(_Record):
    """How an engine's verdicts compare with the ONNX file's own.

    `good` and `bad` count the pictures that the reference judges as their label says and to which the engine gave an
    answer; `golden` is the sum of the golden
    set, so that a changed set is seen; `thresholds` are those by which pictures were judged besides the bundle's own,
    per class index. `overkill` counts pictures that only the engine rejects, `unanswered` names
    those on which a model failed. `tensors` and `detections` say how far apart the two are where verdicts are the same.
    """

    outcome: Outcome
    text: str
    reference: str = ""
    pictures: int = 0
    good: int = 0
    bad: int = 0
    golden: str = ""
    thresholds: tuple[tuple[float, ...], ...] = ()
    flips: tuple[Flip, ...] = ()
    overkill: int = 0
    unanswered: tuple[str, ...] = ()
    tensors: dict[str, Any] = Field(default_factory=dict)
    detections: dict[str, Any] = Field(default_factory=dict)
    batch_sizes: tuple[int, ...] = (1,)
    latency: dict[str, Latency] = Field(default_factory=dict)


class Passport(_Record):
    """Of one engine; `files` by their path in its folder, none where the backend runs the ONNX file itself."""

    schema_no: Literal[1] = Field(default=SCHEMA, alias="schema")
    digest: str
    facts: dict[str, str]
    bundle: str
    version: str
    built_utc: str
    build_s: float
    report: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, FileSum] = Field(default_factory=dict)
    proof: Proof

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.facts)

    def to_json(self) -> bytes:
        """The file's content: one JSON object with a sum over the rest of it. ValueError for NaN and infinity."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps({**content, "sum": _sum(content)}, indent=1, allow_nan=False).encode() + b"\n"


def read_passport(content: bytes) -> Passport:
    """Check and read a file's content. DamagedPassportError and NewerPassportError say what is wrong.

    The sum shows damage and edits by hand; it keeps nobody out who means to forge one.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise DamagedPassportError(f"{FILE} is not JSON ({exc})") from exc
    if not isinstance(document, dict):
        raise DamagedPassportError(f"{FILE} is not a JSON object")
    schema = document.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerPassportError(f"{FILE} has schema {schema}, expected {SCHEMA}: it is of a later edge-inspector")
    written = document.pop("sum", None)
    if written != _sum(document):
        raise DamagedPassportError(f"{FILE} is not as it was written: its sum is {written!r:.80}")
    try:
        passport = Passport.model_validate(document)
    except ValidationError as exc:
        raise DamagedPassportError(f"{FILE} is no passport: {exc.errors(include_url=False)[0]['msg']}") from exc
    if passport.fingerprint.digest != passport.digest:
        raise DamagedPassportError(f"{FILE} has facts of another fingerprint than its own {passport.digest[:12]}")
    return passport


def _sum(content: dict[str, Any]) -> str:
    try:
        return hashlib.sha256(canonical(content)).hexdigest()
    except (ValueError, RecursionError) as exc:  # json.loads takes NaN, and nests deeper than json.dumps
        raise DamagedPassportError(f"{FILE} holds what JSON cannot say: {exc}") from exc
