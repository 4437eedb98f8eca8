"""The replay report: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from edge_inspector import __version__
from edge_inspector.errors import ConfigError
from edge_inspector.replay.pictures import Pair, pairs
from edge_inspector.replay.rates import Estimate
from edge_inspector.replay.records import ReplayedPart
from edge_inspector.replay.replaying import Replay
from edge_inspector.replay.summary import Summary, flips, skip_words, words

KINDS = {
    "reject": "were no OK then",
    "near": "OK, near a threshold",
    "sample": "OK, one of {n} kept",
    "unkept": "OK, none of them kept",
}
"""Why pictures were kept, for people."""


@dataclass(frozen=True)
class Flip:
    """One part in the report; no pictures beyond the first so many. `tone`: good, fair or poor."""

    part: ReplayedPart
    verdict: str
    tone: str
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Row:
    """One estimate; `left` and `right` are where its interval lies on a scale of 0 to 100."""

    name: str
    said: str
    point: float | None
    left: float
    right: float


def report_html(replay: Replay, made: Summary, pictures: int) -> str:
    """The whole page, with pictures of at most so many parts. ConfigError: jinja2 is missing."""
    try:
        import jinja2
    except ImportError as exc:
        raise ConfigError('a report needs jinja2: pip install "edge-inspector[evaluate]"') from exc
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("edge_inspector.replay").joinpath("report.html.j2").read_text(encoding="utf-8")
    changed = flips(replay)
    return environment.from_string(source).render(
        what=words(replay.asked.what),
        replay=replay,
        made=made,
        flips=[_flip(replay, part, shown=number < pictures) for number, part in enumerate(changed)],
        rows=_rows(made),
        strata=[(KINDS[s.kind].format(n=s.every_nth), s) for s in replay.strata.sampled(replay.parts)],
        skipped=skip_words(made.skipped),
        first=replay.parts[0].booked.wall_utc if replay.parts else "",
        last=replay.parts[-1].booked.wall_utc if replay.parts else "",
        of_all=of_all,
        asked=replay.asked.what.anything or bool(changed),
        made_with=f"edge-inspector {__version__}",
    )


def of_all(one: Estimate) -> str:
    """An estimate in words, in percent and parts."""
    if one.share is None:
        return f"not known: {percent(one.low)} to {percent(one.high)}"
    if one.low == one.high:
        return f"{percent(one.share)} ({round(one.share * one.parts)} parts)"
    low, high = round(one.low * one.parts), round(one.high * one.parts)
    return f"{percent(one.share)}, 95 %: {percent(one.low)} to {percent(one.high)} ({low} to {high} parts)"


def percent(share: float) -> str:
    """With as many digits as a rare thing needs."""
    value = 100 * share
    return f"{value:.0f} %" if value in (0, 100) else f"{value:.2f} %" if value < 10 or value > 90 else f"{value:.1f} %"


def _flip(replay: Replay, part: ReplayedPart, *, shown: bool) -> Flip:
    verdict = "now passed" if part.passes_now else "now rejected"
    tone = "fair"
    if part.good is not None:
        right = part.good == part.passes_now
        verdict += f", and it is {'good' if part.good else 'bad'}: {'put right' if right else 'judged wrongly now'}"
        tone = "good" if right else "poor"
    return Flip(part, verdict, tone, pairs(replay.station, replay.now[part.part.recipe], part) if shown else ())


def _rows(made: Summary) -> list[Row]:
    then = made.rejected_then / made.in_book if made.in_book else 0.0
    exact = Estimate(then, then, then, made.rejected_then, made.in_book, made.in_book)
    listed = [
        ("rejected then", exact),
        ("rejected now", made.rejected_now),
        ("passed then, rejected now", made.now_rejected),
        ("rejected then, passed now", made.now_passed),
    ]
    scale = max(one.high for _, one in listed) or 1.0
    return [
        Row(
            name,
            of_all(one),
            None if one.share is None else 100 * one.share / scale,
            100 * one.low / scale,
            100 * one.high / scale,
        )
        for name, one in listed
    ]
