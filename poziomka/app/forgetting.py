"""What training takes away: how likely a model finds right answers to general questions, before and after.

A model that forgets what it is not trained on gives these answers a lower log-probability. Twelve questions show a
large loss; they do not measure general ability.
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

Text = tuple[Sequence[int], int]  # tokens of a question with its answer, and how many of the last are the answer's
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
    """Adds what a model knows to results/forgetting.json, under `when`, once.

    Where the vocabulary cannot write the questions, or the model's context holds none, only a note is left.
    """
    known = (run.results("forgetting") or {}).get("logprobs", {})
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
    """Returns each question with its answer, without the end token; a text longer than `context` is left out.

    The answers have no thought before them, even where the recipe asks for one: what must not be lost is how the model
    answers elsewhere.

    Raises:
        ModelError: the vocabulary cannot write them, or all are longer.
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
    """Returns the mean log-probability of a token of the answers, in nats; each token counts alike."""
    return fmean(value for tokens, count in texts for value in logprobs_of(model, tokens, 1.0)[-count:].tolist())
