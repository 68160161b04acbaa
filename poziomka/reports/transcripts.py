"""Rollouts as HTML: spans coloured by author, and pairs from before and after training side by side."""

from collections.abc import Iterable, Sequence

from poziomka.core.problem import Verdict
from poziomka.core.rollout import Rollout
from poziomka.core.transcript import Author, Span
from poziomka.reports.markup import escape, table, tag
from poziomka.reports.reading import Pair, attempt_of, chosen, correct, tally
from poziomka.reports.words import NOTHING, brief, counted, shortened

AUTHORS = {
    Author.SYSTEM: "the instructions",
    Author.USER: "who asks",
    Author.MODEL: "the model, sampled",
    Author.TEACHER: "somebody else in the model's place",
    Author.ENVIRONMENT: "a tool or the world",
    Author.FORCED: "put in the model's mouth by the thinking budget or a strategy",
    Author.TEMPLATE: "the chat format",
}
SIGNS = {Verdict.CORRECT: "✓", Verdict.WRONG: "✗", Verdict.UNPARSED: "?", Verdict.TRUNCATED: "…"}


def comparison(pairs: Sequence[Pair], count: int = 6) -> str:
    """Returns the HTML of up to `count` pairs side by side, with a table of all pairs by correctness.

    Up to two further pairs that are wrong after training follow.
    """
    shown = chosen(pairs, count)
    wrong = chosen([pair for pair in pairs if not correct(pair.after) and pair not in shown], 2)
    authors = {
        span.author for pair in (*shown, *wrong) for side in (pair.before, pair.after) for span in side.transcript
    }
    parts = [
        _counts(pairs),
        legend(authors),
        tag(
            "p", f"{len(shown)} of the {len(pairs)} pairs, spread evenly over levels; none was picked for its outcome."
        ),
        *map(_pair, shown),
    ]
    if wrong:
        parts += [tag("h3", "Wrong after training"), *map(_pair, wrong)]
    return "\n".join(parts)


def legend(authors: Iterable[Author]) -> str:
    """Returns the HTML legend of the colours of the given authors."""
    present = set(authors)
    items = [
        f'<li><span class="span by-{author}">{author}</span> {escape(meaning)}</li>'
        for author, meaning in AUTHORS.items()
        if author in present
    ]
    return f'<ul class="legend" aria-label="Colours of authors">{"".join(items)}</ul>'


def _counts(pairs: Sequence[Pair]) -> str:
    counts = tally(pairs)
    rows = [
        (f"{name} before", counts[was, True], counts[was, False]) for was, name in ((True, "right"), (False, "wrong"))
    ]
    caption = f"{len(pairs)} attempts at the same problems, before and after training"
    return table(caption, ("", "right after", "wrong after"), rows, kind="counts")


def _pair(pair: Pair) -> str:
    sides = _side("Before", pair.before) + _side("After", pair.after)
    title = _title(pair.after, f"attempt {attempt_of(pair.after)}")
    return f'<article class="pair">{title}<div class="sides">{sides}</div></article>'


def _title(rollout: Rollout, *more: str) -> str:
    """Returns the HTML heading of a rollout: its prompt's last message, level, reference answer, and `more` facts."""
    problem = rollout.problem
    asked = shortened(problem.prompt[-1].content if problem.prompt else problem.key, 200)
    facts = [f"level {problem.level}"]
    if problem.answer:
        facts.append(f"right answer {shortened(problem.answer, 80)}")
    return tag("h4", asked, kind="asked") + tag("p", " · ".join([*facts, *more]), kind="muted")


def alone(rollout: Rollout, said: str = "") -> str:
    """Returns the HTML of one rollout with its problem, and with the comment `said`, if any, below it."""
    shown = _side(f"Attempt {attempt_of(rollout)}", rollout)
    return f'<article class="pair">{_title(rollout)}{shown}{tag("p", said, kind="why") if said else ""}</article>'


def _side(name: str, rollout: Rollout) -> str:
    score = rollout.branches[rollout.answer].score
    verdict = "not judged" if score is None else f"{SIGNS.get(score.verdict, '!')} {score.verdict}"
    kind = "plain" if score is None else "right" if score.correct else "wrong"
    facts = [f"reward {NOTHING if score is None or score.reward is None else brief(score.reward)}"]
    thought = f", {rollout.thinking:,} of thought" if rollout.transcript.thought else ""
    facts.append(f"{counted(rollout.transcript.cost, 'token')}{thought}")
    if score is not None and score.answer is not None:
        facts.append(f"answer {shortened(score.answer, 80)}")
    why = tag("p", shortened(score.why, 400), kind="why") if score is not None and score.why else ""
    return (
        f'<section class="side"><h5>{name} <span class="verdict {kind}">{escape(verdict)}</span></h5>'
        f"{tag('p', ' · '.join(facts), kind='muted')}{spans(rollout.transcript)}{why}</section>"
    )


def spans(transcript: Iterable[Span]) -> str:
    """Returns the HTML of a transcript, each span marked with its author by colour, line, tooltip and hidden text."""
    return f'<div class="transcript">{"".join(_span(span) for span in transcript if not wordless(span))}</div>'


def wordless(span: Span) -> bool:
    """Whether a span is chat template without text, such as the BOS token, and is left out of the HTML."""
    return span.author is Author.TEMPLATE and not span.text


def _span(span: Span) -> str:
    told = [str(span.author), counted(len(span), "token")] + ([f"policy {span.policy}"] if span.policy else [])
    text = shortened(span.text) or f"⟨{counted(len(span), 'token')} without text⟩"
    apart = span.author is Author.ENVIRONMENT  # the style sheet puts it on separate lines
    return (
        f'<span class="span by-{span.author}" title="{escape(", ".join(told))}">'
        f'<span class="unseen">{span.author}: </span>{escape(text.strip() if apart else text)}</span>'
    )
