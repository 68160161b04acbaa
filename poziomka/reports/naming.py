"""Placement of curve names in a figure: near their own curve, without overlap with other curves and names."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from poziomka.reports.reading import Point

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

Place = tuple[float, float]  # in points, from the lower left corner of the axes
Side = tuple[int, int]  # offset of a name from its mark: points to the right, and upwards
Box = tuple[float, float, float, float]  # left, bottom, right, top

# Candidate offsets of a name from its mark, in points to the right and upwards.
FAR = (0, 12, -12, 20, -20, 30, -30, 44, -44, 60, -60)
SIDES = tuple((dx, dy) for dx in FAR for dy in FAR if dx or dy)
LETTER, LINE = 7.0, 13.0  # approximate width of a bold letter and height of a line of text, in points
MARKS = 16  # largest number of marks of a curve beside which its name is tried, spread evenly
CLEAR = 8.0  # distance in points from which more distance adds no quality
FAVOUR = 4.0  # points by which a name must be nearer to its own curve than to another


@dataclass(frozen=True, slots=True)
class Named:
    """A curve of a figure and its name.

    Attributes:
        text: the name.
        marks: points beside which the name may be placed; empty for a curve without a name, which others must avoid.
        lines: the drawn lines of the curve; several names may share a line.
    """

    text: str
    marks: Sequence[Point]
    lines: Sequence[Sequence[Point]]


def names(
    named: Sequence[Named], placed: Callable[[float, float], Place], top: float = 1.0
) -> Iterator[tuple[Named, Point, Side]]:
    """Places the names of a figure; yields (curve, mark, offset): the name is `offset` points away from the mark.

    At most 16 (MARKS) marks of each curve are tried.

    Args:
        named: all curves of the figure.
        placed: converts data coordinates (x, accuracy) to points from the lower left corner of the axes.
        top: accuracy at the top of the axes.
    """
    dense = {id(line): list(_dense(line, placed)) for each in named for line in each.lines}
    highest, right = placed(1.0, top)[1], max(x for line in dense.values() for x, _ in line)
    taken: list[Box] = []
    for each in named:
        if not each.marks:
            continue
        mine = {id(line) for line in each.lines}
        own = _columns(place for line in mine for place in dense[line])
        others = _columns(place for line, places in dense.items() if line not in mine for place in places)
        best, where = -math.inf, (each.marks[0], SIDES[0])
        for mark in _spread(each.marks):
            at = placed(mark.x, mark.accuracy.mean)
            for side in SIDES:
                box, price = box_of(at, side, len(each.text)), 0.2 * max(map(abs, side))
                fits = box[0] >= 0 and box[1] >= 0 and box[2] <= right and box[3] <= highest
                if fits and CLEAR - price > best and (clear := _clear(box, own, others, taken) - price) > best:
                    best, where = clear, (mark, side)
        taken.append(box_of(placed(where[0].x, where[0].accuracy.mean), where[1], len(each.text)))
        yield each, *where


def _spread(marks: Sequence[Point]) -> Sequence[Point]:
    """Returns 16 (MARKS) evenly spread marks, with the first and the last; all marks if there are no more."""
    last = len(marks) - 1
    return marks if last < MARKS else [marks[round(number * last / (MARKS - 1))] for number in range(MARKS)]


def _columns(places: Iterable[Place]) -> "NDArray[float64]":
    """Returns places as an array [2, N] of their x and y."""
    import numpy as np  # noqa: PLC0415 it comes with matplotlib, which only drawing needs

    return np.ascontiguousarray(np.array(list(places), float).reshape(-1, 2).T)


def _clear(box: Box, own: "NDArray[float64]", others: "NDArray[float64]", taken: Sequence[Box]) -> float:
    """Returns the quality of a name's box, higher for better.

    It is very low over another name (`taken`), and low near lines, in particular nearer to others than to its own.
    """
    if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
        return -1e6
    ours, theirs = gap(box, own), gap(box, others)
    return min(CLEAR, ours, theirs) + min(0.0, theirs - ours - FAVOUR)


def box_of(at: Place, side: tuple[int, int], letters: int) -> Box:
    """Returns the bounding box, in points, of a name of `letters` letters at the offset `side` from a mark."""
    (x, y), (dx, dy), width = at, side, LETTER * letters
    left = x + dx - (0 if dx > 0 else width if dx < 0 else width / 2)
    return left, y + dy - LINE / 2, left + width, y + dy + LINE / 2


def gap(box: Box, line: "NDArray[float64]") -> float:
    """Returns the distance in points of a box from the nearest of the places `line`, an array [2, N] of x and y.

    It is negative if the place is in the box, and infinite for no places.
    """
    left, bottom, right, top = box
    (x, y), middle = line, (left + right) / 2
    across, along = abs(x - middle) - (right - middle), abs(y - (bottom + top) / 2) - (top - bottom) / 2
    return float(across.clip(min=along).min(initial=math.inf))


def _dense(line: Sequence[Point], placed: Callable[[float, float], Place]) -> Iterator[Place]:
    """Yields many positions along a line and along the bounds of its intervals."""
    ordered = sorted(line, key=lambda point: point.x)
    yield from (placed(point.x, y) for point in ordered for y in _ends(point))
    for a, b in pairwise(ordered):
        for one, two in zip(_ends(a), _ends(b), strict=True):
            (ax, ay), (bx, by) = placed(a.x, one), placed(b.x, two)
            yield from ((ax + share / 8 * (bx - ax), ay + share / 8 * (by - ay)) for share in range(1, 8))


def _ends(point: Point) -> tuple[float, float, float]:
    return point.accuracy.low, point.accuracy.mean, point.accuracy.high
