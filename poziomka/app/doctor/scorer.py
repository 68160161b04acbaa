"""Check that the scorer accepts correct and refuses wrong answers: the trial of poziomka/testing without long junk."""

from poziomka.app.doctor.finding import Finding
from poziomka.app.doctor.parts import Bench
from poziomka.core.rollouts.scoring import Scoring
from poziomka.testing.negatives import NEAR
from poziomka.testing.trial import Effort, try_scorer
from poziomka.testing.trial_record import GOLD, MISTAKE, WORTHLESS, Row, Trial

NAME = "scorer"
EFFORT = Effort(budget=20.0, most=1000, sizes={})
TOLD = 4  # kinds of wrongly accepted replies that a finding lists, WORST first
WORST = ("an empty answer", "every candidate listed", "an echo of the prompt", "the answer in the thought only")
MEND = "mend the scorer: a failed check is never a reward, and more than a few of them stop a run"


def scorer(bench: Bench) -> Finding:
    """Checks that the scorer accepts correct answers and refuses near misses and degenerate replies.

    Degenerate replies, such as an echo of the prompt, try to earn a reward without an answer.
    """
    task, problems = bench.parts.task, bench.problems
    with Scoring(task, bench.parts.settings.scorer_seconds, workers=1) as scoring:
        drawn = [(f"train/{index}", problem) for index, problem in enumerate(problems)]
        tried = try_scorer(scoring, [drawn], effort=EFFORT)
    golds = [row for row in tried.rows if row.kind == GOLD]
    if not golds:
        advice = "give the task a demonstration or its problems an answer, so that its scorer can be tried"
        return Finding.warned(NAME, "no gold answer is known", advice)
    stated = any(problem.answer for problem in problems)
    return _about_golds(golds, stated=stated) or _about_others(tried, golds)


def _about_golds(golds: list[Row], *, stated: bool) -> Finding | None:
    """Returns a failure if checks of gold answers fail or refuse too many of them, else None."""
    for row in golds:
        if row.failed:
            figure = f"{row.failed} of {row.count} checks of gold answers failed: {row.example.score}"
            return Finding.failed(NAME, figure, MEND)
    for row in golds:
        refused = row.count - row.accepted
        if refused and (stated or 2 * refused >= row.count):
            form = row.what.removeprefix("the gold answer").strip(", ")
            figure = f"refuses {refused} of {row.count} gold answers{f' {form}' * bool(form)}: {row.example.reply!r} "
            figure += f"to {row.example.problem[:40]!r} is {row.example.score}"
            return Finding.failed(NAME, figure, "accept what the task itself calls right: else no reward can come")
    return None


def _about_others(tried: Trial, golds: list[Row]) -> Finding:
    others = [row for row in tried.rows if row.kind in (MISTAKE, WORTHLESS)]
    fooled = sorted((row for row in others if row.accepted), key=lambda row: _place(row.what))
    named = [f"{_short(row.what)} ({row.accepted} of {row.count})" for row in fooled[:TOLD]]
    more = [f"{len(fooled) - TOLD} other kinds of replies"] if len(fooled) > TOLD else []
    told = f"accepts {', '.join(named + more)}"
    if any(row.what not in NEAR or 2 * row.accepted >= row.count for row in fooled):
        advice = (
            "a model will find this: reward the whole answer after the thought, compared exactly "
            "(core/rollouts/answers.py)"
        )
        return Finding.failed(NAME, told, advice)
    if any(row.failed for row in others):
        failed = next(row for row in others if row.failed)
        return Finding.failed(NAME, f"fails at {failed.what}: {failed.example.score}", MEND)
    accepted, count = golds[0].accepted, golds[0].count
    figure = f"{accepted} of {count} right answers accepted, {sum(row.count for row in others)} wrong ones refused, "
    figure += f"{1000 * tried.check_seconds:.2g} ms a check"
    if fooled:
        return Finding.warned(NAME, told, "see whether so much tolerance is meant")
    if tried.broken:
        return Finding.failed(NAME, tried.broken[0], MEND)
    if accepted < count:
        return Finding.warned(NAME, figure, "not every demonstration ends right: see whether that is meant")
    return Finding.passed(NAME, figure)


def _place(what: str) -> int:
    return WORST.index(_short(what)) if _short(what) in WORST else len(WORST)


def _short(what: str) -> str:
    return what.removesuffix(", as the answer")
