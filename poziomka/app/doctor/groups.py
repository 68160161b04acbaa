"""Checks that groups contain attempts at one problem, and that only MODEL tokens have a policy weight."""

import math
from array import array
from collections import Counter
from dataclasses import replace

from poziomka.app.doctor.finding import Finding
from poziomka.app.doctor.format import written_out
from poziomka.app.doctor.parts import Bench
from poziomka.core.problem import Score
from poziomka.core.rollout import Branch, Group, Rollout
from poziomka.core.task import asked
from poziomka.core.transcript import CLOSE, Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.learning.monitoring.consistency import prompt_of
from poziomka.learning.samples.advantages import Advantages

CENTRED = 1e-4  # largest sum of a group's advantages, divided by its number of rollouts
NOT_RELATIVE = ("expert",)  # advantage estimators whose values do not sum to zero


def grouping(bench: Bench) -> Finding:
    """Checks that the rollouts of each group share a problem and its prompt, and that their advantages sum to zero."""
    name, chat, task = "groups", bench.parts.chat, bench.parts.task
    mixed = [number for number, group in enumerate(bench.groups, 1) if len({r.problem.key for r in group}) != 1]
    foreign = [
        number
        for number, group in enumerate(bench.groups, 1)
        for rollout in group
        if _asked(rollout) and _asked(rollout) != chat.read(asked(task, rollout.problem)).tokens.tobytes()
    ]
    wrong = sorted({*mixed, *foreign})
    if wrong:
        figure = f"{len(wrong)} of {len(bench.groups)} hold attempts at different problems: number {wrong[0]} for one"
        advice = "compare attempts at one problem only: see that whoever collects rollouts keeps groups apart"
        return Finding.failed(name, figure, advice)
    ids = Counter(rollout.id for rollout in bench.rollouts)
    twice = next((rollout for rollout, count in ids.items() if count > 1), None)
    if twice is not None:
        return Finding.failed(name, f"two rollouts are called {twice!r}", "give each rollout an id of its own")
    kind = bench.parts.settings.advantage
    advantages = bench.advantages(bench.mixed)
    sums = [abs(sum(value or 0.0 for value in group)) / len(group) for group in advantages]
    shared = f"{len(bench.groups)} groups of {bench.attempts} attempts, each at one problem"
    if kind in NOT_RELATIVE:
        return Finding.passed(name, f"{shared} (advantage {kind!r} is not relative to the group)")
    if max(sums) > CENTRED:
        advice = "subtract the group's own mean: an attempt is better or worse than the others at its problem"
        return Finding.failed(name, f"advantages of a group sum to {max(sums):.2g} a rollout, not to 0", advice)
    return Finding.passed(name, f"{shared}; its advantages sum to 0")


def _asked(rollout: Rollout) -> bytes:
    return prompt_of(rollout.transcript)


def weights(bench: Bench) -> Finding:
    """Checks that only MODEL tokens have a policy weight (factor in the loss), with the sign of the advantage.

    Examines the sampled rollouts and two artificial ones with tokens of all authors.
    """
    name = "weights on tokens"
    everybody = _everybody(bench)
    groups: list[Group] = [*bench.mixed, everybody]
    advantages: Advantages = [*bench.advantages(bench.mixed), [1.0, -1.0]]
    examples = bench.examples(groups, advantages)
    known: dict[bytes, tuple[Transcript, set[float]]] = {}  # by tokens: attempts may have identical tokens
    for group, values in zip(groups, advantages, strict=True):
        for rollout, value in zip(group, values, strict=True):
            found = known.setdefault(rollout.transcript.tokens.tobytes(), (rollout.transcript, set()))
            found[1].update(() if value is None else (math.copysign(1.0, value),))
    by: Counter[str] = Counter()
    turned = 0
    for example in examples:
        transcript, signs = known.get(array("i", example.tokens).tobytes(), (None, set()))
        if transcript is None:
            advice = "learn from the tokens that were sampled: a transcript must not be tokenised anew"
            return Finding.failed(name, "a sequence to learn from is no rollout's", advice)
        authors = [span.author for span in transcript for _ in range(len(span))]
        for author, weight in zip(authors, example.policy, strict=True):
            if weight:
                by[author] += 1
                turned += math.copysign(1.0, weight) not in signs
    own, others = by.pop(Author.MODEL, 0), sum(by.values())
    if others:
        told = ", ".join(f"{count} by {author}" for author, count in by.most_common())
        advice = "put policy weight on MODEL tokens only: derive masks with transcript.by(Author.MODEL)"
        return Finding.failed(name, f"of {own + others} weighted tokens {told}", advice)
    if turned:
        advice = "a weight has the sign of its rollout's advantage: look at how groups and advantages are paired"
        return Finding.failed(name, f"{turned} of {own} weights have not the sign of their advantage", advice)
    if not own:
        return Finding.failed(name, "no token carries any weight", "let MODEL spans carry log-probabilities")
    return Finding.passed(name, f"{own} weighted tokens, all the model's: none of prompt, tool, template or force")


