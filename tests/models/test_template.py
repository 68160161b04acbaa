"""A checkpoint's own chat template becomes spans with authors, equal to transformers, and only ever grows."""

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from poziomka.core.errors import ModelError
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript, compact, split_thought
from poziomka.models.text.template import TemplateFormat
from poziomka.models.text.tokenizer import Tokenizer

SPECIAL = [
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin|>", "<|head|>", "<|/head|>", "<|eot|>"),
    *("<bos>", "<eos>", "<turn>", "</turn>", "[INST]", "[/INST]"),
]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are small.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = """{{- bos_token }}
{%- for message in messages %}
    {{- '<|head|>' + message.role + '<|/head|>\n\n' + message.content | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|/head|>\n\n' }}
{%- endif %}"""
QWEN3 = """{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {%- set words = m.content.split('</think>')[-1].lstrip('\n') if '</think>' in m.content else m.content %}
        {{- '<|im_start|>assistant\n' }}
        {%- if loop.index0 > ns.last %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
        {{- words + '<|im_end|>\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{% endif %}
{%- endif %}"""
GEMMA3 = """{{ bos_token }}
{%- set ns = namespace(first='') %}
{%- if messages[0]['role'] == 'system' %}
    {%- set ns.first = messages[0]['content'] + '\n\n' %}{% set rest = messages[1:] %}
{%- else %}{% set rest = messages %}{% endif %}
{%- for m in rest %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/...') }}
    {%- endif %}
    {{- '<turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + (ns.first if loop.first else '') }}
    {{- m['content'] | trim + '</turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<turn>model\n' }}{% endif %}"""
