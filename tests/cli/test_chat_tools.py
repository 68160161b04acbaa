"""Tools in a conversation in the terminal: a call, what the tool said, and the reply that goes on."""

import io
import json
import os
import subprocess
import sys
from collections import deque

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from poziomka.app.cli.chat.talk import Screen, Talk, open_sampler
from poziomka.app.tool_formats import calls_of
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript, compact
from poziomka.environments.sandbox.monty import Monty
from poziomka.environments.tools.registry import tool_named
from poziomka.environments.tools.tool import python_tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.inference.local import LocalSampler
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.template import TemplateFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings

pytestmark = pytest.mark.slow

SILENT = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
TELLING = "{% if tools %}<tool_call> {{ tools | tojson }}{% endif %}" + SILENT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of random weights that speaks in bytes."""
    source, folder = tmp_path_factory.mktemp("tokenizer"), tmp_path_factory.mktemp("checkpoint")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({sign: number for number, sign in enumerate(alphabet)}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(["<s>", "</s>"])
    inner.save(str(source / "tokenizer.json"))
    (source / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (source / "chat_template.jinja").write_text(SILENT)
    tokenizer = Tokenizer.load(source)
    save_model(
        folder,
        build_model("transformer", TransformerSettings(width=32, layers=1, heads=2), len(tokenizer), 0),
        tokenizer,
    )
    return folder


class Dictated(LocalSampler):
    """A real sampler whose words are dictated: it reads, counts and stops as ever, and lets itself be heard."""

    def dictate(self, *replies):
        self.replies = deque(replies)
        return self

    async def stream(self, transcript, sampling, hear):
        transcript = self.read(transcript)
        words, tokenizer = self.replies.popleft(), self.chat.tokenizer
        waits = any(words.endswith(stop) for stop in sampling.stop)
        tokens = [*tokenizer.encode(words), *([] if waits else [tokenizer.end])]
        for token in tokens:
            hear(Author.MODEL, token)
        stop = Stop.PHRASE if waits else Stop.END
        return transcript + Span(Author.MODEL, words, compact(tokens), stop=stop, policy="dictated")


@pytest.fixture(scope="module")
def toolbox():
    toolbox = Toolbox([python_tool(Monty(workers=2))])
    yield toolbox
    toolbox.close()


@pytest.fixture
def screen():
    return Screen(colour=False, out=io.StringIO(), beside=io.StringIO())


def talk_of(folder, toolbox, *replies):
    loaded = open_sampler(str(folder), "float32", think=None)[0]
    sampler = Dictated(loaded.engine.model, loaded.chat).dictate(*replies)
    return Talk(sampler, SamplingParams(max_tokens=400), seed=1, toolbox=toolbox)


def test_a_call_its_output_and_the_reply_are_shown(folder, toolbox, screen):
    talk = talk_of(folder, toolbox, "Let me see: <tool> 487 * 39 </tool>", " It is 18993.")
    line = talk.ask("What is 487 * 39?", screen)
    talk.close()
    assert screen.out.getvalue() == (
        "Let me see: <tool> 487 * 39 </tool>\n  [tool] <result> 18993 </result>\nIt is 18993.\n"
    )
    assert " · 1 call · " in line


def test_a_thought_goes_on_as_a_thought(folder, toolbox, screen):
    talk = talk_of(folder, toolbox, "<think>hm <tool> 6 * 7 </tool>", " so it is</think>42")
    talk.ask("What is 6 * 7?", screen)
    talk.close()
    assert screen.out.getvalue() == (
        "[thought]\nhm <tool> 6 * 7 </tool>\n[/thought]\n  [tool] <result> 42 </result>\n"
        "[thought]\nso it is\n[/thought]\n\n42\n"
    )


def test_where_there_is_colour_a_tool_speaks_in_yellow(folder, toolbox):
    screen = Screen(colour=True, out=io.StringIO())
    talk = talk_of(folder, toolbox, "<tool> print('a\\n' + chr(27)) </tool>", " so")
    talk.ask("?", screen)
    talk.close()
    assert screen.out.getvalue() == (
        "<tool> print('a\\n' + chr(27)) </tool>\n\x1b[33m  ▸ <result> a\x1b[0m\n\x1b[33m  ▸ ␛ </result>\x1b[0m\nso\n"
    )


def test_variables_are_kept_until_the_conversation_begins_anew(folder, toolbox, screen):
    asks = "<tool> x </tool>"
    talk = talk_of(folder, toolbox, "<tool> x = 5 </tool>", " ok", asks, " ok", asks, " ok")
    talk.ask("one", screen)
    talk.ask("two", screen)
    talk.begin()
    talk.ask("three", screen)
    talk.close()
    told = [line for line in screen.out.getvalue().splitlines() if "[tool]" in line]
    assert told[1] == "  [tool] <result> 5 </result>"
    assert "NameError" in told[2]


def test_the_tools_words_stay_in_the_transcript_as_theirs(folder, toolbox, screen):
    talk = talk_of(folder, toolbox, "<tool> 6 * 7 </tool>", " 42")
    talk.ask("one", screen)
    talk.close()
    said = [span.text for span in talk.transcript if span.author is Author.ENVIRONMENT]
    assert said == [" <result> 42 </result>"]


# ------------------------------------------------------------------------------------------- how this model calls tools
def chat_of(folder, template):
    return TemplateFormat(Tokenizer.load(folder), template)


def test_a_template_that_tells_of_tools_is_followed(folder):
    assert calls_of(chat_of(folder, TELLING), [tool_named("calculator")]) == "hermes"


def test_a_model_without_tools_is_told_in_words_and_by_examples(folder):
    assert calls_of(chat_of(folder, SILENT), [tool_named("calculator")]) is None
    toolbox = Toolbox([tool_named("calculator")])
    assert "<tool> expression </tool>" in toolbox.prompt()
    assert toolbox.examples() == [
        Message("user", "What is 12 * 13?"),
        Message("assistant", "<tool> 12 * 13 </tool> <result> 156 </result> 12 * 13 is 156."),
    ]


def test_the_format_can_be_named(folder):
    toolbox = Toolbox([tool_named("python")], "fenced")
    assert not chat_of(folder, TELLING).describes(toolbox.described)
    assert toolbox.examples()[1].content == "```python\n12 * 13\n```\n```output\n156\n```\n 12 * 13 is 156."


def test_results_that_are_messages_are_messages_in_examples(folder):
    toolbox = Toolbox([tool_named("calculator")], "gemma")
    assert [message.role for message in toolbox.examples()] == ["user", "assistant", "tool", "assistant"]


def test_a_vocabulary_of_symbols_is_spelled_and_told_nothing():
    chat = PlainFormat(Tokenizer.of_symbols(["1", "2"]))
    assert calls_of(chat, [tool_named("calculator")]) == "spelled"
    toolbox = Toolbox([tool_named("calculator")], "spelled")
    asked = Transcript.of([Message("user", "1 2")], toolbox.described)
    assert chat.read(asked).tokens == chat.read(Transcript.of([Message("user", "1 2")])).tokens


def test_the_examples_stand_before_every_conversation(folder, toolbox, screen):
    talk = talk_of(folder, toolbox, "one", "two")
    talk.opening = [Message("system", "Be brief.")]
    talk.begin()
    talk.ask("three", screen)
    talk.close()
    assert [span.text for span in talk.transcript if span.author in (Author.SYSTEM, Author.USER)] == [
        f"{toolbox.prompt()}\n\nBe brief.",
        *(example.question for example in toolbox.tools["python"].examples),
        "three",
    ]


# ----------------------------------------------------------------------------------------------------- the command line
def run(folder, *options, said="one\n"):
    command = [sys.executable, "-m", "poziomka", "chat", str(folder), "--tokens", "6", "--seed", "1", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, input=said, capture_output=True, text=True, check=False, env=environment)


def test_a_pipe_gets_replies_with_tools_too(folder):
    done = run(folder, "--tools", "python")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(" tokens") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tools", "pyhton"), "unknown tool 'pyhton'; did you mean 'python'?"),
        (("--tools", "search:/nowhere"), "there is no folder to search in at '/nowhere'"),
        (("--tools", "python", "--calls", "hermse"), "did you mean 'hermes'"),
        (("--calls", "plain"), "name some with --tools"),
    ],
)
def test_a_tool_that_cannot_be_had_is_told_in_a_sentence(options, said, folder):
    done = run(folder, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
