"""From hidden states to log-probabilities and back, a few rows of logits at a time.

With a large vocabulary the logits are the largest tensors of a step, and reading and writing them costs as much as
the products that make them. So they are made in chunks of rows, summed and kept in fp32; a chunk's softmax, loss and
gradient are taken in fp32 over blocks small enough for a core's cache, the gradient overwrites the logits in the
weights' precision, and the chunk's two backward products are done at once.

Shapes: `M` tokens learned from, `V` vocabulary, `D` width.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from poziomka.learning.objectives.kl import Divergence
from poziomka.learning.objectives.loss_inputs import Learned, TermsOf
from poziomka.learning.optim.master_weights import add
from poziomka.models.base import Architecture, masked

BLOCK = 8  # rows whose logits in fp32 stay in the cache; a GPU takes the whole chunk
STRIPE = 8192  # rows of the weight, or of its gradient, that are turned into fp32 at once


class Passed(NamedTuple):
    """What a pass over the head found, [M] each but the last.

    Attributes:
        logp: log-probability of each token.
        entropy: of the distribution it stands in, nats.
        divergence: from the reference over the whole vocabulary; None where it was not asked for.
        hidden: [M, D] the loss's gradient.
    """

    logp: Tensor
    entropy: Tensor
    divergence: Tensor | None
    hidden: Tensor


class Head:
    """The matrix that gives logits, hidden @ weightᵀ.

    Args:
        weight: [V, D].
        rows: most rows of logits that exist at once.
        unused: rows of the weight that have no probability (Architecture.unused); None for none.
    """

    def __init__(self, weight: Tensor, rows: int, unused: Tensor | None = None) -> None:
        """Makes nothing yet."""
        self.weight, self.rows, self.unused = weight.detach(), rows, unused
        self.block = BLOCK if weight.device.type == "cpu" else rows

    def chunks(self, hidden: Tensor, logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yields stretches of rows and their logits, each time in the same buffer [rows, V] in fp32."""
        for start in range(0, len(hidden), self.rows):
            rows = slice(start, min(start + self.rows, len(hidden)))
            made = logits[: rows.stop - rows.start]
            wide = hidden[rows].float()
            for stripe in range(0, len(self.weight), STRIPE):
                columns = self.weight[stripe : stripe + STRIPE].float().t()
                torch.mm(wide, columns, out=made[:, stripe : stripe + STRIPE])
            yield rows, masked(made, self.unused)

    def _logits(self, count: int) -> Tensor:
        return self._fp32(min(self.rows, count))

    def _scratch(self, count: int) -> Tensor:
        return self._fp32(min(self.block, self.rows, count))

    def _fp32(self, rows: int) -> Tensor:
        return torch.empty(rows, len(self.weight), dtype=torch.float32, device=self.weight.device)

    def _blocks(self, rows: slice) -> Iterator[tuple[slice, slice]]:
        """Yields the blocks of a chunk, as rows of the chunk and as rows of all."""
        count = rows.stop - rows.start
        for start in range(0, count, self.block):
            stop = min(start + self.block, count)
            yield slice(start, stop), slice(rows.start + start, rows.start + stop)

    @torch.no_grad()
    def logprobs(self, hidden: Tensor, tokens: Learned) -> Tensor:
        """Returns [M] the log-probabilities of tokens after hidden states [M, D], without a gradient."""
        found, scratch = tokens.logq.new_empty(len(hidden)), (self._scratch(len(hidden)), self._scratch(len(hidden)))
        for rows, logits in self.chunks(hidden, self._logits(len(hidden))):
            for here, there in self._blocks(rows):
                x, p = (buffer[: here.stop - here.start] for buffer in scratch)
                normaliser = _softmax(logits[here], tokens.temperature[there], x, p)
                found[there] = x.gather(1, tokens.target[there].unsqueeze(1)).squeeze(1) - normaliser
        return found

    @torch.no_grad()
    def backward(
        self,
        hidden: Tensor,
        tokens: Learned,
        terms: TermsOf,
        gradient: Tensor | None,
        reference: "tuple[Divergence, Head, Tensor] | None" = None,
    ) -> Passed:
        """Takes the loss of tokens after hidden states [M, D], and its gradient.

        Args:
            hidden: [M, D].
            tokens: what is learned from.
            terms: the loss terms on log-probabilities.
            gradient: [V, D], to which the weight's gradient is added; None where the weight does not learn.
            reference: for a divergence over the vocabulary: its kind, the reference's head and hidden states [M, D].
        """
        count = len(hidden)
        back, found = torch.empty_like(hidden), tokens.logq.new_zeros(3, count)
        scratch = [self._scratch(count) for _ in range(2 if reference is None else 4)]
        other_type = gradient is not None and gradient.dtype != self.weight.dtype
        product = self.weight.new_empty(STRIPE, self.weight.shape[1]) if other_type else None
        buffer = self._logits(count)
        others = None if reference is None else reference[1].chunks(reference[2], torch.empty_like(buffer))
        for rows, logits in self.chunks(hidden, buffer):
            theirs = None if others is None else next(others)[1]
            turned = logits.view(self.weight.dtype)[:, : len(self.weight)]  # in the logits' own memory, row by row
            for here, there in self._blocks(rows):
                part = None if reference is None or theirs is None else (reference[0], theirs[here])
                found[:, there] = _turn(logits[here], turned[here], tokens[there], terms, scratch, part)
            torch.mm(turned, self.weight, out=back[rows])
            if gradient is not None:
                _accumulate(gradient, turned, hidden[rows], product)
        return Passed(found[0], found[1], None if reference is None else found[2], back)


