"""Columns of a table of text are aligned, some to the left."""

from poziomka.runs.tables import aligned


def test_the_first_columns_are_aligned_to_the_left_and_the_others_to_the_right():
    rows = [("name", "count", "share"), ("a", "1", "0.5"), ("longer", "1000000", "")]
    assert aligned(rows, left=1) == [
        "name      count  share",
        "a             1    0.5",
        "longer  1000000",
    ]
    assert aligned([("a", "b"), ("cc", "d")], left=2) == ["a   b", "cc  d"]