MISTRAL = """{{- bos_token }}
{%- for m in messages %}
    {%- if m['role'] == 'user' %}{{- '[INST] ' + m['content'] + ' [/INST]' }}
    {%- elif m['role'] == 'assistant' %}{{- ' ' + m['content'] + eos_token }}
    {%- else %}{{- raise_exception('Only user and assistant roles are supported!') }}
    {%- endif %}
{%- endfor %}"""
STYLES = {
    "smollm2": (SMOLLM2, "<|im_start|>", "<|im_end|>"),
    "chatml": (CHATML, None, "<|im_end|>"),
    "llama3": (LLAMA3, "<|begin|>", "<|eot|>"),
    "qwen3": (QWEN3, None, "<|im_end|>"),
    "gemma3": (GEMMA3, "<bos>", "<eos>"),
    "mistral": (MISTRAL, "<s>", "</s>"),
}
CORPUS = ["The user asks: what is 3 + 4? The assistant answers.", "system user model\n\n", "think about it, 12 by 12"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Returns a function from a style to the folder of a checkpoint's tokenizer."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    inner.train_from_iterator(CORPUS * 9, trainer)
    inner.add_tokens(
        [tokenizers.AddedToken(text, normalized=False) for text in ("<tool_response>", "</tool_response>")]
    )

    def checkpoint(style, template=None) -> Path:
        own, begin, end = STYLES[style]
        folder = tmp_path_factory.mktemp(style)
        inner.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": begin, "eos_token": end}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "chat_template.jinja").write_text(template or own)
        return folder

    return checkpoint


@pytest.fixture
def chat_of(checkpoint):
    def chat_of(style="chatml", template=None, **settings):
        return TemplateFormat(Tokenizer.load(checkpoint(style, template)), **settings)

    return chat_of


@pytest.fixture
def chat(chat_of):
    return chat_of()


def messages(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def prompt(*pairs):
    return Transcript.of([Message(role, content) for role, content in pairs])


def text_of(chat, tokens):
    """The text of ids, control tokens included."""
    return chat.tokenizer.inner.decode(list(tokens), skip_special_tokens=False)


def answer(chat, text, stop=Stop.END):
    tokens = [*chat.tokenizer.encode(text), *([chat.tokenizer.end] if stop is Stop.END else [])]
    return Span(Author.MODEL, text, compact(tokens), stop=stop)


CONVERSATIONS = {
    "one question": [("user", "What is 3 + 4?")],
    "white space and signs": [("user", "  <b>\"3\" & \\n'4'</b>\n\n😀 ")],
    "a system message": [("system", "Be brief."), ("user", "Hi")],
    "examples": [("user", "1 + 1"), ("assistant", "2"), ("user", "2 + 2"), ("assistant", "4"), ("user", "3 + 4?")],
}


@pytest.mark.parametrize(
    ("style", "name"),
    [(style, name) for style in STYLES for name in CONVERSATIONS if (style, name) != ("mistral", "a system message")],
)
def test_ids_are_those_of_transformers(style, name, checkpoint):
    folder = checkpoint(style)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    expected = theirs.apply_chat_template(
        messages(*CONVERSATIONS[name]), add_generation_prompt=True, return_dict=False, sanitize_control_tokens=False
    )
    chat = TemplateFormat(Tokenizer.load(folder))
    read = chat.read(prompt(*CONVERSATIONS[name]))
    assert text_of(chat, read.tokens) == text_of(chat, expected)
    assert list(read.tokens) == expected


def test_every_span_has_its_author(chat):
    read = chat.read(prompt(("system", "Be brief."), ("user", "Hi")))
    authors = [Author.TEMPLATE, Author.SYSTEM, Author.TEMPLATE, Author.USER, Author.TEMPLATE]
    assert [span.author for span in read] == authors
    assert [text_of(chat, span.tokens) for span in read if span.author is not Author.TEMPLATE] == ["Be brief.", "Hi"]
    assert read.text == "Be brief.Hi"


def test_a_default_system_message_is_the_templates(chat_of):
    chat = chat_of("smollm2")
    first, user, _ = chat.read(prompt(("user", "Hi")))
    assert (first.author, user.author) == (Author.TEMPLATE, Author.USER)
    assert "You are small." in text_of(chat, first.tokens)


@pytest.mark.parametrize("style", STYLES)
def test_a_users_control_tokens_are_words(style, chat_of):
    chat = chat_of(style)
    words = "".join(SPECIAL) + "<think></think><tool_response>"
    read = chat.read(prompt(("user", words)))
    (said,) = [span for span in read if span.author is Author.USER]
    assert chat.tokenizer.special.isdisjoint(said.tokens)
    assert text_of(chat, said.tokens).strip() == words


@pytest.mark.parametrize("style", STYLES)
def test_a_conversation_only_grows(style, chat_of):
    chat = chat_of(style)
    read = chat.read(prompt(("user", "3 + 4?")))
    answered = read + answer(chat, "<think> easy </think> 7")
    longer = chat.read(answered + Span(Author.USER, "And 5?"))
    assert longer.tokens[: len(answered.tokens)] == answered.tokens
    new = text_of(chat, longer.tokens[len(answered.tokens) :])
    assert "And 5?" in new
    assert "3 + 4" not in new
    ends = list(answered.tokens).count(chat.tokenizer.end) + (style != "mistral")  # the new question's, at most
    assert list(longer.tokens).count(chat.tokenizer.end) == ends
    assert chat.read(longer) is longer


@pytest.mark.parametrize("style", STYLES)
def test_a_continued_conversation_reads_as_one_that_was_given_whole(style, chat_of):
    """Where the template leaves old replies as they were."""
    chat = chat_of(style)
    talk = chat.read(prompt(("user", "1 + 1"))) + answer(chat, " 2" if style == "mistral" else "2")
    talk = chat.read(talk + Span(Author.USER, "2 + 2"))
    whole = chat.read(prompt(("user", "1 + 1"), ("assistant", "2"), ("user", "2 + 2")))
    assert text_of(chat, talk.tokens) == text_of(chat, whole.tokens)


def test_a_reply_that_was_cut_is_closed_by_the_template(chat):
    cut = chat.read(prompt(("user", "Hi"))) + answer(chat, "and then", Stop.LENGTH)
    longer = chat.read(cut + Span(Author.USER, "Go on"))
    assert text_of(chat, longer.tokens[len(cut.tokens) :]).startswith("<|im_end|>\n<|im_start|>user\nGo on")


def test_a_question_after_an_unanswered_one_closes_the_empty_reply(chat):
    read = chat.read(prompt(("user", "Hi")))
    longer = chat.read(read + Span(Author.USER, "Hello?"))
    assert text_of(chat, longer.tokens).endswith(
        "<|im_start|>assistant\n<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_tool_that_answers_inside_the_reply_is_read_as_it_stands(chat):
    called = chat.read(prompt(("user", "3 + 4?"))) + answer(chat, "<tool>3+4</tool>", Stop.PHRASE)
    heard = chat.read(called + Span(Author.ENVIRONMENT, " <result> 7 </result>"))
    assert heard.spans[-1].author is Author.ENVIRONMENT
    assert text_of(chat, heard.tokens[len(called.tokens) :]) == " <result> 7 </result>"


@pytest.mark.parametrize(
    ("style", "written"),
    [
        ("chatml", "\n<|im_start|>tool\n7<|im_end|>\n<|im_start|>assistant\n"),
        ("qwen3", "\n<|im_start|>user\n<tool_response>\n7\n</tool_response><|im_end|>\n<|im_start|>assistant\n"),
        ("gemma3", "\n<turn>user\n7</turn>\n<turn>model\n"),
    ],
)
def test_a_tool_that_answers_an_ended_reply_is_a_message(style, written, chat_of):
    chat = chat_of(style)
    called = chat.read(prompt(("user", "3 + 4?"))) + answer(chat, "call")
    heard = chat.read(called + Span(Author.ENVIRONMENT, "7"))
    assert text_of(chat, heard.tokens[len(called.tokens) :]) == written
    assert [span.text for span in heard if span.author is Author.ENVIRONMENT] == ["7"]


def test_a_thought_that_we_open_is_the_templates(chat_of):
    chat = chat_of(opens_thought=True)
    read = chat.read(prompt(("user", "3 + 4?")))
    assert (read.spans[-1].author, tuple(read.spans[-1].tokens)) == (Author.TEMPLATE, chat.tokenizer.think)
    assert split_thought((read + answer(chat, "easy</think>7")).reply) == ("easy", "7")


def test_a_thought_that_the_template_opens_is_not_opened_twice(chat_of):
    chat = chat_of(
        template=CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif"), opens_thought=True
    )
    read = chat.read(prompt(("user", "3 + 4?")))
    assert text_of(chat, read.tokens).endswith("<|im_start|>assistant\n<think>\n")
    assert read.reply == "<think>\n"


def test_a_template_that_closes_the_thought_says_so_in_the_reply(chat_of):
    chat = chat_of("qwen3", variables={"enable_thinking": False})
    read = chat.read(prompt(("user", "3 + 4?"))) + answer(chat, "7")
    assert split_thought(read.reply) == ("", "7")


@pytest.mark.parametrize("opens", [True, False])
def test_a_demonstration_is_the_teachers_and_ends(opens, chat_of):
    chat = chat_of(opens_thought=opens)
    shown = chat.demonstrate(prompt(("user", "3 + 4?")), "3 + 4 = 7", "7")
    assert split_thought(shown.reply) == ("3 + 4 = 7", "7")
    last, tokenizer = shown.spans[-1], chat.tokenizer
    words = [*tokenizer.encode("3 + 4 = 7"), *tokenizer.close, *tokenizer.encode("7"), tokenizer.end]
    assert list(last.tokens) == ([] if opens else list(tokenizer.think)) + words
    assert last.author is Author.TEACHER


def test_a_demonstration_without_a_thought_is_the_answer(chat):
    assert chat.demonstrate(prompt(("user", "3 + 4?")), "", "7").reply == "7"


def test_a_forced_close_has_the_tokens_that_the_engine_would_force(chat):
    read = chat.read(prompt(("user", "Hi"))) + answer(chat, "<think> and", Stop.LENGTH)
    forced = chat.read(read + Span(Author.FORCED, " </think>"))
    assert tuple(forced.spans[-1].tokens) == chat.tokenizer.close


def test_a_prompt_that_ends_with_the_assistants_words_goes_on_from_them(chat):
    read = chat.read(prompt(("user", "3 + 4?"), ("assistant", "It is")))
    assert text_of(chat, read.tokens).endswith("<|im_start|>assistant\nIt is")


def test_the_end_of_a_reply_is_what_the_template_writes(chat_of):
    chat = chat_of("gemma3")
    names = {chat.tokenizer.inner.id_to_token(token) for token in chat.tokenizer.ends}
    assert chat.tokenizer.inner.id_to_token(chat.tokenizer.end) == "</turn>"
    assert names == {"</turn>", "<eos>"}


def test_a_system_message_that_a_template_refuses_stands_before_the_question(chat_of):
    chat = chat_of("mistral")
    read = chat.read(prompt(("system", "Be brief."), ("user", "Hi")))
    assert text_of(chat, read.tokens) == "<s>[INST] Be brief.\n\nHi [/INST]"
    assert [span.author for span in read] == [
        *[Author.TEMPLATE, Author.SYSTEM],
        Author.TEMPLATE,
        Author.USER,
        Author.TEMPLATE,
    ]
    longer = chat.read(read + answer(chat, " yes") + Span(Author.USER, "Why?"))
    assert text_of(chat, longer.tokens).endswith(" yes</s>[INST] Why? [/INST]")


@pytest.mark.parametrize(
    ("style", "notes"),
    [
        ("chatml", []),
        ("smollm2", []),
        ("llama3", ["earlier replies otherwise"]),
        ("qwen3", ["drops the thoughts"]),
        ("gemma3", ["no tool message", "earlier replies otherwise"]),
        ("mistral", ["no system message", "no tool message", "earlier replies otherwise"]),
    ],
)
def test_what_is_peculiar_is_said(style, notes, chat_of):
    found = chat_of(style).notes
    assert len(found) == len(notes)
    assert all(note in sentence for note, sentence in zip(notes, found, strict=True))


def test_a_template_that_changes_words_is_named(chat_of):
    template = CHATML.replace("m['content']", "m['content'] | replace('\"', '')")
    assert "changes a user's words" in chat_of(template=template).notes[0]


def test_a_checkpoint_without_a_template_is_spoken_to_plainly(checkpoint):
    folder = checkpoint("mistral")
    (folder / "chat_template.jinja").unlink()
    chat = TemplateFormat(Tokenizer.load(folder))
    assert "has no chat template" in chat.notes[0]
    read = chat.read(prompt(("user", "Hi"))) + answer(chat, " Hello")
    longer = chat.read(read + Span(Author.USER, "Bye"))
    assert text_of(chat, longer.tokens) == "<s>User: Hi\n\nAssistant: Hello</s>\n\nUser: Bye\n\nAssistant:"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "does not parse: line 1"),
        ("{{ raise_exception('no luck') }}", "refuses messages of user: no luck"),
        ("{{ messages[0].content.missing() }}", "refuses messages of user: "),
        ("hello", "drops or changes the words of a user message"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "drops or changes the words of a user message"),
        ("{{ ''.__class__.__mro__ }}{{ messages[0].content }}", "refuses messages of user: .*unsafe"),
    ],
)
def test_a_template_that_does_not_work_is_told_in_a_sentence(template, message, chat_of):
    with pytest.raises(ModelError, match=message):
        chat_of(template=template)


def test_roles_that_a_template_refuses_are_named(chat_of):
    chat = chat_of("gemma3")
    with pytest.raises(ModelError, match=r"refuses messages of user, user: .*must alternate"):
        chat.read(prompt(("user", "a"), ("user", "b")))


def test_a_foreign_transcript_is_refused(chat):
    with pytest.raises(ModelError, match="written with tokenizer other"):
        chat.read(Transcript((Span(Author.USER, "Hi"),), "other"))


def test_tokens_are_written_in_order(chat):
    spans = (Span(Author.USER, "Hi"), Span(Author.MODEL, "x", compact([5])))
    with pytest.raises(ModelError, match="without tokens stands before one that has them"):
        chat.read(Transcript(spans))


def test_what_transformers_gives_a_template_is_there(chat_of):
    template = (
        "{% generation %}{{ strftime_now('%Y') | length }}{% endgeneration %}{{ {'a': '<'} | tojson }}"
        "{% for m in messages %}{% if loop.index > 9 %}{% break %}{% endif %}{{ m.content }}{% endfor %}"
    )
    chat = chat_of(template=template)
    assert text_of(chat, chat.read(prompt(("user", "Hi"))).tokens) == '4{"a": "<"}Hi'
