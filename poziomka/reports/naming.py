"""Where a curve's name may stand in a figure: near its own line, clear of every other, clear of other names."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from poziomka.reports.reading import Curve, Point

Place = tuple[float, float]  # in points, from the lower left corner of the axes
Box = tuple[float, float, float, float]  # left, bottom, right, top

# Places beside a mark, in points to the right of it and above it.
SIDES = tuple((dx * far, dy * far) for far in (12, 20, 30) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)
LETTER, LINE = 7.0, 13.0  # of a bold letter and a line of text, in points, about


def names(
    curves: Sequence[Curve], placed: Callable[[float, float], Place]
) -> Iterator[tuple[Curve, Point, tuple[int, int]]]:
    """Yields each curve with the mark its name stands beside, and on which side.

    Args:
        curves: those of one figure, none of them empty.
        placed: turns thinking tokens and accuracy into a place; accuracy 1 is the top of the axes.
    """
    lines = {curve.model: list(_dense(curve, placed)) for curve in curves}
    top, right = placed(1.0, 1.0)[1], max(x for line in lines.values() for x, _ in line)
    taken: list[Box] = []
    for curve in curves:
        others = [place for model, line in lines.items() if model != curve.model for place in line]
        best, where = -math.inf, (curve.marks[0], SIDES[0])
        for mark in curve.marks:
            for side in SIDES:
                box = box_of(placed(mark.x, mark.accuracy.mean), side, len(curve.model))
                fits = box[0] >= 0 and box[1] >= 0 and box[2] <= right and box[3] <= top
                clear = _clear(box, lines[curve.model], others, taken) - 0.2 * max(map(abs, side))
                if fits and clear > best:
                    best, where = clear, (mark, side)
        taken.append(box_of(placed(where[0].x, where[0].accuracy.mean), where[1], len(curve.model)))
        yield curve, *where


def _clear(box: Box, own: Iterable[Place], others: Iterable[Place], taken: Sequence[Box]) -> float:
    """Returns how good a place is: a name over a name is hopeless, one nearer to another's line would mislead."""
    if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
        return -1e6
    ours, theirs = gap(box, own), gap(box, others)
    return min(8.0, ours, theirs) + min(0.0, theirs - ours - 4.0)


def box_of(at: Place, side: tuple[int, int], letters: int) -> Box:
    """Returns the box of a name beside a mark."""
    (x, y), (dx, dy), width = at, side, LETTER * letters
    left = x + dx - (0 if dx > 0 else width if dx < 0 else width / 2)
    return left, y + dy - LINE / 2, left + width, y + dy + LINE / 2


def gap(box: Box, line: Iterable[Place]) -> float:
    """Returns how far a name is from a line, in points; negative where they overlap, infinite from no line."""
    left, bottom, right, top = box
    return min((max(left - x, x - right, bottom - y, y - top) for x, y in line), default=math.inf)


def _dense(curve: Curve, placed: Callable[[float, float], Place]) -> Iterator[Place]:
    """Yields many places along a curve's lines, ends of intervals included."""
    for line in (curve.budgets, curve.majority, curve.oracle):
        ordered = sorted(line, key=lambda point: point.x)
        yield from (placed(p.x, y) for p in ordered for y in (p.accuracy.low, p.accuracy.mean, p.accuracy.high))
        for a, b in pairwise(ordered):
            (ax, ay), (bx, by) = placed(a.x, a.accuracy.mean), placed(b.x, b.accuracy.mean)
            yield from ((ax + share / 8 * (bx - ax), ay + share / 8 * (by - ay)) for share in range(1, 8))
