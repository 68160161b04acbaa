"""Good architectures pass; each planted fault is caught, and the message names it."""

import re

import pytest
import torch
from torch import nn

from poziomka.models.base import Work
from poziomka.models.cache import Memory
from poziomka.models.recurrent import Recurrent
from poziomka.models.transformer import Transformer, TransformerSettings
from poziomka.testing import check_architecture

SHAPE = TransformerSettings(width=16, layers=1, heads=2)


def fresh(kind=Transformer, **changes):
    torch.manual_seed(0)
    return kind(TransformerSettings(**{**vars(SHAPE), **changes}), 20)


class Flat(Transformer):
    def forward(self, tokens, memory=None, **more):
        return super().forward(tokens, memory, **more).flatten(1)


class Narrow(Transformer):
    def logits(self, hidden):
        return super().logits(hidden)[..., :-1]


class Half(Transformer):
    def logits(self, hidden):
        return super().logits(hidden).bfloat16()


class Nan(Transformer):
    def logits(self, hidden):
        return super().logits(hidden) / 0.0


class Mixed(Transformer):
    def forward(self, tokens, memory=None, **more):
        hidden = super().forward(tokens, memory, **more)
        return hidden + hidden.mean(0, keepdim=True) if len(tokens) == 4 and memory is None else hidden


class Prophet(Transformer):
    def forward(self, tokens, memory=None, **more):
        hidden = super().forward(tokens, memory, **more)
        return hidden + hidden.mean(1, keepdim=True) if memory is None else hidden


class Amnesiac(Transformer):
    def forward(self, tokens, memory=None, **more):
        if memory is not None and tokens.shape[1] == 1:
            memory.advance(1)
            return super().forward(tokens)
        return super().forward(tokens, memory, **more)


class Padder(Transformer):
    """Takes padding for text."""

    def forward(self, tokens, memory=None, *, counts=None, packing=None):
        return super().forward(tokens, memory, packing=packing)


class Eager(Recurrent):
    """Takes padding into its state, and counts it rightly."""

    def forward(self, tokens, memory=None, *, counts=None, packing=None):
        hidden = super().forward(tokens, memory, packing=packing)
        if memory is not None and counts is not None:
            memory.advance(counts - tokens.shape[1])
        return hidden


class Siamese(Memory):
    """A fork whose branches are one, and which is its parent."""

    def fork(self, rows):
        same = Memory(self.stores, self.growing, self.rows)
        same._lengths = self._lengths[rows].clone()
        same.stores = {name: [layer[rows * 0] for layer in layers] for name, layers in self.stores.items()}
        same.rows = len(rows)
        return same


class Shuffled(Memory):
    """Keeps the lengths of the right rows and the words of others."""

    def keep(self, rows):
        super().keep(rows)
        for name, layers in self.stores.items():
            self.stores[name] = [layer.roll(-1, 0) for layer in layers]


class Sharing(Memory):
    """Branches write into the row they came from."""

    def fork(self, rows):
        copy = super().fork(rows)
        for layers in self.stores.values():
            for layer in layers:
                layer.mul_(0.5)
        return copy


def remembering(memory):
    """A transformer with another kind of memory."""

    class Model(Transformer):
        def memory(self, rows, length):
            made = super().memory(rows, length)
            return memory(made.stores, made.growing, made.rows)

    return Model


class Leaky(Transformer):
    """Lets texts in one row see each other."""

    def forward(self, tokens, memory=None, *, counts=None, packing=None):
        if packing is not None:
            packing = type(packing)(packing.sequence.clamp(max=0), packing.position)
        return super().forward(tokens, memory, counts=counts, packing=packing)


class Displaced(Transformer):
    """Counts places on over a row that several texts share, and not only relative ones."""

    def forward(self, tokens, memory=None, *, counts=None, packing=None):
        hidden = super().forward(tokens, memory, counts=counts, packing=packing)
        if packing is None:
            return hidden
        return hidden + torch.arange(tokens.shape[1]).view(1, -1, 1) * 0.1


class Idle(Transformer):
    """Has a weight that nothing uses."""

    def __init__(self, settings, vocabulary):
        super().__init__(settings, vocabulary)
        self.spare = nn.Parameter(torch.ones(3))

    def export(self):
        return dict(self.state_dict())

    def load_exported(self, weights):
        self.load_state_dict(weights)


class Explosive(Transformer):
    """A square root at 0: finite forwards, and not backwards."""

    def logits(self, hidden):
        return super().logits(hidden) + 0 * (hidden.sum() * 0).abs().sqrt()


class Free(Transformer):
    def work(self, tokens):
        return Work(0.0, 0.0, 0.0)


class Uneven(Transformer):
    def work(self, tokens):
        return Work(tokens**2, 0.0, tokens)


class Misnamed(Transformer):
    def load_exported(self, weights):
        super().load_exported({name: tensor * 1.01 for name, tensor in weights.items()})


class Bag(Transformer):
    """Looks at nothing but the last token."""

    def forward(self, tokens, memory=None, **more):
        return self.embedding(tokens)


FAULTS = {
    "forward returns [B, T, D]": Flat,
    "logits returns [..., V]": Narrow,
    "logits are fp32": Half,
    "logits are finite": Nan,
    "rows of a batch do not know of each other": Mixed,
    "a token is not known before it is read": Prophet,
    "decoding with a memory": Amnesiac,
    "a memory counts the real tokens of each row": Padder,
    "a branch goes on from its row": remembering(Siamese),
    "a row that is kept goes on where it was, whatever its branches read (0)": remembering(Shuffled),
    "a row that is kept goes on where it was, whatever its branches read (1)": remembering(Sharing),
    "texts packed in one row do not know of each other": Leaky,
    "no gradient reached 'spare'": Idle,
    "gradients are finite": Explosive,
    "a token costs work": Free,
    "every token's own work and its head's are alike": Uneven,
    "weights that were exported can be loaded back": Misnamed,
    "the end of a text depends on its beginning": Bag,
}


@pytest.mark.parametrize(
    "settings", [{}, {"layers": 2}, {"heads": 4, "key_heads": 2, "qk_norm": True}, {"tied": False}]
)
@pytest.mark.parametrize("kind", [Transformer, Recurrent])
def test_a_good_architecture_passes(kind, settings):
    check_architecture(fresh(kind, **settings))


@pytest.mark.parametrize("broken", FAULTS)
def test_a_fault_is_caught(broken):
    with pytest.raises(AssertionError, match=re.escape(broken)):
        check_architecture(fresh(FAULTS[broken]))


def test_padding_in_a_recurrent_state_is_caught():
    with pytest.raises(AssertionError, match="decoding with a memory"):
        check_architecture(fresh(Eager))


def test_misplaced_texts_in_a_packed_row_are_caught():
    with pytest.raises(AssertionError, match="texts packed in one row"):
        check_architecture(fresh(Displaced))


def test_the_architecture_is_left_as_it_was():
    model = fresh().train()
    before = [parameter.clone() for parameter in model.parameters()]
    check_architecture(model)
    assert model.training
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
