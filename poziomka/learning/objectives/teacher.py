"""`ContextTeacher`, a teacher that reads another prompt than the learner: the same model with more context, for one.

Shapes: `B` rows, `T` places of a row, `D` width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poziomka.core.problem import Problem
from poziomka.core.rollout import Group
from poziomka.core.task import Task, asked
from poziomka.core.transcript import Message
from poziomka.models.base import Architecture, Packing
from poziomka.models.text.chat import ChatFormat

ANSWER = "{answer}"  # in a context: the problem's reference answer


class ContextTeacher(nn.Module):
    """Reads each text of a batch behind a prompt of its own, and answers at the places of the text.

    It stands where a learner's reference stands. Texts are known by their tokens, so they must be those of `prompts`.

    Args:
        model: the teacher's model.
        chat: chat format that tokenizes its prompts.
        context: system message that only the teacher reads; {answer} stands for the problem's reference answer.

    Attributes:
        prompts: by the ids of a text, as bytes of int64: the prompt that the teacher reads, and how many tokens of the
            text it stands for.
    """

    def __init__(self, model: Architecture, chat: ChatFormat, context: str) -> None:
        """Knows no prompt yet."""
        super().__init__()
        self.model, self.chat, self.context = model, chat, context
        self.prompts: Mapping[bytes, tuple[Sequence[int], int]] = {}

    def meet(self, task: Task, groups: Sequence[Group]) -> None:
        """Prepares the prompts of a step's replies; a batch may then hold these and no others."""
        found = {}
        for group in groups:
            problem = group[0].problem
            own = len(self.chat.read(asked(task, problem)))
            prompt = self.chat.read(asked(task, with_context(problem, self.context))).tokens
            for rollout in group:
                tokens = rollout.transcript.tokens[: self.model.context]  # as far as a learner reads them
                found[np.array(tokens, np.int64).tobytes()] = (prompt, own)
        self.prompts = found

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return self.model.vocabulary

    @property
    def unused(self) -> Tensor | None:
        """Ids of logits without a token."""
        return self.model.unused

    @property
    def head_weight(self) -> Any:
        """Output matrix of the model, where its head is one."""
        return getattr(self.model, "head_weight", None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the model's logits."""
        return self.model.logits(hidden)

    def forward(self, tokens: Tensor, *, packing: Packing) -> Tensor:
        """Returns hidden states [B, T, D] at the places that the prompts do not stand for, 0 elsewhere.

        The last place of a prompt counts as the place before the first token after it.

        Args:
            tokens: [B, T] ids.
            packing: texts of the rows, none of which shares a prefix.
        """
        texts = [torch.nonzero(packing.sequence == number) for number in range(int(packing.sequence.max()) + 1)]
        texts = [places for places in texts if len(places)]
        found: Tensor | None = None
        for places in texts:
            own = tokens[places[:, 0], places[:, 1]]
            prompt, stands_for = self.prompts[own.cpu().numpy().tobytes()]
            read = torch.cat([torch.tensor(prompt, dtype=own.dtype, device=own.device), own[stands_for:]])
            hidden = self.model(read.unsqueeze(0))[0]
            if found is None:
                found = hidden.new_zeros(*tokens.shape, hidden.shape[-1])
            after = places[stands_for - 1 :]
            found[after[:, 0], after[:, 1]] = hidden[len(prompt) - 1 :]
        assert found is not None, "a batch has a text"
        return found


def with_context(problem: Problem, context: str) -> Problem:
    """Returns a problem whose prompt begins with a system message; one that is there already follows in it."""
    said = context.replace(ANSWER, problem.answer)
    first, *rest = problem.prompt
    if first.role == "system":
        return replace(problem, prompt=(Message("system", f"{said}\n\n{first.content}"), *rest))
    return replace(problem, prompt=(Message("system", said), *problem.prompt))
