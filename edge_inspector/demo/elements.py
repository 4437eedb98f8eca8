"""What a board is made of: traces, leads, IC rows, connectors, vias, delay lines, lands, pours."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]  # (H, W), 255 = copper, 0 = free

SLIVER_PX = 7  # no fabricator etches copper narrower than this beside a clearance


class Sheet:
    """Copper drawn so far. New copper keeps its distance from what is there."""

    def __init__(self, size_px: int, gap_px: int) -> None:
        self.size_px = size_px
        self.gap_px = gap_px
        self.wires = np.zeros((size_px, size_px), np.uint8)
        self.pours = np.zeros_like(self.wires)
        self.drilled = np.zeros_like(self.wires)
        self.vents: list[tuple[int, int, int]] = []  # drill holes of the pours: x, y, radius
        self._occupied = np.zeros_like(self.wires)

    def blank(self) -> Mask:
        return np.zeros((self.size_px, self.size_px), np.uint8)

    def fits(self, copper: Mask) -> bool:
        return not (copper & self._occupied).any()

    def place(self, copper: Mask, holes: Mask | None = None) -> None:
        """Add copper if it keeps the gap to all other wires; else the board goes without it."""
        if self.fits(copper):
            self.wires |= copper
            self._occupied |= _grown(copper, self.gap_px)
            if holes is not None:
                self.drilled |= holes

    def merged(self, clearance_px: int) -> Mask:
        """Wires, pours cut back around them, holes drilled."""
        pours = without_slivers(self.pours & ~_grown(self.wires, clearance_px))
        for x, y, radius in self.vents:
            reach = radius + 5
            if x > reach and y > reach and pours[y - reach : y + reach + 1, x - reach : x + reach + 1].all():
                cv2.circle(pours, (x, y), radius, 0, -1)
        return (self.wires | pours) & ~self.drilled


def bundle(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """Parallel traces with 45 degree bends; where they end inside the picture they end in dots."""
    count = int(rng.integers(2, 11)) if trace_px < 20 else int(rng.integers(1, 4))
    pitch_px = trace_px + max(int(sheet.gap_px * rng.uniform(0.8, 1.4)), 6)
    route = _route(rng, sheet.size_px, from_edge=True, leg_px=max(50.0, 0.9 * count * pitch_px))
    dot_px = int(rng.choice([0, 0, trace_px // 2 + 3, pitch_px // 2 - 3]))
    stagger_px = float(rng.choice([0, 0, 1, -1])) * pitch_px
    fan = sheet.blank()
    for nth in range(count):
        lane = sheet.blank()
        line = _offset(route, (nth - (count - 1) / 2) * pitch_px)
        ahead = line[-1] - line[-2]
        line[-1] += ahead / max(float(np.hypot(*ahead)), 1.0) * stagger_px * nth
        _polyline(lane, line, trace_px)
        if dot_px > trace_px // 2:
            cv2.circle(lane, _pixel(line[-1]), dot_px, 255, -1)
        if sheet.fits(lane):
            fan |= lane
    sheet.place(fan)


def lead(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """One trace between two pads; it may change its width, neck down for a moment, or branch."""
    route = _route(rng, sheet.size_px, from_edge=rng.random() < 0.3, leg_px=50.0)
    copper, holes = sheet.blank(), sheet.blank()
    special = int(rng.integers(len(route) - 1))
    along = route[special + 1] - route[special]
    middle = route[special] + along * rng.uniform(0.35, 0.65)
    along /= np.hypot(*along)
    across = np.array([-along[1], along[0]]) * rng.choice([-1, 1])
    detail = rng.random()
    for nth, leg in enumerate(pairwise(route)):
        width = int(trace_px * rng.choice([1, 1, 1, 1, 1.8]))
        if nth == special and detail < 0.35:
            half = along * min(trace_px / 2 + rng.uniform(5, 26), 0.3 * float(np.hypot(*(leg[1] - leg[0]))))
            _polyline(copper, np.stack(leg), max(trace_px // 2, 4))
            _polyline(copper, np.stack([leg[0], middle - half]), width)
            _polyline(copper, np.stack([middle + half, leg[1]]), width)
        else:
            _polyline(copper, np.stack(leg), width)
    if 0.35 < detail < 0.7:
        tip = middle + across * (trace_px / 2 + rng.uniform(14, 70))
        _polyline(copper, np.stack([middle, tip]), max(int(trace_px * rng.uniform(0.5, 1)), 5))
        _pad(rng, copper, holes, tip, trace_px * rng.uniform(0.6, 1.3) + 3)
    for end in (route[0], route[-1]):
        if rng.random() < 0.8:
            _pad(rng, copper, holes, end, trace_px * rng.uniform(0.7, 1.6) + 3)
    sheet.place(copper, holes)


def pad_row(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """The land pattern of an IC: equal pads in a row, some with a stub leading away."""
    count = int(rng.integers(3, 14))
    width = int(trace_px * rng.uniform(1.0, 2.0)) + 4
    length = int(width * rng.uniform(1.2, 4.0))
    pitch = width + max(sheet.gap_px, 7)
    x0, y0 = rng.integers(0, sheet.size_px, 2)
    copper, holes = sheet.blank(), sheet.blank()
    stub_px, bend_px = int(rng.integers(10, 160)), int(rng.integers(-80, 80))
    rounded, drilled, stubbed = rng.random() < 0.5, rng.random() < 0.25, rng.random() < 0.7
    for nth in range(count):
        x, y = int(x0) + nth * pitch, int(y0)
        if rounded:
            cv2.line(copper, (x, y - length // 2), (x, y + length // 2), 255, width)
        else:
            cv2.rectangle(copper, (x - width // 2, y - length // 2), (x + width // 2, y + length // 2), 255, -1)
        if drilled and width > 16:
            cv2.circle(holes, (x, y), max(width // 4, 5), 255, -1)
        if stubbed and rng.random() < 0.7:
            neck = min(trace_px, width - 2)
            knee = (x, y + length // 2 + stub_px)
            tip = (x + bend_px, knee[1] + abs(bend_px))
            _polyline(copper, np.array([(x, y), knee, tip], np.float64), neck)
    if rng.random() < 0.25:  # neighbours on one net share a bar
        first = int(rng.integers(count - 2))
        last = min(first + int(rng.integers(2, 5)), count - 1)
        y = int(y0) + int(rng.integers(-length // 3, length // 3 + 1))
        cv2.line(copper, (int(x0) + first * pitch, y), (int(x0) + last * pitch, y), 255, max(trace_px // 2, 5))
    sheet.place(copper, holes)


def pad_grid(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """A connector: a grid of equal pads; the drill is often off centre, all of them the same way."""
    radius = int(trace_px * rng.uniform(0.8, 1.6)) + 7
    hole = max(int(radius * rng.uniform(0.25, 0.85)), 5) if radius > 10 and rng.random() < 0.75 else 0
    rim_px = radius - hole
    drift_px = rim_px // 3
    if 2 * hole > radius and rng.random() < 0.5:  # far enough to break out of the pad
        drift_px = rim_px + int(rng.integers(-2, 5))
    drift = np.clip(rng.integers(-drift_px, drift_px + 1, 2), -radius, radius)
    pitch = 2 * radius + sheet.gap_px + int(rng.integers(4, 40))
    x0, y0 = rng.integers(0, sheet.size_px, 2)
    square, oblong = rng.random() < 0.3, int(rng.choice([0, 0, radius // 2]))
    copper, holes = sheet.blank(), sheet.blank()
    for row in range(int(rng.integers(1, 4))):
        for column in range(int(rng.integers(1, 7))):
            x, y = int(x0) + column * pitch, int(y0) + row * pitch
            if square:
                cv2.rectangle(copper, (x - radius, y - radius), (x + radius, y + radius), 255, -1)
            else:
                cv2.line(copper, (x, y - oblong), (x, y + oblong), 255, 2 * radius)
            if hole:
                cv2.circle(holes, (x + int(drift[0]), y + int(drift[1])), hole, 255, -1)
    sheet.place(copper, holes)


def vias(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """Round dots strewn about: the picture of a tented via."""
    radius = int(rng.integers(8, 11)) + trace_px // 4
    for _ in range(rng.integers(3, 12)):
        copper = sheet.blank()
        x, y = rng.integers(0, sheet.size_px, 2)
        cv2.circle(copper, (int(x), int(y)), radius, 255, -1)
        sheet.place(copper)


def meander(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """A delay line or a crenellated channel."""
    pitch = 2 * trace_px + int(rng.integers(4, 50))
    height = int(rng.integers(20, 120))
    turns = int(rng.integers(3, 14))
    points = []
    for nth in range(turns):
        near, far = (0, height) if nth % 2 == 0 else (height, 0)
        points += [(nth * pitch, near), (nth * pitch, far)]
    start = rng.uniform(-100, sheet.size_px, 2)
    angle = rng.choice([0, 0, np.pi / 2, np.pi / 4])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    copper = sheet.blank()
    _polyline(copper, np.array(points, np.float64) @ turn + start, trace_px)
    sheet.place(copper)


def discs(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """A big round land, solid, drilled or as concentric rings."""
    centre = _pixel(rng.uniform(0, sheet.size_px, 2))
    radius = int(rng.integers(18, 60)) if rng.random() < 0.7 else int(rng.integers(60, 200))
    copper = sheet.blank()
    cv2.circle(copper, centre, radius, 255, -1)
    if rng.random() < 0.6:
        inner = int(radius * rng.uniform(0.3, 0.85))
        cv2.circle(copper, centre, inner, 0, -1)
        if inner > 14 and rng.random() < 0.5:
            cv2.circle(copper, centre, int(inner * rng.uniform(0.3, 0.6)), 255, -1)
    sheet.place(copper)


def land(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """A big land with regular notches, a slot or a small drill hole, all by design."""
    x0, y0 = (int(v) for v in rng.integers(-40, sheet.size_px, 2))
    width, height = (int(v) for v in rng.integers(40, 220, 2))
    copper, holes = sheet.blank(), sheet.blank()
    cv2.rectangle(copper, (x0, y0), (x0 + width, y0 + height), 255, -1)
    notch = int(rng.integers(10, 26))
    middle = (x0 + width // 2, y0 + height // 2)
    kind = rng.random()
    if kind < 0.25:
        for x in range(x0 + notch, x0 + width - notch, 3 * notch):
            cv2.rectangle(holes, (x, y0 - 2), (x + notch, y0 + notch), 255, -1)
    elif kind < 0.4:
        cv2.line(holes, (x0 + width // 4, middle[1]), (x0 + 3 * width // 4, middle[1]), 255, notch)
    else:
        cv2.circle(holes, middle, int(rng.integers(5, 11)), 255, -1)
    if rng.random() < 0.4:  # a stepped outline
        for x, y in rng.integers((x0, y0), (x0 + width, y0 + height), (2, 2)):
            step = int(rng.integers(14, 40))
            cv2.rectangle(copper, (int(x) - step, int(y) - step), (int(x) + step, int(y) + step), 255, -1)
    sheet.place(copper, holes)


def marking(rng: np.random.Generator, sheet: Sheet, trace_px: int) -> None:
    """Letters in copper."""
    copper = sheet.blank()
    text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXYZ0123456789"), int(rng.integers(1, 5))))
    at = _pixel(rng.uniform(0, sheet.size_px, 2))
    cv2.putText(copper, text, at, cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(1, 2.2)), 255, int(rng.integers(3, 6)))
    sheet.place(copper)


def pour(rng: np.random.Generator, sheet: Sheet) -> None:
    """A copper area with chamfered corners, sometimes with a row of small drill holes."""
    x0, y0 = (int(v) for v in rng.integers(-150, sheet.size_px - 60, 2))
    width, height = (int(v) for v in rng.integers(90, 460, 2))
    cuts = rng.choice([0, 0.12, 0.3, 0.45], 4) * min(width, height)
    x1, y1, (a, b, c, d) = x0 + width, y0 + height, (int(v) for v in cuts)
    corners = [(x0 + a, y0), (x1 - b, y0), (x1, y0 + b), (x1, y1 - c)]
    corners += [(x1 - c, y1), (x0 + d, y1), (x0, y1 - d), (x0, y0 + a)]
    cv2.fillPoly(sheet.pours, [np.array(corners, np.int32)], 255)
    if rng.random() < 0.3:  # an arc cut out leaves pointed corners
        cv2.circle(sheet.pours, (x0 + width // 2, y1), int(rng.integers(40, 200)), 0, -1)
    if rng.random() < 0.45:
        radius, pitch = int(rng.integers(5, 13)), int(rng.integers(50, 120))
        for x in range(x0 + pitch // 2, x1, pitch):
            sheet.vents.append((x, y0 + height // 3, radius))


def without_slivers(copper: Mask) -> Mask:
    """The copper less what is narrower than a fabricator can etch."""
    tip = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SLIVER_PX, SLIVER_PX))
    return cv2.morphologyEx(copper, cv2.MORPH_OPEN, tip).astype(np.uint8)


def _pad(rng: np.random.Generator, copper: Mask, holes: Mask, at: NDArray[np.float64], radius: float) -> None:
    """A square, oblong, tilted or round pad, drilled where it is large enough."""
    x, y = _pixel(at)
    r = int(max(radius, 5))
    shape = rng.integers(4)
    if shape == 0:
        cv2.rectangle(copper, (x - r, y - r), (x + r, y + r), 255, -1)
    elif shape == 1:
        cv2.line(copper, (x - r // 2, y), (x + r // 2, y), 255, 2 * r)
    elif shape == 2:
        tilt = float(rng.choice([0, 20, 45, 70]))
        corners = cv2.boxPoints(((float(x), float(y)), (3.0 * r, 1.8 * r), tilt))
        cv2.fillPoly(copper, [corners.astype(np.int32)], 255)
    else:
        cv2.circle(copper, (x, y), r, 255, -1)
    if r >= 11 and rng.random() < 0.6:
        cv2.circle(holes, (x, y), max(int(r * rng.uniform(0.2, 0.65)), 5), 255, -1)


def _route(rng: np.random.Generator, size_px: int, *, from_edge: bool, leg_px: float) -> NDArray[np.float64]:
    """Corner points of a trace whose legs, none under `leg_px`, lie on and turn by 45 degrees."""
    eighth = 2 * int(rng.integers(4))
    point = rng.uniform(0, size_px, 2)
    if from_edge:
        heading = np.array([np.cos(eighth * np.pi / 4), np.sin(eighth * np.pi / 4)])
        point = np.where(np.abs(heading) > 0.5, size_px / 2 - heading * (size_px / 2 + 40), point)
    points = [point]
    for _ in range(rng.integers(1, 6)):
        heading = np.array([np.cos(eighth * np.pi / 4), np.sin(eighth * np.pi / 4)])
        points.append(points[-1] + heading * rng.uniform(leg_px, leg_px + 270))
        eighth += int(rng.choice([-1, 1]))
    return np.stack(points)


def _offset(route: NDArray[np.float64], by_px: float) -> NDArray[np.float64]:
    """The route moved sideways, mitred at the corners."""
    legs = np.diff(route, axis=0)
    normals = np.stack([-legs[:, 1], legs[:, 0]], 1) / np.hypot(legs[:, 0], legs[:, 1])[:, None]
    before, after = np.vstack([normals[:1], normals]), np.vstack([normals, normals[-1:]])
    mitre = (before + after) / (1.0 + (before * after).sum(1, keepdims=True))
    return np.asarray(route + by_px * mitre, np.float64)


def _polyline(mask: Mask, points: NDArray[np.float64], thickness_px: int) -> None:
    cv2.polylines(mask, [np.rint(points).astype(np.int32)], False, 255, thickness_px)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _grown(mask: Mask, by_px: int) -> Mask:
    return cv2.dilate(mask, np.ones((2 * by_px + 1, 2 * by_px + 1), np.uint8)).astype(np.uint8)
