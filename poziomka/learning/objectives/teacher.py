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
    """Teacher that sees more context than the learner: it replaces the prompt of each text by one of its own.

    A learner takes it as its `reference`: for the tokens [B, T] of a batch it returns hidden states at the same
    positions. `meet` must have prepared the texts of the batch.

    Args:
        model: the teacher's model.
        chat: chat format that tokenizes the teacher's prompts.
        context: system message that only the teacher sees; {answer} is replaced by the problem's reference answer.

    Attributes:
        prompts: (token ids of the teacher's prompt, number of tokens of the learner's prompt that it replaces) by text;
            the key is the text's token ids as bytes of int64.
    """

    def __init__(self, model: Architecture, chat: ChatFormat, context: str) -> None:
        """Starts without prepared prompts."""
        super().__init__()
        self.model, self.chat, self.context = model, chat, context
        self.prompts: Mapping[bytes, tuple[Sequence[int], int]] = {}

    def meet(self, task: Task, groups: Sequence[Group]) -> None:
        """Prepares the teacher's prompts for the rollouts of a step; the next batches may contain only these.

        Args:
            task: task of the problems.
            groups: rollouts of the step, as the learner is trained on them.
        """
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
        """Number of logits per token."""
        return self.model.vocabulary

    @property
    def unused(self) -> Tensor | None:
        """Ids of logits without a token in the tokenizer; None for none."""
        return self.model.unused

    @property
    def head_weight(self) -> Any:
        """Output matrix [V, D] of the model; None if its head is not one matrix."""
        return getattr(self.model, "head_weight", None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the teacher's logits [..., V] of hidden states [..., D]."""
        return self.model.logits(hidden)

    def forward(self, tokens: Tensor, *, packing: Packing) -> Tensor:
        """Returns the teacher's hidden states [B, T, D] for the text after each prompt; 0 in the prompts.

        The state of the teacher's last prompt token is at the position of the learner's last prompt token, so that it
        predicts the first token of the reply.

        Args:
            tokens: [B, T] token ids, as the learner reads them.
            packing: the texts of the rows, without shared prefixes.
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
    """Returns a problem with `context` as its system message, before the text of one that it already has.

    In the context, {answer} is replaced by the problem's reference answer.
    """
    said = context.replace(ANSWER, problem.answer)
    first, *rest = problem.prompt
    if first.role == "system":
        return replace(problem, prompt=(Message("system", f"{said}\n\n{first.content}"), *rest))
    return replace(problem, prompt=(Message("system", said), *problem.prompt))
