"""Everything but the ledger that a station keeps over a power cut: how it is written, replaced and read.

python tests/power_cut_cases.py FOLDER      writes each of them twice, in a folder of its own, and marks where
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_inspector.backends.tensorrt import cache_file
from edge_inspector.config import last_good
from edge_inspector.engine import files, passport
from edge_inspector.engine.fingerprint import Fingerprint
from edge_inspector.engine.limits_file import LimitsFile, read_limits, write_limits
from edge_inspector.engine.passport import Passport, Proof
from edge_inspector.engine.store import EngineStore
from edge_inspector.outputs.opcua_server.security import keeping, trust, users
from edge_inspector.outputs.opcua_server.security.files import Pki
from edge_inspector.stages.camera_reference import Reference, Spread
from edge_inspector.station.power_speeds import Measured, read_table, write_table
from edge_inspector.station.reference_files import Facts, read_reference, write_reference
from edge_inspector.store.images import files as images
from edge_inspector.web.tokens import token_file

MARK = "/mark/"
WANTED = Fingerprint({"onnx_sha256": "a" * 64, "model_hash": "b" * 64, "decoder": "yolo", "gpu": "Orin"})
NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)


@dataclass(frozen=True)
class Case:
    """`old` and `new` write into a folder, one after the other; `read` gives what a reader there makes of it.

    `lasting`: when `new` has returned, no power cut may bring the old one back.
    """

    old: Callable[[Path], object]
    new: Callable[[Path], object]
    read: Callable[[Path], object]
    lasting: bool = True


def nothing(folder: Path) -> None:
    """There is none yet."""


def station_file(words: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "state").mkdir(exist_ok=True)
        last_good.keep(folder / "state", f"# {words}\n".encode() * 500)

    return write


def read_station_file(folder: Path) -> object:
    found = last_good.find(folder / "station.toml")
    return None if found is None else found.read_bytes()


def certificate(name: str) -> x509.Certificate:
    """Of nobody but its name."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(NOW)
    return builder.not_valid_after(NOW + datetime.timedelta(days=1)).sign(key, hashes.SHA256())


def trusted(folder: Path, *names: str) -> None:
    for name in names:
        given = folder / f"{name}.pem"
        given.write_bytes(certificate(name).public_bytes(serialization.Encoding.PEM))
        keeping.trust_file(Pki(folder / "pki"), given)


def distrusted(folder: Path, name: str) -> None:
    pki = Pki(folder / "pki")
    kept, _ = keeping.kept_in(pki.trusted)
    keeping.distrust(pki, next(one.thumbprint for one in kept if one.subject.endswith(name)))


def read_trusted(folder: Path) -> object:
    pki = Pki(folder / "pki")
    _, damaged = keeping.kept_in(pki.trusted)
    assert not damaged, damaged
    return sorted(one.subject.rfc4514_string() for one in trust.load(pki).trusted)


def user(folder: Path, *names: str) -> None:
    made = {name: users.Account(name, users.Role.READER, f"x509${'ab' * 32}") for name in names}
    users.write_users(Pki(folder).users, made)


def token(folder: Path, name: str) -> object:
    return token_file(folder).add(name, "reader", 0, NOW)


def read_tokens(folder: Path) -> object:
    return [one.name for one in token_file(folder).tokens()]


