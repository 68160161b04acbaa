"""The figure of a study has a mark for each strategy and a curve for votes and the oracle."""

from poziomka.core.rollouts.evaluation import Estimate
from poziomka.reports.frontier import Dot, draw_frontier


def test_a_figure_is_written_twice_and_always_the_same(tmp_path):
    dots = [Dot("single", Estimate(0.4, 0.3, 0.5), 60.0), Dot("adaptive:8", Estimate(0.6, 0.5, 0.7), 300.0)]
    dots.append(Dot("wait:1,word=$x^{$", Estimate(0.5, 0.4, 0.6), 90.0))  # no formula
    curves = {"majority": [(60.0, 0.4), (480.0, 0.6)], "oracle": [(60.0, 0.4), (480.0, 0.8)]}
    files = draw_frontier(tmp_path, "model $\\frac$ on task", dots, curves)
    assert sorted(path.name for path in files) == ["frontier.png", "frontier.svg"]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in draw_frontier(tmp_path, "model $\\frac$ on task", dots, curves)] == before
    svg = files[1].read_text()
    for name in ("model $\\frac$ on task", "single", "adaptive:8", "wait:1,word=$x^{$", "majority", "oracle"):
        assert f"<!-- {name} -->" in svg
