"""Seconds of a reinforcement step in TRL's `GRPOTrainer`, on the recurrence: the peer's side of `compare_trl.py`.

Runs in the environment of `trl-requirements.lock`, never in the project's own. Its last line is one JSON object.

The work of a step: 32 problems × 8 attempts, at most 66 new tokens at temperature 1, one AdamW update, fp32.
The defaults are the fastest settings found; each alternative is an option, and README.md has its figure.
"""

import argparse
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

from grpo_work import make_clock

MODULUS = 32
LONGEST = 30
SPECIALS = ["<pad>", "<bos>", "<eos>", "<think>", "</think>"]


def read_arguments():
    """Parse the command line; `compare_trl.py` passes the options of the first group to both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    both = parser.add_argument_group("options that both sides of the comparison take")
    both.add_argument("--steps", type=int, default=6, help="steps that count; one more before them warms up")
    both.add_argument(
        "--model", type=Path, help="checkpoint folder in Hugging Face layout (without it: random weights)"
    )
    both.add_argument("--reward", choices=["check", "coin"], default="check", help="coin: a fair coin for each reply")
    both.add_argument("--seed", type=int, default=1)
    both.add_argument("--threads", type=int, default=2)
    both.add_argument("--learning-rate", type=float, default=3e-4, help="0: all the work, and weights that stay")
    work = parser.add_argument_group("the work")
    work.add_argument("--problems", type=int, default=32)
    work.add_argument("--attempts", type=int, default=8)
    work.add_argument("--max-new-tokens", type=int, default=66)
    work.add_argument("--counter", default="k{}", help="how the tokenizer spells a counter (default k{})")
    trl = parser.add_argument_group("settings of TRL")
    trl.add_argument("--loss", default="cispo", help="TRL's loss_type")
    trl.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast, TRL's own default")
    trl.add_argument("--micro-batch", type=int, default=64, help="sequences in one forward and backward pass")
    trl.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    trl.add_argument("--cache", choices=["dynamic", "static"], default="dynamic")
    trl.add_argument("--continuous", action="store_true", help="transformers' continuous batching")
    trl.add_argument("--checkpointing", action="store_true", help="gradient checkpointing, TRL's own default")
    trl.add_argument("--compile", action="store_true", help="torch.compile of the training pass")
    trl.add_argument("--write-random", type=Path, metavar="FOLDER", help="only write the random checkpoint there")
    return parser.parse_args()


def recurrence(a, b, k):
    """Return the k-th number after a, b, each the sum of the last two modulo 32."""
    for _ in range(k):
        a, b = b, (a + b) % MODULUS
    return b


def draw_problems(count, seed):
    """Draw (a, b, k): a and b uniform on 0..31, k log-uniform on 2..30."""
    draw = random.Random(seed)
    low, high = math.log(2), math.log(LONGEST + 1)
    return [
        (draw.randrange(MODULUS), draw.randrange(MODULUS), min(LONGEST, int(math.exp(draw.uniform(low, high)))))
        for _ in range(count)
    ]


def random_tokenizer(counter):
    """Make the word-level tokenizer of the recurrence: 5 special tokens, 0..31 and counters 0..31, 69 in all."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = SPECIALS + [str(n) for n in range(MODULUS)] + [counter.format(n) for n in range(LONGEST + 2)]
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(SPECIALS)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def random_model(tokenizer, seed, attention):
    """Make the recipe's model (Llama with QK-norm, which is Qwen3) with fresh weights: 0.6M parameters."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    shape = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        rms_norm_eps=1e-5,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        attn_implementation=attention,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(shape)


def load(options):
    """Return (model, tokenizer) in fp32, from the checkpoint folder or with random weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if options.model is None:
        tokenizer = random_tokenizer(options.counter)
        return random_model(tokenizer, options.seed, options.attention), tokenizer
    if not (options.model / "config.json").is_file():
        sys.exit(f"no checkpoint in {options.model}: config.json is missing")
    tokenizer = AutoTokenizer.from_pretrained(options.model, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.float32, attn_implementation=options.attention, trust_remote_code=False
    )
    return model, tokenizer


