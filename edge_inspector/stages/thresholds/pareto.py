"""The generalised Pareto law of excesses, fitted to those that the selection of good parts has left."""

from __future__ import annotations

import math

import numpy as np

from edge_inspector.stages.thresholds.sample import PRIOR, PRIOR_SCALE, Doubles, Tail

SHAPE_SPREAD = 0.15
"""Standard deviation of the shape's normal prior around 0."""
_BOX = ((-6.0, 3.0), (-0.8, 0.8))
"""Of ln s and g."""
_FAR = 1e9
_SMALL = 1e-5


def fit(tail: Tail) -> tuple[Doubles, Doubles]:
    """(ln s, g) of greatest posterior likelihood, and its covariance: the inverse of the curvature there."""
    from scipy.optimize import minimize

    start = np.array([math.log(PRIOR_SCALE), 0.0])
    found: Doubles = minimize(loss, start, (tail,), method="TNC", jac=True, bounds=_BOX).x
    h = 1e-4
    curvature = np.array([(loss(found + d, tail)[1] - loss(found - d, tail)[1]) / (2 * h) for d in np.eye(2) * h])
    return found, _inverse(curvature)


def _inverse(of: Doubles) -> Doubles:
    """Of a symmetric 2x2 matrix; zeros where it is not that of a least point. (numpy's would start BLAS threads.)"""
    (a, b), (c, d) = of.tolist()
    cross = 0.5 * (b + c)
    area = a * d - cross * cross
    if area <= 0 or a <= 0:
        return np.zeros((2, 2))
    inverse: Doubles = np.array([[d, -cross], [-cross, a]]) / area
    return inverse


def loss(at: Doubles, tail: Tail) -> tuple[float, Doubles]:
    """Minus the logarithm of the posterior likelihood at (ln s, g), and its two derivatives.

    An excess y that is cut off at T has the density f(y) / F(T), one that could be seen from T up f(y) / (1 - F(T)).
    """
    log_s, g = float(at[0]), float(at[1])
    s = math.exp(log_s)
    if 1.0 + g * max(tail.cut.max(initial=0.0), tail.told.max(initial=0.0)) / s <= _SMALL:
        return _FAR, np.zeros(2)
    ys = np.concatenate([tail.cut, tail.told]) / s
    depth, by_s, by_g = depths(ys, g)
    value = len(ys) * log_s + (1.0 + g) * float(np.sum(depth))
    slope_s = len(ys) + (1.0 + g) * float(np.sum(by_s))
    slope_g = float(np.sum(depth)) + (1.0 + g) * float(np.sum(by_g))
    depth, by_s, by_g = depths(tail.room / s, g)
    value += float(np.sum(np.log(-np.expm1(-depth))))
    weight = 1.0 / np.expm1(np.minimum(depth, 500.0))
    slope_s, slope_g = slope_s + float(np.sum(weight * by_s)), slope_g + float(np.sum(weight * by_g))
    depth, by_s, by_g = depths(tail.start / s, g)
    value -= float(np.sum(depth))
    slope_s, slope_g = slope_s - float(np.sum(by_s)), slope_g - float(np.sum(by_g))
    value += PRIOR * (log_s + PRIOR_SCALE / s) + 0.5 * (g / SHAPE_SPREAD) ** 2
    return value, np.array([slope_s + PRIOR * (1.0 - PRIOR_SCALE / s), slope_g + g / SHAPE_SPREAD**2])


def depths(ratio: Doubles, g: float) -> tuple[Doubles, Doubles, Doubles]:
    """-ln of the share of a GPD above `ratio` scales, and its derivatives by ln s and g.

    Beyond the end that a negative shape has the depth is so great that nothing is left, and does not change.
    """
    if abs(g) < _SMALL:
        return ratio - 0.5 * g * ratio**2, -ratio + g * ratio**2, -0.5 * ratio**2
    inside = 1.0 + g * ratio
    ended = inside <= _SMALL
    inside = np.where(ended, 1.0, inside)
    depth = np.log(inside) / g
    by_g = (ratio / inside - depth) / g
    return np.where(ended, 500.0, depth), np.where(ended, 0.0, -ratio / inside), np.where(ended, 0.0, by_g)


def above(at: Doubles, share: float, alpha: float) -> float:
    """How far above the level a share `alpha` of all parts lies, of which `share` is above the level."""
    s, g, reach = math.exp(at[0]), float(at[1]), max(_SMALL, math.log(share / alpha))
    return s * reach if abs(g) < _SMALL else s * math.expm1(g * reach) / g
