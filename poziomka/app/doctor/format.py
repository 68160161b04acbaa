"""Check that the chat format only appends: tokens of earlier turns must not change when a turn is added."""

from dataclasses import replace

from poziomka.app.doctor.finding import Finding
from poziomka.app.doctor.parts import Bench
from poziomka.core.errors import ModelError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.task import Task, asked
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.models.text.tokenizer import Tokenizer

NAME = "chat format"


def template(bench: Bench) -> Finding:
    """Checks that the chat template changes no earlier token when a tool's answer or a second question follows."""
    chat, task = bench.parts.chat, bench.parts.task
    problem, other = bench.problems[:2]
    transcript = chat.read(asked(task, problem))
    if _reopened(transcript, chat.tokenizer):
        advice = (
            "let the template open the thought or none at all: set template_variables.enable_thinking, or whatever "
            "this template asks for, or thinks = false"
        )
        return Finding.failed(NAME, "the prompt closes a thought and then opens another one", advice)
    thought, answer = written_out(task, problem)
    turns = ((Author.ENVIRONMENT, f" {answer}"), (Author.USER, other.prompt[-1].content))
    for author, text in turns:
        transcript += _reply(chat.tokenizer, transcript, thought, answer)
        longer = chat.read(transcript + Span(author, text))
        finding = _compare(transcript, longer, chat.tokenizer, author)
        if finding is not None:
            return finding
        transcript = longer
    finding = _sampled(bench, other)
    if finding is not None:
        return finding
    figure = f"{len(transcript)} tokens over {len(turns) + 1} turns, read once each; no earlier token changed"
    return Finding.passed(NAME, figure)


def _reopened(transcript: Transcript, tokenizer: Tokenizer) -> bool:
    """Whether the prompt ends in an open thought that follows a closed one in the same reply."""
    if tokenizer.files is None:
        return False
    last = max((n for n, span in enumerate(transcript) if span.author is not Author.TEMPLATE), default=-1)
    tokens = [token for span in transcript.spans[last + 1 :] for token in span.tokens or ()]
    text = tokenizer.inner.decode(tokens, skip_special_tokens=False)
    before, opened, after = text.rpartition(THINK)
    return bool(opened) and CLOSE not in after and CLOSE in before


def written_out(task: Task, problem: Problem) -> tuple[str, str]:
    """Returns a thought and an answer to a problem: the task's demonstration, else the gold answer for both."""
    if task.demonstration is not None:
        return task.demonstration(problem)
    return problem.answer, problem.answer


def _reply(tokenizer: Tokenizer, before: Transcript, thought: str, answer: str) -> Span:
    """Returns a reply as a model may write it: in smaller tokens than the tokenizer would use for the same text."""
    opened = not tokenizer.think or tuple(before.tokens[-len(tokenizer.think) :]) == tuple(tokenizer.think)
    tokens = [*([] if opened else tokenizer.think), *_pieces(tokenizer, f" {thought} "), *tokenizer.close]
    tokens += [*_pieces(tokenizer, f" {answer}"), tokenizer.end]
    text = f"{'' if opened else THINK} {thought} {CLOSE} {answer}"
    return Span(Author.MODEL, text, compact(tokens), compact_floats([-1.0] * len(tokens)), Stop.END, "doctor")


def _pieces(tokenizer: Tokenizer, text: str) -> list[int]:
    try:
        return [token for character in text for token in tokenizer.encode(character)]
    except ModelError:  # the vocabulary has no single characters
        return tokenizer.encode(text)


def _compare(before: Transcript, after: Transcript, tokenizer: Tokenizer, author: Author) -> Finding | None:
    """Returns a failure unless `after` is longer than `before` and begins with its tokens and authors; else None."""
    old, new = before.tokens, after.tokens
    count = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    turn = {Author.ENVIRONMENT: "a tool's answer", Author.USER: "a second question"}[author]
    if count < len(old):
        thought = _count(tuple(old), tokenizer.close) > _count(tuple(new), tokenizer.close)
        what = "earlier thoughts are stripped" if thought else "earlier turns are rendered or tokenised anew"
        advice = (
            "use a format that only appends: what the model wrote is then what it is trained on and what it sees "
            "next; PlainFormat does, and a checkpoint's template can be continued turn by turn"
        )
        return Finding.failed(NAME, f"{what} when {turn} is read: token {count} of {len(old)} changed", advice)
    authors = [span.author for span in before for _ in range(len(span))]
    if [span.author for span in after for _ in range(len(span))][: len(authors)] != authors:
        advice = "keep the spans that are there and append new ones: masks are derived from authors"
        return Finding.failed(NAME, f"the authors of earlier tokens change when {turn} is read", advice)
    if len(new) == len(old):
        return Finding.failed(NAME, f"{turn} gets no tokens", "let the format give tokens to spans that have none")
    return None


def _count(tokens: tuple[int, ...], phrase: tuple[int, ...]) -> int:
    """Returns the number of occurrences of `phrase`; 0 for an empty one."""
    return sum(tokens[at : at + len(phrase)] == tuple(phrase) for at in range(len(tokens))) if phrase else 0


def _sampled(bench: Bench, other: Problem) -> Finding | None:
    """Samples a second reply after a first one, and checks that the tokens of the first are unchanged."""
    rollout = bench.rollouts[0]
    asked = rollout.transcript + Span(Author.USER, other.prompt[-1].content)
    answered = wait_for(bench.parts.sampler.extend(asked, replace(bench.parts.settings.sampling, max_tokens=4)))
    return _compare(rollout.transcript, answered, bench.parts.chat.tokenizer, Author.USER)
