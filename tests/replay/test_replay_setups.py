"""What a replay runs parts by: the engine that the station would load, a copy's folders, another bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import networks
import pytest
from replay_rig import LENS, station_text

from edge_inspector.calibration.file import calibration_text
from edge_inspector.datatypes import ThresholdState
from edge_inspector.engine.fingerprint import fingerprint
from edge_inspector.engine.passport import FILE, Passport, Proof
from edge_inspector.engine.store import EngineStore
from edge_inspector.errors import ConfigError
from edge_inspector.interfaces import EngineOptions
from edge_inspector.replay.setups import Station, read_station, with_bundle, with_engine


class Builds:
    """A backend that runs engines; it loads none here."""

    prepares_on_device = False
    max_batch = 3
    options = EngineOptions()

    def __init__(self, proof: Literal["kept", "each_start"]) -> None:
        self.proof = proof

    def facts(self) -> dict[str, str]:
        return {"device": "a test's"}


@pytest.fixture
def station(tmp_path: Path) -> Station:
    (tmp_path / "pictures").mkdir()
    networks.bundle("yolo", tmp_path / "little")
    (tmp_path / "lens.yaml").write_text(calibration_text(LENS))
    (tmp_path / "station.toml").write_text(station_text())
    return read_station(tmp_path / "station.toml")


def on(station: Station, backend: Any) -> Station:
    return replace(station, backend=backend)


def test_an_engine_that_is_not_built_is_asked_for_by_its_command(station: Station) -> None:
    built = on(station, Builds("kept"))
    with pytest.raises(ConfigError, match=r"edge-inspector engine build .*little --station .*station\.toml"):
        with_engine(built, built.setup("spots"))


@pytest.mark.parametrize(("outcome", "told"), [("passed", ""), ("unverified", "is unverified: too few pictures")])
def test_the_engine_that_was_built_is_run_as_far_as_it_is_proven(
    station: Station, outcome: Literal["passed", "unverified"], told: str
) -> None:
    built = on(station, Builds("kept"))
    setup = built.setup("spots")
    store = EngineStore(station.state_dir / "engines")
    digest = fingerprint(setup.bundle, built.backend)
    proof = Proof(outcome=outcome, text="too few pictures", batch_sizes=(1, 2))
    with store.building(digest) as folder:
        passport = Passport(
            digest=digest.digest, facts=dict(digest.facts), bundle="little", version="1", built_utc="", build_s=1.0,
            files={}, proof=proof,
        )  # fmt: skip
        (folder / FILE).write_bytes(passport.to_json())
    chosen = with_engine(built, setup)
    assert chosen.engine.batch_sizes == (1, 2)
    assert told in chosen.engine.note
    assert bool(chosen.engine.note) == bool(told)


def test_a_server_that_is_proven_at_each_start_is_run_and_noted(station: Station) -> None:
    served = on(station, Builds("each_start"))
    engine = with_engine(served, served.setup("spots")).engine
    assert engine.batch_sizes == (1, 2, 3)
    assert "without the proof of a start" in engine.note


def test_a_copy_has_its_own_folders_and_the_file_its_own(station: Station, tmp_path: Path) -> None:
    assert station.ledger == tmp_path / "state/ledger.sqlite"
    assert station.images == tmp_path / "state/images"
    text = station.file.read_text().replace("[images]", "[images]\nfolder = 'elsewhere'")
    station.file.write_text(text)
    assert read_station(station.file).images == tmp_path / "elsewhere"
    copied = read_station(station.file, tmp_path / "copied")
    assert (copied.ledger, copied.images) == (tmp_path / "copied/ledger.sqlite", tmp_path / "copied/images")
    assert read_station(station.file, tmp_path / "copied", tmp_path / "i").images == tmp_path / "i"


def test_another_bundle_keeps_where_the_recipe_looks(station: Station, tmp_path: Path) -> None:
    setup = station.setup("spots")
    other = with_bundle(station, setup, networks.bundle("yolo", tmp_path / "other", seed=3, size=96))
    assert other.recipe.model_hash != setup.recipe.model_hash
    assert not other.sees_alike(setup)
    plan, before = other.recipe.plans["cam"], setup.recipe.plans["cam"]
    assert (plan.calibration, plan.roi) == (before.calibration, before.roi)
    assert (plan.input.height_px, before.input.height_px) == (96, 64)
    assert [rule.name for rule in other.recipe.criteria.rules] == [rule.name for rule in setup.recipe.criteria.rules]


def test_a_recipe_that_does_not_fit_another_bundle_is_refused_with_every_problem(
    station: Station, tmp_path: Path
) -> None:
    text = station.file.read_text().replace(
        'bundle = "little"', 'bundle = "little"\nthresholds = { bright = 0.06, dark = 0.3 }'
    )
    station.file.write_text(text)
    folder = networks.bundle("yolo", tmp_path / "other", classes=1)
    model = folder / "model.toml"
    model.write_text(model.read_text().replace("score_floor = 0.05", "score_floor = 0.1"))
    again = read_station(station.file)
    with pytest.raises(ConfigError) as refused:
        with_bundle(again, again.setup("spots"), folder)
    told = str(refused.value).splitlines()
    assert len(told) == 3
    assert "recipes.spots.thresholds.bright = 0.06: expected at least the score_floor" in told[0]
    assert "recipes.spots.thresholds.dark = 0.3: is no class of bundle little-yolo; its classes are bright" in told[1]
    assert "recipes.spots.rules.0" in told[2]


def test_a_threshold_changes_its_class_alone(station: Station) -> None:
    setup = station.setup("spots")
    base = ThresholdState((0.4, 0.5, 0.6), "guarded")
    assert setup.with_thresholds({"dark": 0.9}, base) == ThresholdState((0.4, 0.9, 0.6), "guarded")
    with pytest.raises(ConfigError, match="its classes are bright, dark, spare0"):
        setup.with_thresholds({"rust": 0.9}, base)
    with pytest.raises(ConfigError, match=r"score_floor"):
        setup.with_thresholds({"dark": 0.049}, base)
    assert setup.with_thresholds({"dark": 0.05}, base).by_class[1] == 0.05
