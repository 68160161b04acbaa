"""Forgetting: log-probability of the correct answers to general questions, before and after training.

A model that forgets general knowledge assigns these answers a lower log-probability. Twelve questions reveal a large
loss; they do not measure general ability.
"""

from collections.abc import Sequence
from copy import copy
from statistics import fmean

from poziomka.core.errors import ModelError
from poziomka.core.transcript import Message, Transcript
from poziomka.learning.objectives.logprobs import logprobs_of
from poziomka.models.base import Architecture
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.template import TemplateFormat
from poziomka.runs import Run

Text = tuple[Sequence[int], int]  # tokens of question and answer, and the number of the answer's tokens
QUESTIONS: tuple[tuple[str, str], ...] = (
    ("Who wrote Hamlet?", "Hamlet was written by William Shakespeare."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days are in a week?", "There are seven days in a week."),
    ("What do bees make?", "Bees make honey."),
    ("Which planet is closest to the Sun?", "Mercury is the planet closest to the Sun."),
    ("What is water made of?", "Water is made of hydrogen and oxygen."),
    ("Name the largest ocean on Earth.", "The largest ocean on Earth is the Pacific Ocean."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("Who painted the Mona Lisa?", "The Mona Lisa was painted by Leonardo da Vinci."),
    ("What is ice?", "Ice is frozen water."),
    ("In which language was Don Quixote written?", "Don Quixote was written in Spanish."),
    ("What do plants need to grow?", "Plants need water, light and nutrients to grow."),
)


def record_knowledge(when: str, model: Architecture, chat: ChatFormat, run: Run) -> None:
    """Adds the model's mean log-probability of answers to general questions to results/forgetting.json.

    The value, in nats per token, is stored under the key `when`. An existing value of that key is kept. If the
    vocabulary cannot encode the questions, or none fits the model's context, the function only adds a note to the run.

    Args:
        when: time of the measurement, such as "trained".
        model: the model to measure.
        chat: its chat format.
        run: run to record the result in.
    """
    known = run.results_table("forgetting", "logprobs")
    if when in known:
        return
    try:
        texts = texts_of(chat, model.context)
    except ModelError as error:
        message = f"forgetting is not measured: {error}"
        if message not in run.notes:
            run.note(message)
        return
    tokens = sum(count for _, count in texts)
    found = {"questions": len(texts), "tokens": tokens, "logprobs": known | {when: mean_logprob(model, texts)}}
    run.record("forgetting", found)


def texts_of(chat: ChatFormat, context: int | None = None) -> list[Text]:
    """Returns, for each general question with its answer, the tokens of both and the number of the answer's tokens.

    The end token is left out, and so are texts of more than `context` tokens. The answers follow without a thought,
    even if the recipe opens one, so that ordinary answers are measured.

    Args:
        chat: chat format that tokenizes the questions.
        context: largest number of tokens of a text; None for no limit.

    Raises:
        ModelError: the vocabulary cannot encode the questions, or all texts are longer than `context`.
    """
    if isinstance(chat, TemplateFormat):
        chat = copy(chat)
        chat.opens_thought = False
    texts: list[Text] = []
    for question, answer in QUESTIONS:
        transcript = chat.demonstrate(Transcript.of([Message("user", question)]), "", answer)
        texts.append((transcript.tokens[:-1], len(chat.tokenizer.encode(answer))))
    fitting = [text for text in texts if context is None or len(text[0]) <= context]
    if not fitting:
        message = f"each general question is longer than the model's context of {context} tokens"
        raise ModelError(message)
    return fitting


def mean_logprob(model: Architecture, texts: Sequence[Text]) -> float:
    """Returns the mean log-probability of the answers' tokens in nats per token, all tokens weighted equally."""
    return fmean(value for tokens, count in texts for value in logprobs_of(model, tokens, 1.0)[-count:].tolist())
