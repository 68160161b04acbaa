"""Log-probabilities of next tokens for many transcripts at once, each distinct prefix of them read once.

The token sequences form a tree: those that begin with the same tokens share a node, whose tokens the model reads in one
row of a batch; the rows are then forked for its children. Sequences that share fewer than SHARED tokens from a node on
are read separately, because a forward pass takes longer than reading a few tokens twice.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from poziomka.core.errors import TranscriptError
from poziomka.core.sampler import NextTokens
from poziomka.inference.engine import LEAST_ROWS, READ_AT_ONCE, Engine
from poziomka.models.cache import Memory

SHARED = 16  # fewest tokens that are worth a node of their own
HELD = 65_536  # tokens of a batch's decode cache, those before the nodes included


@dataclass(eq=False, slots=True)
class Probe:
    """A request for the log-probabilities of candidates for the next token.

    Attributes:
        tokens: token ids of the transcript, at least one.
        candidates: token ids of the candidates.
        done: callback, called once with the result.
        read: number of tokens that were read for this probe so far.
    """

    tokens: "array[int]"
    candidates: tuple[int, ...]
    done: Callable[[NextTokens], None]
    read: int = 0


class Node(NamedTuple):
    """A part of the tree of token sequences.

    Attributes:
        start, end: positions of the tokens that its probes share; those before `start` are the parent's.
        probes: probes whose sequences contain these tokens; the first one is charged for reading them.
        parent: row of the parent in the decode cache of its batch; None at a root.
    """

    start: int
    end: int
    probes: Sequence[Probe]
    parent: int | None = None

    @property
    def tokens(self) -> "array[int]":
        """Token ids of the node."""
        return self.probes[0].tokens[self.start : self.end]


def demand_readable(engine: Engine, probe: Probe) -> None:
    """Checks that the engine's model can read a probe.

    Raises:
        TranscriptError: there are no tokens, a token is not in the vocabulary, or there are more than the context.
        SamplerError: the engine has released its weights.
    """
    engine.demand_awake()
    tokens, model = probe.tokens, engine.model
    strange = next((token for token in tokens if not 0 <= token < model.vocabulary), None)
    if not tokens or strange is not None:
        what = "no tokens" if strange is None else f"the token {strange}"
        message = f"a transcript has {what}, and the model has {model.vocabulary} tokens: read it with its tokenizer"
        raise TranscriptError(message)
    if engine.context is not None and len(tokens) > engine.context:
        message = f"a transcript of {len(tokens)} tokens cannot be judged by a model that reads {engine.context}"
        raise TranscriptError(message)


@torch.inference_mode()
def answer(engine: Engine, probes: Sequence[Probe]) -> None:
    """Computes the log-probabilities of all probes and calls their `done`.

    Raises:
        SamplerError: the logits are not finite, or the engine has released its weights.
    """
    engine.demand_awake()
    waiting: list[tuple[list[Node], Memory | None]] = [(chunk, None) for chunk in _chunks(_children(probes, 0))]
    while waiting:
        nodes, parents = waiting.pop()
        memory, last = _read(engine, nodes, parents)
        logprobs = torch.log_softmax(engine.model.logits(last), -1)
        children: list[Node] = []
        for row, node in enumerate(nodes):
            node.probes[0].read += len(node.tokens)
            for probe in node.probes:
                if len(probe.tokens) == node.end:
                    found = engine.finite(logprobs[row, list(probe.candidates)].tolist())
                    probe.done(NextTokens(tuple(found), probe.read))
            children += _children([probe for probe in node.probes if len(probe.tokens) > node.end], node.end, row)
        waiting += [(chunk, memory) for chunk in _chunks(children)]


def _children(probes: Sequence[Probe], start: int, parent: int | None = None) -> list[Node]:
    """Returns the nodes below position `start` of probes that share all tokens before it, which `parent` ends with."""
    families: dict[bytes, list[Probe]] = {}
    for probe in probes:
        families.setdefault(probe.tokens[start : start + SHARED].tobytes(), []).append(probe)
    ends = [_shared([probe.tokens for probe in family]) for family in families.values()]
    return [Node(start, end, family, parent) for end, family in zip(ends, families.values(), strict=True)]


def _shared(sequences: Sequence["array[int]"]) -> int:
    """Returns the number of leading tokens that all sequences share."""
    low, high = min(sequences), max(sequences)  # in lexicographic order, all others are between these two
    pairs = enumerate(zip(low, high, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(low), len(high)))


def _chunks(nodes: Iterable[Node]) -> list[list[Node]]:
    """Divides nodes into batches of similar lengths.

    A batch reads at most 16,384 tokens, padding included, and its decode cache has at most HELD tokens; a larger node
    is a batch of its own.
    """
    chunks: list[list[Node]] = []
    held = 0  # longest sequence of the last chunk, the tokens before its node included
    for node in sorted(nodes, key=lambda node: node.end - node.start):
        longest, rows = node.end - node.start, len(chunks[-1]) + 1 if chunks else 1  # nodes are sorted
        held = max(held, node.start + longest)
        if not chunks or longest * rows > READ_AT_ONCE or held * rows > HELD:
            chunks.append([])
            held = node.start + longest
        chunks[-1].append(node)
    return chunks


def _read(engine: Engine, nodes: Sequence[Node], parents: Memory | None) -> tuple[Memory, Tensor]:
    """Reads the tokens of nodes in one batch; returns their decode cache, and the last hidden states [nodes, D].

    Args:
        engine: engine with the model.
        nodes: nodes of one depth.
        parents: decode cache of the parents' batch; None at the roots.
    """
    model, device = engine.model, engine.model.device
    fresh = [node.tokens for node in nodes]
    longest = max(*map(len, fresh), -(-LEAST_ROWS // len(fresh)))  # small products depend on the number of rows
    if parents is None:
        memory = model.memory(len(nodes), longest)
    else:
        memory = parents.fork(torch.tensor([node.parent for node in nodes], dtype=torch.long, device=device))
        memory.reserve(max(node.start for node in nodes) + longest)
    tokens = torch.zeros(len(nodes), longest, dtype=torch.long)
    for number, ids in enumerate(fresh):
        tokens[number, : len(ids)] = torch.tensor(ids)
    counts = torch.tensor([len(ids) for ids in fresh], device=device)
    hidden = model(tokens.to(device), memory, counts=counts)
    engine.counters.read += int(counts.sum())
    engine.counters.padded += tokens.numel() - int(counts.sum())
    return memory, hidden[torch.arange(len(nodes), device=device), counts - 1]