def engine(built: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with EngineStore(folder / "engines").building(WANTED) as made:
            (made / "deep").mkdir()
            (made / "plan").write_bytes(built.encode() * 500)
            (made / "deep" / "cache").write_bytes(b"timings")
            _passport(made, built)

    return write


def _passport(made: Path, built: str) -> None:
    proof = Proof(outcome="passed", text="all the same", good=3, bad=3)
    facts = {"bundle": "boards", "version": "1.0.0", "built_utc": built, "build_s": 1.5, "report": {}}
    kept = Passport(digest=WANTED.digest, facts=dict(WANTED.facts), files=files.sums(made), proof=proof, **facts)  # type: ignore[arg-type]
    (made / passport.FILE).write_bytes(kept.to_json())


def proven_again(folder: Path) -> None:
    store = EngineStore(folder / "engines")
    found = store.find(WANTED)
    assert found is not None
    store.renew(found, found.passport.proof.model_copy(update={"good": 24}))


def read_engine(folder: Path) -> object:
    """As a build does, which looks again when it may write: see engine/build.py."""
    store = EngineStore(folder / "engines")
    found = store.find(WANTED)
    if found is None:
        with store.building(WANTED):
            found = store.find(WANTED)
    assert not list((folder / "engines").glob("*.damaged")), "an engine was taken for damaged"
    return None if found is None else (found.passport.built_utc, found.passport.proof.good)


def picture(folder: Path) -> None:
    path = images.path_of("rejects", "2026-11-22T06:00:00Z", True, "line1.0a1b2c3d.7.top.original.png")
    images.write(folder / "images", path, (memoryview(b"the pixels" * 999),))


def read_pictures(folder: Path) -> object:
    images.remove_leftovers(folder / "images")
    return {
        one.path: (folder / "images" / one.path).read_bytes()
        for day in images.all_stored(folder / "images")
        for one in day
    }


def reference(gray: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        pixels = np.full((64, 64), gray, np.uint8)
        seen = Reference(pixels, pixels, pixels, (1.0,), Spread(0.1, 0.1, 0.1, (0.1,)))
        write_reference(folder, "pcb", "top", seen, Facts(f"{gray}", "who", 5, {}, (1.0,), seen.spread))

    return write


def read_gray(folder: Path) -> object:
    found = read_reference(folder, "pcb", "top")
    return None if found is None else (int(found[0].median[0, 0]), found[1].taken_utc)


def speeds(mode: str) -> Callable[[Path], None]:
    row = Measured(
        recipe="pcb",
        runs="0" * 16,
        mode=mode,
        parts=9,
        p50_ms=1.0,
        p99_ms=2.0,
        parts_per_s=3.0,
        power_w=None,
        measured_utc="",
    )
    return lambda folder: write_table(folder / "power.json", [row] * 40)


def limits(good: int) -> Callable[[Path], object]:
    rows = ((0.1, 0.4, 3, 0, 0.5),)
    made = LimitsFile(
        schema=1, recipe="pcb", model="a" * 64, golden="b" * 64, rules="c" * 64, utc="", good=good, by_class=rows
    )
    return lambda folder: write_limits(folder, made)


def read_good(folder: Path) -> object:
    found = read_limits(folder, "pcb")
    return None if found is None else found.good


def cache(words: bytes) -> Callable[[Path], None]:
    return lambda folder: cache_file.write(folder / "timing.cache", words * 500)


CASES = {
    "the first good station file": Case(nothing, station_file("first"), read_station_file),
    "the next good station file": Case(station_file("first"), station_file("second"), read_station_file),
    "a trusted client": Case(lambda at: trusted(at, "plc"), lambda at: trusted(at, "scada"), read_trusted),
    "a client no more trusted": Case(
        lambda at: trusted(at, "plc", "scada"), lambda at: distrusted(at, "scada"), read_trusted
    ),
    "users": Case(
        lambda at: user(at, "plc"), lambda at: user(at, "plc", "scada"), lambda at: [*users.read_users(Pki(at).users)]
    ),
    "a token": Case(lambda at: token(at, "panel"), lambda at: token(at, "office"), read_tokens),
    "a token taken back": Case(
        lambda at: (token(at, "panel"), token(at, "office")),
        lambda at: token_file(at).remove("panel"),
        read_tokens,
    ),
    "the first engine": Case(nothing, engine("06:00"), read_engine),
    "an engine built again": Case(engine("06:00"), engine("09:00"), read_engine),
    "an engine's new proof": Case(engine("06:00"), proven_again, read_engine),
    "a picture": Case(nothing, picture, read_pictures),
    "the first reference picture": Case(nothing, reference(90), read_gray),
    "the next reference picture": Case(reference(90), reference(140), read_gray),
    "the speeds of power modes": Case(
        speeds("15W"), speeds("MAXN"), lambda at: [row.mode for row in read_table(at / "power.json")]
    ),
    "a golden run's limits": Case(limits(3), limits(9), read_good),
    "a builder's cache": Case(
        cache(b"old"), cache(b"new"), lambda at: cache_file.read(at / "timing.cache"), lasting=False
    ),
}


def torn(folder: Path) -> None:
    """How none of them is written: renamed before it is on the disk."""
    (folder / "new").write_bytes(b"second" * 500)
    (folder / "new").replace(folder / "kept")


def mark(what: str) -> None:
    """A call that fails and is seen."""
    try:
        os.rmdir(MARK + what)
    except FileNotFoundError:
        return


def main(folder: Path) -> None:
    careless = Case(lambda at: (at / "kept").write_bytes(b"first" * 500), torn, nothing)
    for name, case in {**CASES, "careless": careless}.items():
        place = folder / name
        place.mkdir()
        case.old(place)
        mark(f"begin {name}")
        case.new(place)
        mark(f"end {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
