"""Chunked output head: log-probabilities from hidden states, and the loss's gradient, a few rows of logits at a time.

With a large vocabulary the logits are the largest tensors of a step, and reading and writing them costs as much as
the matrix products that make them. The head therefore computes them in chunks of rows, accumulated and stored in fp32.
Softmax, loss and gradient of a chunk are computed in fp32 over blocks that fit a core's cache; the gradient overwrites
the logits in the precision of the weights, and the two backward products of the chunk follow immediately.

Shapes: `M` trained tokens, `V` vocabulary, `D` width.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from poziomka.learning.objectives.kl import Divergence
from poziomka.learning.objectives.loss_inputs import LossInputs, TermsOf
from poziomka.learning.optim.master_weights import add
from poziomka.models.base import masked

BLOCK = 8  # rows of fp32 logits that stay in a CPU's cache; a GPU works on the whole chunk
STRIPE = 8192  # rows of the weight, or of its gradient, that are converted to fp32 at once


class Passed(NamedTuple):
    """Results of a backward pass through the output head, for `M` trained tokens.

    Attributes:
        logp: [M] log-probability of each token.
        entropy: [M] entropy of the learner's distribution at each token, in nats.
        divergence: [M] KL divergence from the reference over the whole vocabulary, in nats; None without a reference.
        hidden: [M, D] gradient of the loss by the hidden states.
    """

    logp: Tensor
    entropy: Tensor
    divergence: Tensor | None
    hidden: Tensor


class Head:
    """Output head that computes logits = hidden @ weightᵀ in chunks of rows.

    Args:
        weight: [V, D] output matrix.
        rows: largest number of rows of logits in memory at once.
        unused: ids of logits without a token, which get probability 0 (Architecture.unused); None for none.
    """

    def __init__(self, weight: Tensor, rows: int, unused: Tensor | None = None) -> None:
        """Stores the matrix; allocates no buffers."""
        self.weight, self.rows, self.unused = weight.detach(), rows, unused
        self.block = BLOCK if weight.device.type == "cpu" else rows

    def chunks(self, hidden: Tensor, logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yields each chunk as a slice of the rows of `hidden` and a view of the buffer with its logits.

        Args:
            hidden: [M, D] hidden states.
            logits: [rows, V] in fp32, the buffer that every chunk overwrites.
        """
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
        """Yields the blocks of a chunk, as slices of the chunk's rows and as slices of all rows."""
        count = rows.stop - rows.start
        for start in range(0, count, self.block):
            stop = min(start + self.block, count)
            yield slice(start, stop), slice(rows.start + start, rows.start + stop)

    @torch.no_grad()
    def logprobs(self, hidden: Tensor, tokens: LossInputs) -> Tensor:
        """Returns the log-probability [M] of each target token given its hidden state [M, D], without a gradient."""
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
        tokens: LossInputs,
        terms: TermsOf,
        gradient: Tensor | None,
        reference: "tuple[Divergence, Head, Tensor] | None" = None,
    ) -> Passed:
        """Computes the loss of the target tokens and its gradient by the hidden states and the weight.

        Args:
            hidden: [M, D] hidden states before the tokens.
            tokens: the trained tokens with their weights.
            terms: function from log-probabilities [M] and tokens to loss terms.
            gradient: [V, D], to which the weight's gradient is added in place; None if the weight is frozen.
            reference: (kind, head, hidden states [M, D]) of the reference; None without a KL over the vocabulary.

        Returns:
            The gradient by the hidden states, and results for each token.
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
            turned = logits.view(self.weight.dtype)[:, : len(self.weight)]  # shares the memory of the logits
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
    tokens: LossInputs,
    terms: TermsOf,
    scratch: list[Tensor],
    reference: tuple[Divergence, Tensor] | None,
) -> Tensor:
    """Writes the loss's gradient by logits [b, V]; returns log-probability, entropy and divergence, [3, b].

    The gradient goes to `turned` [b, V], which may share the memory of the logits. Through log p it is `slope` on the
    target token and -slope p on all tokens.
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


def matrix_of(model: nn.Module) -> Tensor | None:
    """Returns the output matrix [V, D] of a model; None if its head is anything but one matrix."""
    matrix = getattr(model, "head_weight", None)
    return matrix if isinstance(matrix, Tensor) else None


def _softmax(logits: Tensor, temperature: Tensor, x: Tensor, p: Tensor) -> Tensor:
    """Fills x with logits / temperature and p with their softmax, in fp32; returns their log-sum-exp.

    The largest logit minus the log of its probability is an accurate log-sum-exp for any spread of logits.
    """
    x.copy_(logits)
    if (temperature != 1).any():
        x.div_(temperature.unsqueeze(1))
    torch.softmax(x, -1, out=p)
    return x.amax(1) - p.amax(1).log()


def _slope(terms: TermsOf, logp: Tensor, tokens: LossInputs) -> Tensor:
    """Returns the derivative of the loss by each log-probability, [b]."""
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
    """Overwrites p with -slope p plus the gradient of w KL by the logits; returns KL [b].

    reverse  w p (log p - log q - KL), KL = Σ p (log p - log q)
    forward  w (p - q),                KL = Σ q (log q - log p)

    Args:
        kind: "reverse" or "forward".
        own: logits x and softmax p, [b, V] each; both are overwritten.
        other: the reference's logits y and softmax q; both are overwritten.
        shift: [b] log-sum-exp of x minus that of y, so that log p - log q = x - y - shift.
        slope: [b] derivative of the other loss terms by log p of the target token.
        match: [b] weight w of the KL term at each token.
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
    """Adds logitsᵀ @ hidden to the weight's gradient; via the buffer `product` if the gradient's precision differs."""
    if product is None:
        gradient.addmm_(logits.t(), hidden)
        return
    for start in range(0, len(gradient), STRIPE):
        columns = logits[:, start : start + STRIPE]
        add(gradient[start : start + STRIPE], torch.mm(columns.t(), hidden, out=product[: columns.shape[1]]))