def _everybody(bench: Bench) -> Group:
    """Returns an artificial group of a right and a wrong rollout with tokens of all authors.

    The authors are those of the prompt, the model, a tool, the template and forced text.
    """
    task, tokenizer, problem = bench.parts.task, bench.parts.chat.tokenizer, bench.problems[0]
    thought, answer = written_out(task, problem)
    words, reply = compact(tokenizer.encode(f" {thought}")), compact(tokenizer.encode(f" {answer}"))
    close = compact(tokenizer.close) or reply

    def model(tokens: "array[int]", stop: Stop) -> Span:
        return Span(Author.MODEL, "", tokens, compact_floats([-1.0] * len(tokens)), stop, "doctor")

    spans = (
        *bench.parts.chat.read(asked(task, problem)),
        model(words, Stop.PHRASE),
        Span(Author.ENVIRONMENT, f" {answer}", reply),
        model(words, Stop.LENGTH),
        Span(Author.FORCED, f" {CLOSE}", close, policy="doctor"),
        Span(Author.TEMPLATE, "", reply),
        model(reply, Stop.END),
    )
    right = Rollout("doctor/right", problem, (Branch(Transcript(spans), Score.right("", "artificial")),), "doctor")
    shorter = (replace(right.branches[0], transcript=Transcript(spans[:-1]), score=Score.wrong("", "artificial")),)
    return [right, replace(right, id="doctor/wrong", branches=shorter)]


Stretch = tuple[str, Author, float]  # text, its author, and its policy weight


def coloured(bench: Bench) -> list[tuple[Rollout, list[Stretch]]]:
    """Returns one rollout with positive and one with negative policy weights, for display.

    Each is split into stretches (text, author, policy weight) where the author or the weight changes. Chooses the
    rollouts with the most authors; returns [] if no token has a weight.
    """
    examples = bench.examples(bench.mixed, bench.advantages(bench.mixed))
    weights = {array("i", example.tokens).tobytes(): example.policy for example in examples}
    shown: list[tuple[Rollout, list[Stretch]]] = []
    for sign in (1, -1):
        rollouts = [
            rollout
            for rollout in (rollout for group in bench.mixed for rollout in group)
            if any(sign * weight > 0 for weight in weights.get(rollout.transcript.tokens.tobytes(), ()))
        ]
        if rollouts:
            chosen = max(rollouts, key=lambda rollout: len({span.author for span in rollout.transcript}))
            shown.append((chosen, _stretches(bench, chosen, weights[chosen.transcript.tokens.tobytes()])))
    return shown


def _stretches(bench: Bench, rollout: Rollout, weights: "array[float]") -> list[Stretch]:
    """Returns (text, author, weight) of a rollout's spans, split where the weight changes.

    Args:
        bench: has the tokenizer.
        rollout: the rollout.
        weights: policy weight of each token of its transcript.
    """
    stretches: list[Stretch] = []
    place = 0
    for span in rollout.transcript:
        values = weights[place : place + len(span)]
        start = 0
        for end in range(1, len(span) + 1):
            if end == len(span) or values[end] != values[start]:
                whole = start == 0 and end == len(span)
                tokens = list(span.tokens or ())[start:end]
                text = span.text if whole else bench.parts.chat.tokenizer.decode(tokens)
                stretches.append((text, span.author, values[start]))
                start = end
        place += len(span)
    return stretches
