"""A tiny checkpoint with a real tokenizer and a chat template, as somebody might have trained it."""

import json

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from poziomka.app.cli.main import main
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.config import TransformerSettings
from poziomka.models.text.tokenizer import Tokenizer

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The folder of a tiny model that reads bytes."""
    special = ["<|end|>", "<|start|>"]
    inner = tokenizers.Tokenizer(
        models.BPE({t: i for i, t in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}, [])
    )
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(special)
    folder = tmp_path_factory.mktemp("checkpoint")
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "chat_template": TEMPLATE}))
    tokenizer = Tokenizer.load(folder)
    shape = TransformerSettings(width=32, heads=4, key_heads=2, layers=2, qk_norm=False)
    save_model(folder, build_model("transformer", shape, len(tokenizer), 0), tokenizer)
    return folder


@pytest.fixture
def values(checkpoint):
    """A recipe that ends within seconds."""
    return {
        "task": "small_sums",
        "threads": 1,
        "save_every": 2,
        "model": {"load": str(checkpoint), "precision": "bfloat16", "thinks": True},
        "stage": [
            {
                "kind": "sft",
                "steps": 2,
                "demonstrations": {"tokens_per_step": 300},
                "layout": "shared",
                "optimizer": {"learning_rate": 1e-3},
            },
            {
                "kind": "rl",
                "require": {"thinking_gain": -1.0, "problems": 10},
                "steps": 3,
                "prompts_per_step": 2,
                "group_size": 4,
                "max_tokens": 12,
                "max_thinking_tokens": 8,
                "layout": "shared",
                "optimizer": {"learning_rate": 1e-3},
            },
        ],
        "evaluate": {
            "budgets": [2, 8],
            "problems": 10,
            "attempts": 1,
            "votes": [1, 2],
            "vote_problems": 10,
            "every": 2,
            "curve_problems": 10,
            "curve_attempts": 1,
        },
    }


@pytest.fixture
def poziomka(capsys):
    """Runs `poziomka …` in this process; returns exit status, standard output, standard error."""

    def poziomka(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return poziomka
