"""How many updates the recurrence's step takes to learn: error of written-out thoughts, for settings of the warm start.

    .venv/bin/python benchmarks/skill.py --updates 800 --rate 2e-3 --qk-norm

Prints the share of wrong tokens (given the right ones before) and the loss on held-in demonstrations of all lengths,
every 200 updates. Wall-clock time is printed for orientation and is no benchmark.
"""

import argparse
import time

import torch

from poziomka.core.transcript import Author
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.demonstrations import Lessons, LessonSettings
from poziomka.learning.samples.weighting import imitation_examples
from poziomka.models.base import Architecture
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.tasks import task_named

TEACHER = (Author.TEACHER,)


@torch.no_grad()
def errors(model: Architecture, test: Batch) -> tuple[float, float]:
    """Returns the share of wrong tokens and the mean loss, teacher-forced."""
    logits = model.logits(model(test.tokens, packing=test.packing))[:, :-1]
    learned = test.imitate_weight[:, 1:] > 0
    targets = test.tokens[:, 1:][learned]
    wrong = (logits[learned].argmax(-1) != targets).float().mean()
    return float(wrong), float(torch.nn.functional.cross_entropy(logits[learned], targets))


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--qk-norm", action="store_true")
    parser.add_argument("--architecture", default="transformer")
    parser.add_argument("--threads", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    task = task_named("recurrence")
    tokenizer = Tokenizer.of_symbols(task.symbols)
    chat = PlainFormat(tokenizer)
    model = build_model(settings.architecture, TransformerSettings(qk_norm=settings.qk_norm), len(tokenizer), 0)
    optimizer = OptimizerSettings(learning_rate=settings.rate, warmup_steps=50, decay_ratio=0.3)
    learner = Learner(model, LearnerSettings(optimizer=optimizer))
    lessons = Lessons(task, chat, LessonSettings(skill_share=1.0), 0)
    held_in = Lessons(task, chat, LessonSettings(tokens_per_step=8000, grow_share=0.0, skill_share=1.0), 99)
    test = Batch.pack(imitation_examples(held_in.at(1, 1), TEACHER))
    began = time.perf_counter()
    for update in range(1, settings.updates + 1):
        batch = Batch.pack(imitation_examples(lessons.at(update, settings.updates), TEACHER))
        learner.step(batch, optimizer.rate_at(update, (update - 1) / settings.updates))
        if update % 200 == 0:
            wrong, loss = errors(model, test)
            seconds = time.perf_counter() - began
            print(f"{update} updates: {wrong:.4f} of tokens wrong, loss {loss:.4f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
