"""What a station remembers of its golden-sample checks, and what it owes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from edge_inspector.settings.golden import GoldenSettings
from edge_inspector.station.golden_run import MasterRun
from edge_inspector.station.parts import LoadedRecipe

NAME = "golden"
"""Of the book in the ledger's `kept`."""
MOST_AT_ONCE = 10
"""Production parts that are booked together; a start takes that many for passed, because some may have."""


@dataclass(frozen=True)
class Standing:
    """What is known of one recipe; `parts` are those of production since it passed, `late` those since a check was due.

    `proof` is what passed: recipe, model and software. `owed` is why no part may be judged before the next check, as a
    person should read it, empty = nothing; `failed` what was judged wrongly, `pictures_failed` of the stored pictures.
    """

    passed_utc: str = ""
    passed_synced: bool = False
    proof: str = ""
    parts: int = 0
    late: int = 0
    owed: str = ""
    failed: str = ""
    pictures_failed: str = ""


@dataclass(frozen=True)
class GoldenBook:
    """Of all recipes; `recipe` is the one that was active last, `run` the showing of master parts that has begun."""

    recipe: str = ""
    recipes: Mapping[str, Standing] = field(default_factory=dict)
    run: MasterRun | None = None

    def of(self, recipe: str) -> Standing:
        return self.recipes.get(recipe, Standing())

    def now(self, recipe: str, standing: Standing) -> GoldenBook:
        """With this standing of a recipe."""
        return replace(self, recipes={**self.recipes, recipe: standing})

    def to_json(self) -> str:
        return _BOOKS.dump_json(self).decode()


_BOOKS = TypeAdapter(GoldenBook)


def read_book(text: str | None) -> GoldenBook:
    """What was kept. What cannot be read is forgotten: then every check is owed."""
    try:
        return GoldenBook() if text is None else _BOOKS.validate_json(text)
    except ValidationError:
        return GoldenBook()


def at_once(settings: GoldenSettings) -> int:
    """How many production parts are booked together: no more than a tenth of what is counted."""
    return MOST_AT_ONCE if settings.every_parts is None else max(1, min(MOST_AT_ONCE, settings.every_parts // 10))


def after_start(
    book: GoldenBook,
    recipe: LoadedRecipe,
    recipes: Mapping[str, LoadedRecipe],
    left: Mapping[str, int],
    shown: Collection[str],
) -> GoldenBook:
    """A new process: a showing that had begun is over, and parts that were not booked any more are taken for passed.

    `left` is by recipe how many production parts only the flight record has: their count waited for the disk, too.
    `shown` are the recipes of the master parts that only it has: what they have shown may be lost.
    """
    for name, one in book.recipes.items():
        settings = recipes[name].settings.golden if name in recipes else None
        if settings is not None:
            more = at_once(settings) + left.get(name, 0)
            book = book.now(name, replace(one, parts=one.parts + more, late=one.late + more if one.late else 0))
    for name in {*shown, *([] if book.run is None else [book.run.recipe])}:
        owed = "the station was restarted while master parts were shown"
        book = book.now(name, replace(book.of(name), owed=owed))
    return selected(replace(book, run=None), recipe)


def selected(book: GoldenBook, recipe: LoadedRecipe) -> GoldenBook:
    """A recipe is the active one now."""
    settings, before = recipe.settings.golden, book.recipe
    book = replace(book, recipe=recipe.name)
    if settings is None or not settings.after_changeover or before in ("", recipe.name):
        return book
    return book.now(recipe.name, replace(book.of(recipe.name), owed=f"recipe {recipe.name} followed {before}"))


def passed(book: GoldenBook, recipe: LoadedRecipe, software: str, utc: str, synced: bool) -> GoldenBook:
    """Every known part was judged as it must be. What stored pictures have shown stays."""
    pictures_failed = book.of(recipe.name).pictures_failed
    proof = proof_of(recipe, software)
    return book.now(recipe.name, Standing(utc, synced, proof, pictures_failed=pictures_failed))


def pictures_judged(
    book: GoldenBook, recipe: LoadedRecipe, faults: str, software: str, utc: str, synced: bool
) -> GoldenBook:
    """Stored pictures were judged; `faults` is what was wrong. They are the check of a recipe without master parts."""
    book = book.now(recipe.name, replace(book.of(recipe.name), pictures_failed=faults))
    settings = recipe.settings.golden
    if faults or settings is None or settings.parts:
        return book
    return passed(book, recipe, software, utc, synced)


def why_blocked(standing: Standing, proof: str) -> str:
    """Why no part may be judged before the next check, whatever the grace; empty = nothing."""
    if standing.failed:
        return f"the golden-sample check failed: {standing.failed}"
    if standing.pictures_failed:
        return f"stored pictures were judged wrongly: {standing.pictures_failed}"
    if not standing.passed_utc:
        return "no golden-sample check was passed yet"
    if standing.proof != proof:
        return "recipe, model or software are not those of the last golden-sample check"
    return standing.owed and f"a golden-sample check is due: {standing.owed}"


def why_due(settings: GoldenSettings, standing: Standing, new_shift: bool) -> str:
    """Why a check is due by the schedule; empty = it is not."""
    if new_shift and settings.shift_start:
        return "the shift has begun"
    if settings.every_parts is not None and standing.parts >= settings.every_parts:
        return f"{standing.parts} parts since the last one, every_parts = {settings.every_parts}"
    return ""


def proof_of(recipe: LoadedRecipe, software: str) -> str:
    """A fingerprint of all that a check proves: what judges a part, and the list of the master parts."""
    golden = recipe.settings.golden
    says = recipe.settings.model_dump(mode="json", exclude={"golden", "adaptive", "health"})
    listed = [] if golden is None else [part.model_dump(mode="json") for part in golden.parts]
    what = [says, listed, recipe.model_hash, recipe.thresholds.by_class, repr(recipe.plans), software]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
