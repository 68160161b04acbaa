"""A conversation in the terminal: streamed, the thought apart, and kept as far as it came when it is broken off."""

import io
import json
import math
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from poziomka.app.build import build
from poziomka.app.cli.chat.talk import Screen, Talk, interruptions, open_sampler
from poziomka.app.settings.recipe import recipe_of
from poziomka.core.errors import SamplerError
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import plain
from poziomka.core.transcript import Author, Message, Stop, Transcript
from poziomka.inference.spans import thought_in
from poziomka.models.checkpoints.weights import build_model, save_model
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs.run import Run

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)

OPENING = [Message("system", "Be brief.")]


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
    (source / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer = Tokenizer.load(source)
    settings = TransformerSettings(width=32, layers=1, heads=2)
    save_model(folder, build_model("transformer", settings, len(tokenizer), 0), tokenizer)
    return folder


@pytest.fixture
def screen():
    return Screen(colour=False, out=io.StringIO(), beside=io.StringIO())


@pytest.fixture
def talk(folder):
    return Talk(
        open_sampler(str(folder), "float32", think=None)[0], SamplingParams(max_tokens=12, temperature=1.0), seed=1
    )


def show(screen, *texts, thinking=False):
    screen.begin(thinking=thinking)
    for text in texts:
        screen.add(text)
    screen.end()
    return screen.out.getvalue()


# ------------------------------------------------------------------------------------------------------- the screen
@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (("Hello", " there"), "Hello there\n"),
        (("<think>hm</think>\n\n7",), "[thought]\nhm\n[/thought]\n\n7\n"),
        (("<th", "ink>", "hm", "</", "think", ">", "7"), "[thought]\nhm\n[/thought]\n\n7\n"),
        (("a <b> c <",), "a <b> c <\n"),
        (("<think>", "</think>", "7"), "7\n"),
        (("<think>", "hm"), "[thought]\nhm\n[/thought]\n\n"),
        ((), ""),
    ],
)
def test_a_thought_is_shown_apart_and_its_marks_are_not(screen, texts, shown):
    assert show(screen, *texts) == shown


def test_a_thought_that_the_template_opened_is_one_from_the_start(screen):
    assert show(screen, "hm</think>7", thinking=True) == "[thought]\nhm\n[/thought]\n\n7\n"


def test_what_is_certain_is_shown_at_once(screen):
    screen.begin(thinking=False)
    screen.add("Hello <")
    assert screen.out.getvalue() == "Hello "
    screen.add("b")
    assert screen.out.getvalue() == "Hello <b"


def test_a_thought_is_dim_where_there_is_colour():
    screen = Screen(colour=True, out=io.StringIO())
    assert show(screen, "hm</think>7", thinking=True) == "\x1b[2mhm\x1b[0m\n\n7\n"


# --------------------------------------------------------------------------------------------------- the conversation
def test_a_conversation_only_grows(talk, screen):
    talk.ask("one", screen)
    first = talk.transcript.tokens
    talk.ask("two", screen)
    assert talk.transcript.tokens[: len(first)] == first
    assert [span.text for span in talk.transcript if span.author is Author.USER] == ["one", "two"]


def test_a_turn_reads_only_what_is_new(talk, screen):
    talk.ask("a rather long question to begin with", screen)
    before = talk.sampler.engine.counters.read
    talk.ask("hm", screen)
    assert talk.sampler.engine.counters.read - before < 40


def test_a_new_conversation_knows_nothing_of_the_old(talk, screen):
    talk.ask("one", screen)
    talk.begin()
    talk.ask("two", screen)
    assert [span.text for span in talk.transcript if span.author is Author.USER] == ["two"]


def test_what_is_shown_is_what_was_written(talk, screen):
    line = talk.ask("one", screen)
    (reply,) = [span for span in talk.transcript if span.author is Author.MODEL]
    assert screen.out.getvalue().strip() == reply.text.strip()
    assert line.startswith(f"{len(reply)} tokens")
    assert ("cut there: --tokens N" in line) is (reply.stop is Stop.LENGTH)


def test_a_seed_repeats_a_conversation(folder, screen):
    def replies(seed):
        talk = Talk(open_sampler(str(folder), "float32", think=None)[0], SamplingParams(max_tokens=8), seed=seed)
        talk.ask("one", screen)
        talk.ask("two", screen)
        return list(talk.transcript.tokens)

    assert replies(1) == replies(1) != replies(2)


