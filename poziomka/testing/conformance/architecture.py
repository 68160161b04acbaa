"""Conformance check of architectures: log-probabilities must not depend on batching, packing or caching."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from poziomka.models.base import Architecture, Packing
from poziomka.testing.rule import rule

LENGTHS = (9, 5, 12, 7)  # lengths in tokens of the texts of a batch


def check_architecture(architecture: Architecture, *, tolerance: float = 1e-4, seed: int = 0) -> None:
    """Checks that an architecture keeps its contract.

    Its log-probabilities must not depend on batching, packing, caching or later tokens; shapes, types, gradients and
    the export of weights are checked too. The checks run on a copy with noise on its weights: fresh weights are so
    small that, for example, a leak between two texts would stay below any tolerance.

    Args:
        architecture: the architecture to check, in fp32.
        tolerance: largest difference between two log-probabilities that should be equal.
        seed: seed of the texts and the noise.

    Raises:
        AssertionError: the architecture breaks a rule; the message names the rule and the deviation.
    """
    random = torch.Generator().manual_seed(seed)
    texts = [
        torch.randint(architecture.vocabulary, (length,), generator=random).to(architecture.device)
        for length in LENGTHS
    ]
    with torch.no_grad():
        _check_shapes(copy.deepcopy(architecture).eval(), texts, tolerance)
        stirred = _stirred(architecture, texts[0], random)
        for check in (_check_shapes, _check_causality, _check_decoding, _check_pieces, _check_memory, _check_packing):
            check(stirred, texts, tolerance)
        _check_description(stirred, texts)
    _check_gradients(stirred, texts)


def _stirred(architecture: Architecture, text: Tensor, random: torch.Generator) -> Architecture:
    """Returns a copy of a model with enough noise on its weights that the end of a text depends on its beginning."""
    stirred = copy.deepcopy(architecture).eval()
    changed = text.clone()
    changed[0] = (changed[0] + 1) % stirred.vocabulary
    for doubling in range(8):
        for parameter in stirred.parameters():
            noise = torch.randn(parameter.shape, generator=random).to(parameter)
            parameter.add_(noise, alpha=0.02 * 2**doubling)
        gap = (_alone(stirred, text)[-1] - _alone(stirred, changed)[-1]).abs().max()
        if gap > 0.1:
            return stirred
    rule(holds=False, broken="the end of a text depends on its beginning: whatever the weights, it did not")
    return stirred


def _logprobs(architecture: Architecture, hidden: Tensor) -> Tensor:
    return torch.log_softmax(architecture.logits(hidden), -1)


def _alone(architecture: Architecture, text: Tensor) -> Tensor:
    """Returns the log-probabilities [T, V] of a text [T] in a forward pass of its own."""
    return _logprobs(architecture, architecture(text.unsqueeze(0)))[0]


def _padded(texts: Sequence[Tensor], fill: int = 0) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True, padding_value=fill)


def _near(found: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    gap = float((found - wanted).abs().max()) if found.numel() else 0.0
    rule(gap <= tolerance, f"{what}: log-probabilities differ by {gap:.2g}, which is more than {tolerance:g}")


def _counts(texts: Sequence[Tensor]) -> Tensor:
    return torch.tensor([len(text) for text in texts], device=texts[0].device)


def _check_shapes(architecture: Architecture, texts: Sequence[Tensor], tolerance: float) -> None:
    batch = torch.stack([text[: min(LENGTHS)] for text in texts])
    hidden = architecture(batch)
    shaped = hidden.dim() == 3 and hidden.shape[:2] == batch.shape
    rule(shaped, f"forward returns [B, T, D]: {list(batch.shape)} tokens gave {list(hidden.shape)}")
    logits = architecture.logits(hidden)
    wanted = [*batch.shape, architecture.vocabulary]
    rule(list(logits.shape) == wanted, f"logits returns [..., V]: received {list(logits.shape)}, not {wanted}")
    rule(logits.dtype is torch.float32, f"logits are fp32: received {logits.dtype}")
    rule(bool(logits.isfinite().all()), "logits are finite: some are not")
    for row, text in enumerate(batch):
        read = _logprobs(architecture, hidden)[row]
        _near(read, _alone(architecture, text), tolerance, "rows of a batch do not know of each other")


def _check_causality(architecture: Architecture, texts: Sequence[Tensor], tolerance: float) -> None:
    text = texts[0]
    changed = text.clone()
    changed[-1] = (changed[-1] + 1) % architecture.vocabulary
    before, after = _alone(architecture, text)[:-1], _alone(architecture, changed)[:-1]
    _near(after, before, tolerance, "a token is not known before it is read")


def _check_decoding(architecture: Architecture, texts: Sequence[Tensor], tolerance: float) -> None:
    """Checks a prefill of texts of different lengths together, and decoding them token by token with a cache."""
    prefixes = [text[: 1 + number] for number, text in enumerate(texts)]
    memory = architecture.memory(len(texts), 2)  # small, so that it has to grow
    counts = _counts(prefixes)
    architecture(_padded(prefixes), memory, counts=counts)
    _check_lengths(memory.lengths, counts, "after reading padded texts with their counts")
    for step in range(min(LENGTHS) - len(texts)):
        tokens = torch.stack([text[len(prefix) + step] for text, prefix in zip(texts, prefixes, strict=True)])
        found = _logprobs(architecture, architecture(tokens.unsqueeze(1), memory))[:, 0]
        for row, (text, prefix) in enumerate(zip(texts, prefixes, strict=True)):
            wanted = _alone(architecture, text[: len(prefix) + step + 1])[-1]
            _near(found[row], wanted, tolerance, f"decoding with a memory (row {row}, step {step}) is reading at once")


def _check_pieces(architecture: Architecture, texts: Sequence[Tensor], tolerance: float) -> None:
    """Checks that texts can be read in chunks of different lengths with a cache; a chunk may be empty."""
    memory = architecture.memory(len(texts), 4)
    cuts = [(0, 4, 4, len(texts[0])), (0, 1, 5, 5), (0, 3, 8, len(texts[2])), (0, 0, 2, len(texts[3]))]
    for piece in range(3):
        pieces = [text[cut[piece] : cut[piece + 1]] for text, cut in zip(texts, cuts, strict=True)]
        found = _logprobs(architecture, architecture(_padded(pieces, fill=1), memory, counts=_counts(pieces)))
        for row, (text, cut) in enumerate(zip(texts, cuts, strict=True)):
            wanted = _alone(architecture, text)[cut[piece] : cut[piece + 1]]
            _near(found[row, : len(wanted)], wanted, tolerance, f"reading in pieces (row {row}) is reading at once")
    _check_lengths(memory.lengths, _counts(texts), "after reading in pieces")


def _check_lengths(lengths: Tensor, wanted: Tensor, when: str) -> None:
    same = lengths.tolist() == wanted.tolist()
    rule(same, f"a memory counts the real tokens of each row: {when} {lengths.tolist()}, not {wanted.tolist()}")


def _check_memory(architecture: Architecture, texts: Sequence[Tensor], tolerance: float) -> None:
    """Checks fork, keep and join of cache rows: each row continues independently of the others."""
    memory = architecture.memory(2, 4)
    begun = [text[:4] for text in texts]
    architecture(torch.stack(begun[:2]), memory)
    rows = torch.tensor([1, 0, 1], device=architecture.device)
    fork = memory.fork(rows)
    endings = [texts[2][:3], texts[2][3:6], texts[3][:3]]
    found = _logprobs(architecture, architecture(torch.stack(endings), fork))
    for row, ending in enumerate(endings):
        wanted = _alone(architecture, torch.cat([begun[int(rows[row])], ending]))[4:]
        _near(found[row], wanted, tolerance, f"a branch goes on from its row (branch {row})")
    other = architecture.memory(1, 4)
    architecture(begun[2].unsqueeze(0), other)
    memory.join(other)
    memory.keep(torch.tensor([2, 1], device=architecture.device))
    _check_lengths(memory.lengths, torch.tensor([4, 4]), "after two rows joined and were kept")
    found = _logprobs(architecture, architecture(torch.stack(endings[:2]), memory))
    for row, (origin, ending) in enumerate(zip((2, 1), endings, strict=False)):
        wanted = _alone(architecture, torch.cat([begun[origin], ending]))[4:]
        _near(
            found[row],
            wanted,
            tolerance,
            f"a row that is kept goes on where it was, whatever its branches read ({row})",
        )


def _check_packing(architecture: Architecture, texts: Sequence[Tensor], tolerance: float) -> None:
    """Checks packing with two rows: one with three texts, the other with one text and padding."""
    rows = [[texts[1], texts[0], texts[3]], [texts[2]]]
    tokens = _padded([torch.cat(row) for row in rows], fill=1)
    sequence = _padded([torch.cat([torch.full_like(t, n) for n, t in enumerate(row)]) for row in rows], fill=-1)
    position = _padded([torch.cat([torch.arange(len(t), device=t.device) for t in row]) for row in rows])
    found = _logprobs(architecture, architecture(tokens, packing=Packing(sequence, position)))
    rule(bool(found.isfinite().all()), "padding does not spread: some log-probabilities are not finite")
    for number, row in enumerate(rows):
        start = 0
        for text in row:
            read = found[number, start : start + len(text)]
            _near(read, _alone(architecture, text), tolerance, "texts packed in one row do not know of each other")
            start += len(text)


def _check_gradients(architecture: Architecture, texts: Sequence[Tensor]) -> None:
    architecture.zero_grad(set_to_none=True)
    for text in texts:
        loss = -_alone(architecture, text)[:-1].gather(1, text[1:, None]).mean()
        torch.autograd.backward(loss)
    for name, parameter in architecture.named_parameters():
        grad = parameter.grad
        reached = not parameter.requires_grad or (grad is not None and bool(grad.ne(0).any()))
        rule(reached, f"every parameter learns: no gradient reached {name!r}")
        rule(grad is None or bool(grad.isfinite().all()), f"gradients are finite: that of {name!r} is not")


def _check_description(architecture: Architecture, texts: Sequence[Tensor]) -> None:
    short, long = architecture.flops(10), architecture.flops(1000)
    rule(0 < short <= long, f"a token costs work, and no less after more of them: {short} after 10, {long} after 1000")
    one, many = architecture.work(1), architecture.work(1000)
    even = abs(many.places - 1000 * one.places) + abs(many.head - 1000 * one.head) <= 1e-6 * (many.places + many.head)
    rule(even, f"every token's own work and its head's are alike: {one} for one token, {many} for 1000")
    before = [_alone(architecture, text) for text in texts]
    weights = {name: tensor.clone() for name, tensor in architecture.export().items()}
    architecture.load_exported(weights)
    for text, wanted in zip(texts, before, strict=True):
        _near(_alone(architecture, text), wanted, 0.0, "weights that were exported can be loaded back")