def prompt_of(problem, tokenizer, counter):
    """Write the prompt of a problem, and make sure that the tokenizer reads it as five known tokens."""
    a, b, k = problem
    words = ["<bos>", str(a), str(b), counter.format(k), "<think>"]
    text = " ".join(words)
    if tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == ["<bos>", *words]:
        text = " ".join(words[1:])  # the tokenizer adds <bos> by itself
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    if tokens != words:
        sys.exit(f"the tokenizer reads the prompt {text!r} as {tokens}, not as {words}")
    return text


class Check:
    """The reward: 1 where `</think>` is followed by the right number and `<eos>`; it also counts what was sampled."""

    __name__ = "recurrence"

    def __init__(self, tokenizer, options):
        self.tokenizer, self.options, self.coin = tokenizer, options, random.Random(options.seed)
        self.tokens, self.longest, self.means, self.varied = [], [], [], []

    def __call__(self, completion_ids, value, **_):
        """Score the replies of one step."""
        if self.options.reward == "coin":
            rewards = [float(self.coin.random() < 0.5) for _ in completion_ids]
        else:
            rewards = [self.score(ids, right) for ids, right in zip(completion_ids, value, strict=True)]
        lengths = [len(ids) for ids in completion_ids]
        size = self.options.attempts
        groups = [rewards[first : first + size] for first in range(0, len(rewards), size)]
        self.tokens.append(sum(lengths))
        self.longest.append(max(lengths))
        self.means.append(statistics.fmean(rewards))
        self.varied.append(statistics.fmean(min(group) < max(group) for group in groups))
        return rewards

    def score(self, ids, right):
        """Score one reply."""
        tokens = self.tokenizer.convert_ids_to_tokens(ids)
        if "</think>" not in tokens:
            return 0.0
        return float(tokens[tokens.index("</think>") + 1 :] == [str(right), "<eos>"])


def settings(options, folder):
    """Make TRL's configuration: our work, and nothing beside it (no reports, evaluation or saving)."""
    from trl import GRPOConfig

    batch = options.problems * options.attempts
    silence = {"save_strategy": "no", "eval_strategy": "no", "logging_strategy": "no", "report_to": "none"}
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_completion_length": options.max_new_tokens}
    loss = {"loss_type": options.loss, "epsilon_high": 5.0 if options.loss == "cispo" else 0.2, "beta": 0.0}
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
        num_iterations=1,
        scale_rewards="batch",
        bf16=options.precision == "bf16",
        gradient_checkpointing=options.checkpointing,
        torch_compile=options.compile,
        use_transformers_continuous_batching=options.continuous,
        cache_implementation="static" if options.cache == "static" else None,
        **(silence | sampling | loss | optimizer),
    )


def train(options, folder):
    """Train for the asked number of steps; return the clock's readings and the reward's counts."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    model, tokenizer = load(options)
    tokenizer.padding_side = "left"
    problems = draw_problems(options.problems * (options.steps + 1), options.seed)
    rows = [{"prompt": prompt_of(p, tokenizer, options.counter), "value": recurrence(*p)} for p in problems]
    check, clock = Check(tokenizer, options), make_clock()
    trainer = GRPOTrainer(
        model=model,
        args=settings(options, folder),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        reward_funcs=check,
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return model, check, clock


def describe(options, model, check, clock):
    """Make the JSON object that is printed."""
    import torch
    import transformers
    import trl

    seconds = [after - before for before, after in itertools.pairwise(clock.readings)][1:]
    tokens = check.tokens[1:]
    return {
        "seconds": seconds,
        "median": statistics.median(seconds),
        "tokens_per_step": statistics.fmean(tokens),
        "rollouts_per_second": options.problems * options.attempts / statistics.median(seconds),
        "threads": torch.get_num_threads(),
        "tokens": tokens,
        "longest": check.longest[1:],
        "reward": check.means[1:],
        "groups_with_variance": check.varied[1:],
        "parameters": sum(p.numel() for p in model.parameters()),
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
        "versions": {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__},
    }


def main():
    """Run, and print one JSON object on the last line."""
    options = read_arguments()
    if options.steps < 1:
        sys.exit("--steps must be at least 1")
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(options.threads)
    if options.write_random:
        for part in load(options):
            part.save_pretrained(options.write_random)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(describe(options, *train(options, folder))))


if __name__ == "__main__":
    main()