def test_a_system_message_comes_first(folder, screen):
    talk = Talk(open_sampler(str(folder), "float32", think=None)[0], SamplingParams(max_tokens=2), OPENING, 1)
    talk.ask("one", screen)
    talk.begin()
    talk.ask("two", screen)
    words = [span.text for span in talk.transcript if span.author in (Author.SYSTEM, Author.USER)]
    assert words == ["Be brief.", "two"]


def test_a_reply_that_is_broken_off_is_kept_and_gone_on_from(talk, screen, monkeypatch):
    add = screen.add

    def stop_then(text):
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(screen, "add", add)
        add(text)

    monkeypatch.setattr(screen, "add", stop_then)
    assert talk.ask("one", screen).endswith("stopped")
    assert talk.transcript.cost < 12
    assert talk.transcript.stop is Stop.LENGTH
    talk.ask("two", screen)
    assert [span.text for span in talk.transcript if span.author is Author.USER] == ["one", "two"]


def test_who_asks_twice_to_stop_is_heard_at_once():
    def interrupted_twice():
        with interruptions():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    began_with = signal.getsignal(signal.SIGINT)  # a process in the background may be started to ignore it
    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert signal.getsignal(signal.SIGINT) is began_with


def test_a_full_context_is_told_in_a_sentence(talk, screen):
    with pytest.raises(SamplerError, match="fills the context of 4096 tokens: /new begins anew"):
        talk.ask("x" * 4200, screen)
    assert len(talk.transcript.spans) == 0


def test_a_thought_can_be_asked_for(folder, screen, tmp_path):
    thinking = shutil.copytree(folder, tmp_path / "thinking")
    (thinking / "chat_template.jinja").write_text(TEMPLATE + "{# replies begin with <think> #}")
    sampler, _ = open_sampler(str(thinking), "float32", think=True)
    talk = Talk(sampler, SamplingParams(max_tokens=9, max_thinking_tokens=3), seed=1)
    assert "3 of them thought" in talk.ask("one", screen)
    assert screen.out.getvalue().startswith("[thought]\n")


@pytest.mark.fault("C4")
def test_a_model_without_marks_of_a_thought_answers_without_one_and_a_notice_says_so(folder, screen):
    sampler, notes = open_sampler(str(folder), "float32", think=True)
    assert any("--think is left out" in note for note in notes)
    talk = Talk(sampler, SamplingParams(max_tokens=9, max_thinking_tokens=3), seed=1)
    assert "thought" not in talk.ask("one", screen)
    assert "[thought]" not in screen.out.getvalue()
    assert sampler.chat.read(talk.transcript).reply


@pytest.fixture
def run_of(folder, tmp_path):
    """Returns the folder of a run that saved a checkpoint, whose model may have marks of a thought."""

    def run_of(*, marks, thinks):
        model = shutil.copytree(folder, tmp_path / "model")
        if marks:
            (model / "chat_template.jinja").write_text(TEMPLATE + "{# replies begin with <think> #}")
        recipe = recipe_of({"task": "small_sums", "model": {"load": str(model), "thinks": thinks}})
        with Run.open(tmp_path / "run", plain(recipe)) as run:
            built = build(recipe)
            run.save(1, lambda part: save_model(part, built.model, built.tokenizer), {})
        return run.folder

    return run_of


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    ("thinks", "marks", "think", "opens"),
    [
        (True, False, None, True),
        (True, False, True, True),
        (True, False, False, False),
        (False, True, None, False),
        (False, True, True, True),
        (False, True, False, False),
    ],
)
def test_the_model_of_a_run_thinks_as_it_is_asked_to(run_of, thinks, marks, think, opens):
    sampler, notes = open_sampler(str(run_of(marks=marks, thinks=thinks)), None, think=think)
    prompt = sampler.chat.read(Transcript.of([Message("user", "Hi")]))
    assert thought_in(prompt, sampler.chat.tokenizer)[1] is opens
    assert not [note for note in notes if "think" in note]


@pytest.mark.fault("C4")
def test_what_is_left_out_for_a_run_is_said(run_of):
    sampler, notes = open_sampler(str(run_of(marks=False, thinks=False)), "float32", think=True)
    assert not sampler.chat.opens_thought
    assert [note.partition(" is left out")[0].rpartition(" ")[2] for note in notes] == ["--think", "--dtype"]