def _turn(
    logits: Tensor,
    turned: Tensor,
    tokens: Learned,
    terms: TermsOf,
    scratch: list[Tensor],
    reference: tuple[Divergence, Tensor] | None,
) -> Tensor:
    """Turns logits [b, V] into the loss's gradient by them; returns [3, b]: log-probability, entropy, divergence.

    The gradient goes to `turned` [b, V], which may be the logits' memory. In log p it is `slope` on the token
    itself and -slope p on all.
    """
    x, p, *more = (buffer[: len(logits)] for buffer in scratch)
    target = tokens.target.unsqueeze(1)
    normaliser = _softmax(logits, tokens.temperature, x, p)
    logp = x.gather(1, target).squeeze(1) - normaliser
    entropy, apart = normaliser - torch.linalg.vecdot(p, x), torch.zeros_like(logp)
    slope = _slope(terms, logp, tokens)
    if reference is None:
        p.mul_(-slope.unsqueeze(1))
    else:
        shift = normaliser - _softmax(reference[1], tokens.temperature, more[0], more[1])
        apart = _pull(reference[0], (x, p), (more[0], more[1]), shift, slope, tokens.match)
    p.scatter_add_(1, target, slope.unsqueeze(1))
    if (tokens.temperature != 1).any():
        p.div_(tokens.temperature.unsqueeze(1))
    turned.copy_(p)
    return torch.stack([logp, entropy, apart])


def matrix_of(model: Architecture) -> Tensor | None:
    """Returns the matrix [V, D] that gives a model's logits; None where its head is more than that."""
    matrix = getattr(model, "head_weight", None)
    return matrix if isinstance(matrix, Tensor) else None


def _softmax(logits: Tensor, temperature: Tensor, x: Tensor, p: Tensor) -> Tensor:
    """Fills x with logits / temperature and p with their softmax, in fp32; returns their log-sum-exp.

    The largest logit and its share are exact enough to give the sum whatever the spread.
    """
    x.copy_(logits)
    if (temperature != 1).any():
        x.div_(temperature.unsqueeze(1))
    torch.softmax(x, -1, out=p)
    return x.amax(1) - p.amax(1).log()


def _slope(terms: TermsOf, logp: Tensor, tokens: Learned) -> Tensor:
    """Returns the loss's derivative by each log-probability."""
    with torch.enable_grad():
        own = logp.detach().requires_grad_()
        (slope,) = torch.autograd.grad(terms(own, tokens).total, own)
    return slope


def _pull(
    kind: Divergence,
    own: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
    shift: Tensor,
    slope: Tensor,
    match: Tensor,
) -> Tensor:
    """Turns p into -slope p plus the gradient of w KL by the logits; returns KL.

    reverse  w p (log p - log q - KL), KL = Σ p (log p - log q)
    forward  w (p - q),                KL = Σ q (log q - log p)

    Args:
        kind: of the divergence.
        own: logits x and softmax p, [b, V] each; both are overwritten.
        other: the reference's logits y and softmax q; both are overwritten.
        shift: [b] log-sum-exp of x less that of y, so that log p - log q = x - y - shift.
        slope: [b].
        match: [b] w.
    """
    (x, p), (y, q) = own, other
    gap, pull = x.sub_(y), match.unsqueeze(1)
    if kind == "reverse":
        mean = torch.linalg.vecdot(p, gap)
        p.mul_(gap.sub_(mean.unsqueeze(1)).mul_(pull).sub_(slope.unsqueeze(1)))
        return mean - shift
    apart = shift - torch.linalg.vecdot(q, gap)
    p.mul_(pull - slope.unsqueeze(1)).sub_(q.mul_(pull))
    return apart


def _accumulate(gradient: Tensor, logits: Tensor, hidden: Tensor, product: Tensor | None) -> None:
    """Adds logitsᵀ @ hidden to the weight's gradient; through `product` where that is in another precision."""
    if product is None:
        gradient.addmm_(logits.t(), hidden)
        return
    for start in range(0, len(gradient), STRIPE):
        columns = logits[:, start : start + STRIPE]
        add(gradient[start : start + STRIPE], torch.mm(columns.t(), hidden, out=product[: columns.shape[1]]))
