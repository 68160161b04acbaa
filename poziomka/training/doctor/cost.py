"""Will it fit, how long will it take, and is there anything to learn from?"""

from pathlib import Path
from statistics import fmean

import torch

from poziomka.core.transcript import Transcript
from poziomka.learning.advantages import informative
from poziomka.learning.learner import SMALL
from poziomka.models.architecture import Architecture, Packing
from poziomka.reports.words import duration, percent, scaled
from poziomka.training.doctor.finding import Finding
from poziomka.training.doctor.parts import Bench

BACKWARD = 1.25  # times what the forward pass kept: the peak of the backward pass, about
AGAIN = 3.0  # times what one block keeps: the peak of making it again and going back through it, about
TIGHT = 0.8  # share of the available memory from which on an estimate is no promise


def memory(bench: Bench) -> Finding:
    """Compares an estimate of a step's peak with the memory there is."""
    name, needed, there = "memory", sum(needs(bench).values()), available(bench.parts.model.device)
    parts = ", ".join(f"{what} {scaled(amount, 'B')}" for what, amount in needs(bench).items())
    figure = f"about {scaled(needed, 'B')} at the peak of a step ({parts})"
    if there is None:
        return Finding.passed(name, f"{figure}; how much there is could not be read")
    figure += f" of {scaled(there, 'B')}"
    advice = (
        "take a smaller model or LoRA, fewer reinforce.problems or reinforce.attempts, fewer reinforce.tokens, "
        "a smaller reinforce.learner.places, or set reinforce.learner.checkpointing"
    )
    if needed > there:
        return Finding.failed(name, figure, advice)
    return Finding.warned(name, figure, advice) if needed > TIGHT * there else Finding.passed(name, figure)


def needs(bench: Bench) -> dict[str, float]:
    """Returns estimated bytes at the peak of a step, by what holds them; sampling and learning do not overlap.

    The sampler's copy of the weights stays; the states of rows that are being written are gone when learning begins.
    """
    parts, settings = bench.parts, bench.parts.settings
    model, how = parts.model, parts.learner.settings
    weights = 2.0 * sum(p.numel() * p.element_size() for p in model.parameters())  # the learner's and the sampler's
    # gradient and two moments in fp32; a weight that is not fp32 has a master and a gradient of its own besides
    optimizer = sum(
        p.numel() * (12.0 if p.element_size() == 4 else 18.0) for p in model.parameters() if p.requires_grad
    )
    rows = settings.problems * settings.attempts
    length = max(len(parts.chat.read(Transcript.of(problem.prompt))) for problem in bench.problems) + settings.tokens
    states = rows * length * bytes_a_token(model)
    places = min(rows * length, max(how.places, length))
    logits = 12.0 * model.vocabulary * (places if model.vocabulary <= SMALL else min(places, how.head_rows))
    passes = places * kept_a_place(model) + logits
    return {"weights": weights, "optimizer": optimizer, "work": max(states, passes)}


def kept_a_place(model: Architecture, places: int = 64) -> float:
    """Returns about how many bytes one more place takes until its backward pass: counted on short texts.

    With checkpointing a block is made again before its backward pass, and needs then what it would have kept.
    """
    checkpointing, model.checkpointing = model.checkpointing, False
    try:
        whole = (_kept(model, 2 * places) - _kept(model, places)) / places
        if not checkpointing:
            return BACKWARD * whole
        model.checkpointing = True
        between = (_kept(model, 2 * places) - _kept(model, places)) / places
        return between + AGAIN * whole / max(1.0, float(str(model.config().get("num_hidden_layers", 1))))
    finally:
        model.checkpointing = checkpointing


def _kept(model: Architecture, places: int) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    position = torch.arange(places, device=model.device).unsqueeze(0)
    packing = Packing(torch.zeros_like(position), position)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        hidden = model(torch.zeros_like(position), packing=packing)
    kept = sum(storages.values())
    del hidden  # until here it held what was counted
    return kept


def bytes_a_token(model: Architecture) -> float:
    """Returns what the state of one more token in a row takes."""
    with torch.no_grad():
        short, long = (_size(model, length) for length in (64, 128))
    return (long - short) / 64


def _size(model: Architecture, length: int) -> int:
    return sum(t.numel() * t.element_size() for t in model.memory(1, length).stores.values())


def available(device: torch.device) -> float | None:
    """Returns the bytes that can still be had; None where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    limits = [amount for amount in (_machine(), _container()) if amount is not None]
    return min(limits) if limits else None


def _machine(path: Path = Path("/proc/meminfo")) -> float | None:
    try:
        lines = dict(line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines())
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


def _container(folder: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Returns what a control group (a container, a job of a cluster) still allows."""
    try:
        most, used = (float((folder / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # "max": no limit
        return None
    return most - used


def variance(bench: Bench) -> Finding:
    """Looks whether attempts at a problem differ in reward: only then is there anything to learn from."""
    name = "rewards"
    judged = [rollout for rollout in bench.rollouts if rollout.score.reward is not None]
    if not judged:
        why = bench.rollouts[0].score.why
        return Finding.failed(name, f"no check came to a verdict: {why}", "mend the scorer or the environment")
    rate, share = fmean(r.score.correct for r in judged), fmean(informative(group) for group in bench.groups)
    shown = f"{percent(rate)} of {len(judged)} attempts right, "
    shown += f"{percent(share)} of {len(bench.groups)} groups with different rewards"
    if not bench.parts.warmed:
        return Finding.passed(name, f"{shown} (the warm start comes first)")
    if share == 0:
        way = "an easier task, more attempts or a warm start" if rate < 0.5 else "a harder task"
        return Finding.warned(name, shown, f"such groups teach nothing: take {way}")
    return Finding.passed(name, shown)


def seconds(bench: Bench) -> Finding:
    """Scales what sampling and learning took here to a whole step of the recipe.

    Rows that are sampled together share the work: at best more rows take no longer, at worst as much longer.
    """
    settings, taken = bench.parts.settings, bench.seconds
    rows = settings.problems * settings.attempts
    learning = taken["learning"] * rows / sum(len(group) for group in bench.few)
    low, high = (taken["sampling"] * more + learning for more in (1.0, rows / len(bench.rollouts)))
    spoken = [duration(low)] if high < 1.1 * low else [duration(low), duration(high)]
    stage = [duration(value * settings.steps) for value in (low, high)][: len(spoken)]
    figure = f"a step of {rows} rollouts {' to '.join(spoken)}, {settings.steps} steps {' to '.join(stage)}"
    return Finding.passed("time", figure)
