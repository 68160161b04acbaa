"""Check that the rendered prompt describes the tools that the model can call."""

from collections.abc import Sequence

from poziomka.app.doctor.finding import Finding
from poziomka.app.doctor.parts import Bench
from poziomka.core.transcript import Author, Transcript
from poziomka.models.text.tokenizer import Tokenizer

NAME = "tools"
SHOWN = 5  # largest number of tool names in a finding


def tools(bench: Bench) -> list[Finding]:
    """Checks that the rendered prompt of each problem describes the tools that the model can call.

    Returns [] for a task without an environment, and for a model with a task's own vocabulary of symbols, which learns
    calls from demonstrations.
    """
    parts = bench.parts
    if parts.task.environment is None or parts.chat.tokenizer.files is None:
        return []
    known: set[str] = set()
    for problem, prompt in zip(bench.problems, bench.prompts, strict=True):
        environment = parts.task.environment(problem)
        if environment is None:
            continue
        read = parts.chat.read(prompt)
        if any(stop in _said(read, parts.chat.tokenizer, [*Author]) for stop in environment.stop):
            known.add("how a call is written")
        elif prompt.tools is not None:
            absent = _absent(prompt, read, parts.chat.tokenizer)
            if absent:
                return [_failed(f"the rendered prompt does not mention the tools {', '.join(absent[:SHOWN])}")]
            known.add(f"{len(prompt.tools.schemas)} of {len(prompt.tools.schemas)} tools")
        elif environment.stop and parts.warmed:
            stops = ", ".join(map(repr, environment.stop))
            return [_failed(f"the environment waits for {stops}, and the rendered prompt does not mention it")]
    return [Finding.passed(NAME, f"the rendered prompt describes {' and '.join(sorted(known))}")] if known else []


def _failed(figure: str) -> Finding:
    advice = (
        "give the environment an attribute `described` (core.transcript.Tools), as a Toolbox has, or describe the "
        "calls in the problems' prompts: a model that is not told of its tools does not call them"
    )
    return Finding.failed(NAME, figure, advice)


def _absent(prompt: Transcript, read: Transcript, tokenizer: Tokenizer) -> list[str]:
    """Returns the names of the prompt's tools of which the TEMPLATE and SYSTEM text has no name and no description."""
    said, missing = _said(read, tokenizer, (Author.TEMPLATE, Author.SYSTEM)), []
    for schema in prompt.tools.schemas if prompt.tools else ():
        described = schema.get("function", schema)
        if not any(words and str(words) in said for words in (described.get("name"), described.get("description"))):
            missing.append(str(described.get("name")))
    return missing


def _said(read: Transcript, tokenizer: Tokenizer, authors: Sequence[Author]) -> str:
    """Returns the decoded text of the given authors' spans, control tokens included."""
    spans = [span.tokens for span in read if span.author in authors and span.tokens]
    return "\n".join(tokenizer.inner.decode(list(tokens), skip_special_tokens=False) for tokens in spans)
