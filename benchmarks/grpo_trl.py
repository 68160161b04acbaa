"""Seconds of a GRPO step in TRL on SmolLM2-135M, reasoning-gym's chain_sum: the peer of grpo_ours.py. JSON.

Runs in the peers' environment. The work of a step: 8 prompts × 8 completions of at most `--tokens` new tokens at
temperature 1, no divergence term, one AdamW update at rate 2e-5. Weights are bf16 where the processor
multiplies it, else fp32, whichever TRL is faster with; `--precision` says otherwise.
"""

import json
import random
import re
import resource
import statistics
import tempfile

import peer_model
from decode_work import dtype_here
from grpo_work import PROMPTS, make_clock, parser_of


def read_arguments():
    """Parses the command line."""
    parser = parser_of(__doc__)
    faster = "bf16" if dtype_here() == "bfloat16" else "fp32"
    parser.add_argument("--precision", choices=["bf16", "autocast", "fp32"], default=faster)
    parser.add_argument("--micro-batch", type=int, default=16, help="sequences in one forward and backward pass")
    parser.add_argument("--checkpointing", action="store_true", help="TRL's own default")
    return parser.parse_args()


class Check:
    """The reward: 1 where the reply's last number is the answer; it also counts what was sampled."""

    __name__ = "chain_sum"

    def __init__(self, options):
        self.options, self.coin = options, random.Random(options.seed)
        self.tokens, self.means, self.varied = [], [], []

    def __call__(self, completions, completion_ids, answer, **_):
        """Scores the replies of one step."""
        texts = [each if isinstance(each, str) else each[-1]["content"] for each in completions]
        rewards = [right(text, wanted) for text, wanted in zip(texts, answer, strict=True)]
        if self.options.reward == "coin":
            rewards = [float(self.coin.random() < 0.5) for _ in texts]
        if self.options.reward == "alternate":
            rewards = [float(number % 2) for number in range(len(texts))]
        size = self.options.attempts
        groups = [rewards[first : first + size] for first in range(0, len(rewards), size)]
        self.tokens.append(sum(map(len, completion_ids)))
        self.means.append(statistics.fmean(rewards))
        self.varied.append(statistics.fmean(min(group) < max(group) for group in groups))
        return rewards


def right(text, wanted):
    """Returns 1.0 where the last number of a reply is the answer."""
    numbers = re.findall(r"-?\d+", text.replace(",", ""))
    return float(bool(numbers) and int(numbers[-1]) == int(wanted))


def settings(options, folder):
    """Makes TRL's configuration: our work, and nothing beside it (no reports, evaluation or saving)."""
    from trl import GRPOConfig

    batch = options.problems * options.attempts
    silence = {"save_strategy": "no", "eval_strategy": "no", "logging_strategy": "no", "report_to": "none"}
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_completion_length": options.tokens}
    loss = {"loss_type": "cispo", "epsilon_high": 5.0, "beta": 0.0, "scale_rewards": "batch", "num_iterations": 1}
    optimizer = {"learning_rate": options.learning_rate, "lr_scheduler_type": "constant", "max_grad_norm": 1.0}
    return GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        seed=options.seed,
        max_steps=options.steps + 1,
        disable_tqdm=True,
        num_generations=options.attempts,
        per_device_train_batch_size=min(options.micro_batch, batch),
        gradient_accumulation_steps=max(1, batch // options.micro_batch),
        bf16=options.precision == "autocast",
        gradient_checkpointing=options.checkpointing,
        **(silence | sampling | loss | optimizer),
    )


def main():
    """Trains for the asked number of steps and prints the figures."""
    options = read_arguments()
    import torch
    import transformers
    import trl
    from datasets import Dataset
    from trl import GRPOTrainer

    torch.set_num_threads(options.threads)
    model, tokenizer = peer_model.load(dtype="bfloat16" if options.precision == "bf16" else "float32")
    problems = json.loads(PROMPTS.read_text())
    rows = [{"prompt": [{"role": "user", "content": p["question"]}], "answer": p["answer"]} for p in problems]
    read = tokenizer.apply_chat_template(rows[0]["prompt"], add_generation_prompt=True, tokenize=False)
    check, clock = Check(options), make_clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model,
            processing_class=tokenizer,
            reward_funcs=[check],
            args=settings(options, folder),
            train_dataset=Dataset.from_list(rows),
            callbacks=[clock],
        )
        trainer.train()
    seconds = [after - before for before, after in zip(clock.readings, clock.readings[1:], strict=False)]
    figures = {
        "peer": "trl",
        "seconds": seconds[1:],
        "median": statistics.median(seconds[1:]),
        "tokens": check.tokens[1:],
        "rewards": check.means[1:],
        "informative": check.varied[1:],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "prompt": read,
        "prompt_tokens": len(tokenizer(read, add_special_tokens=False)["input_ids"]),
        "settings": vars(options) | {"trl": trl.__version__, "transformers": transformers.__version__},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