@pytest.mark.fault("C4")
@pytest.mark.parametrize("option", ["--think", "--no-think"])
def test_a_run_from_nothing_thinks_or_answers_at_once(reference, option):
    done = run(reference, "--temperature", "3", option, said="30 20 k3\n")
    assert done.returncode == 0, done.stderr
    assert ("thought" in done.stderr) is (option == "--think")


@pytest.mark.fault("C4")
def test_a_budget_for_no_thought_is_refused(folder):
    done = run(folder, "--no-think", "--budget", "7")
    assert done.returncode == 2
    assert "--budget 7" in done.stderr


# -------------------------------------------------------------------------------------------------- the command line
def run(folder, *options, said=""):
    command = [sys.executable, "-m", "poziomka", "chat", str(folder), "--tokens", "6", "--seed", "1", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, input=said, capture_output=True, text=True, check=False, env=environment)


def test_a_pipe_gets_replies_and_nothing_else(folder):
    done = run(folder, said="one\n\n/new\ntwo\n/quit\nthree\n")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert done.stderr.count(" tokens") == 2
    assert "you ›" not in done.stdout


@pytest.mark.fault("C10")
def test_one_question_of_the_command_line_is_answered_and_that_is_all(folder):
    done = run(folder, "hello?", said="not read\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(" tokens") == 1
    assert done.stdout == run(folder, said="hello?\n").stdout


@pytest.mark.fault("B11")
@pytest.mark.parametrize(
    "given", [{"said": b"one\n\xff\xfe?\n"}, {"options": (b"\xff",)}, {"options": ("--system", b"\xff")}]
)
def test_words_that_are_no_utf8_are_refused_in_a_sentence(folder, given):
    options = [os.fsdecode(option) for option in given.get("options", ())]
    command = [sys.executable, "-m", "poziomka", "chat", str(folder), "--tokens", "3", *options]
    done = subprocess.run(command, input=given.get("said", b""), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"is no UTF-8 text" in done.stderr
    assert (b"line 2 of standard input" in done.stderr) == ("said" in given)


def test_a_model_that_is_not_there_is_told_in_a_sentence(tmp_path):
    done = run(tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("poziomka: there is no model")


def test_a_runs_newest_weights_answer_each_question_by_itself(reference):
    done = run(reference, "--temperature", "0", said="30 20 k3\n30 20 k3\n")
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.splitlines()
    assert first.partition(" · ")[0] == second.partition(" · ")[0]


def test_a_symbol_that_a_run_does_not_know_is_told_in_a_sentence(reference):
    done = run(reference, said="hello\n")
    assert done.returncode == 2
    assert "cannot write 'hello' in this vocabulary" in done.stderr


@pytest.mark.fault("C10")
@pytest.mark.fault("A15")
def test_a_person_sees_a_conversation(folder):
    """In a real pseudo-terminal: a question, Ctrl-C at the prompt, commands, bytes that are no text, Ctrl-D."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # workers of xdist ignore it, and a program inherits that
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "poziomka", "chat", str(folder), "--tokens", "6"])
    opening = _prompted(terminal)
    os.write(terminal, b"hello\n")
    reply = _prompted(terminal, "tok/s")
    # Python's readline misses a signal that comes just before it waits: a person presses again
    _prompted(terminal, "/quit or Ctrl-D ends", press=b"\x03")
    os.write(terminal, b"/what\n")
    _prompted(terminal, "unknown command /what")
    os.write(terminal, b"/help\n")
    _prompted(terminal, "/new   begins a new conversation")
    os.write(terminal, b"\xff\n")
    _prompted(terminal, "line 4 of standard input is no UTF-8 text")
    os.write(terminal, b"\x04")
    with pytest.raises(OSError):  # Linux says so when the other side has closed
        _prompted(terminal, "never")
    assert os.waitpid(child, 0)[1] == 0
    assert "Ctrl-C stops a reply" in opening
    assert "\x1b[2m" in reply


def _prompted(terminal, text="", press=b""):
    """Reads from a terminal until a text and, after it, the prompt have come; a key is pressed every 5 s until then."""
    read, seen, pressed = b"", "", -math.inf
    while text not in seen or "you › " not in seen[seen.index(text) :]:
        if press and time.monotonic() - pressed > 5:
            os.write(terminal, press)
            pressed = time.monotonic()
        if select.select([terminal], [], [], 0.1)[0]:
            read += os.read(terminal, 4096)
            seen = read.decode(errors="replace")
    return seen
