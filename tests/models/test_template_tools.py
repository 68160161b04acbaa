"""Tools in a checkpoint's chat template: described as transformers does, their results messages of their own."""

import asyncio
import json
from dataclasses import replace

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from poziomka.core.environment import opening
from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Message, Span, Stop, Transcript, compact
from poziomka.environments.tools.tool import Example, tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.models.text.template import TemplateFormat
from poziomka.models.text.tokenizer import Tokenizer

# What the templates of Qwen2.5, Llama 3.2 and Mistral Nemo do with tools, in few lines.
QWEN = """{%- set ns = namespace(told='') %}
{%- if tools %}
    {%- set ns.told = '\n\n# Tools\n\n<tools>' %}
    {%- for t in tools %}{% set ns.told = ns.told + '\n' + (t | tojson) %}{% endfor %}
    {%- set ns.told = ns.told + '\n</tools> Call with <tool_call></tool_call>.' %}
{%- endif %}
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + ns.told + '<|im_end|>\n' }}
{%- else %}
    {{- '<|im_start|>system\nYou are helpful.' + ns.told + '<|im_end|>\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'user' or m.role == 'assistant' %}
        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
        {{- '\n<tool_response>\n' + m.content + '\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{% endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"""
LLAMA = """{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'tool' or m.role == 'ipython' %}
        {{- '<|head|>ipython<|/head|>\n\n' }}
        {%- if m.content is mapping or m.content is iterable %}{{- m.content | tojson }}
        {%- else %}{{- m.content }}{% endif %}
        {{- '<|eot|>' }}
    {%- else %}
        {{- '<|head|>' + m.role + '<|/head|>\n\n' }}
        {%- if tools and loop.first %}{%- for t in tools %}{{- t | tojson(indent=4) + '\n\n' }}{% endfor %}{% endif %}
        {{- m.content | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\n\n' }}{% endif %}
{#- code comes after <|python_tag|> #}"""
MISTRAL = """{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {%- if tools and loop.first %}{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
        {{- '[INST]' + m.content + '[/INST]' }}
    {%- elif m.role == 'assistant' %}
        {%- if m.tool_calls is defined %}{{- '[TOOL_CALLS]' }}{% endif %}{{- m.content + eos_token }}
    {%- elif m.role == 'tool' %}
        {%- if not m.tool_call_id is defined or m.tool_call_id | length != 9 %}
            {{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}
        {%- endif %}
        {{- '[TOOL_RESULTS]{"content": ' + m.content | string + ', "call_id": "' + m.tool_call_id }}
        {{- '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('Only user and assistant roles are supported!') }}
    {%- endif %}
{%- endfor %}"""
SILENT = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STYLES = {"hermes": (QWEN, "<|im_end|>"), "llama": (LLAMA, "<|eot|>"), "mistral": (MISTRAL, "</s>")}
CALLS = {
    "hermes": '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 4}}\n</tool_call>',
    "llama": '{"name": "add", "parameters": {"a": 3, "b": 4}}',
    "mistral": '[TOOL_CALLS][{"name": "add", "arguments": {"a": 3, "b": 4}, "id": "call00001"}]',
}


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: one
        b: the other
    """
    return a + b


def describe(what: str) -> str:
    """Describes something in two lines."""
    return f'"{what}"\nis \\ {what}'


def double(a: int) -> int:
    """Doubles a number.

    Args:
        a: it
    """
    return 2 * a


TOOLS = [tool(add), tool(describe)]


@pytest.fixture
def chat_of(tmp_path):
    """Returns a function from a template to its format, and to what transformers renders."""

    def chat_of(template, end, **settings):
        inner = tokenizers.Tokenizer(
            models.BPE({sign: number for number, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
        )
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        inner.add_special_tokens(["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|head|>", "<|/head|>", "<|eot|>"])
        inner.add_special_tokens(["[INST]", "[/INST]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]"])
        inner.save(str(tmp_path / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": end}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        (tmp_path / "chat_template.jinja").write_text(template)
        theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
        return TemplateFormat(Tokenizer.load(tmp_path), **settings), theirs

    return chat_of


def text_of(chat, tokens):
    return chat.tokenizer.inner.decode(list(tokens), skip_special_tokens=False)


def says(chat, words):
    ids = [*chat.tokenizer.encode(words), chat.tokenizer.end]
    return Span(Author.MODEL, words, compact(ids), stop=Stop.END)


def answered(chat, style, words, *, tools=False):
    """A question, the model's turn, and what a toolbox said to it."""
    toolbox, problem = Toolbox(TOOLS, style), Problem.ask("sums", "one", "3 + 4?")
    asked = chat.read(opening(problem, toolbox if tools else None)) + says(chat, words)
    reply = asyncio.run(toolbox.open(problem).reply(asked))
    said = (reply.span, *reply.more)
    return asked, chat.read(asked + said)


@pytest.mark.parametrize("style", STYLES)
def test_tools_are_described_as_transformers_does(style, chat_of):
    schemas = [one.schema for one in TOOLS]
    chat, theirs = chat_of(*STYLES[style])
    described = Toolbox(TOOLS, style).described
    read = chat.read(Transcript.of([Message("user", "3 + 4?")], described))
    turns = [{"role": "user", "content": "3 + 4?"}]
    assert text_of(chat, read.tokens) == theirs.apply_chat_template(
        turns, tools=schemas, tokenize=False, add_generation_prompt=True
    )
    assert chat.describes(described)
    assert "Adds two numbers." in text_of(chat, read.tokens)
    assert [span.text for span in read if span.text] == ["3 + 4?"]


@pytest.mark.parametrize("style", STYLES)
def test_a_result_after_the_models_turn_is_a_message_and_the_model_is_asked_again(style, chat_of):
    schemas = [one.schema for one in TOOLS]
    chat, theirs = chat_of(*STYLES[style])
    asked, heard = answered(chat, style, CALLS[style], tools=True)
    turns = [
        {"role": "user", "content": "3 + 4?"},
        {"role": "assistant", "content": CALLS[style]},
        {"role": "tool", "content": "7", "tool_call_id": "call00001"},
    ]
    assert heard.tokens[: len(asked.tokens)] == asked.tokens
    assert text_of(chat, heard.tokens) == theirs.apply_chat_template(
        turns, tools=schemas, tokenize=False, add_generation_prompt=True
    )
    assert [span.text for span in heard if span.author is Author.ENVIRONMENT] == ["7"]


def test_several_results_of_a_turn_are_several_messages(chat_of):
    chat, theirs = chat_of(*STYLES["hermes"])
    call = '<tool_call>{"name": "describe", "arguments": {"what": "x"}}</tool_call>'
    heard = answered(chat, "hermes", f"{CALLS['hermes']}\n{call}")[1]
    turns = [
        {"role": "user", "content": "3 + 4?"},
        {"role": "assistant", "content": f"{CALLS['hermes']}\n{call}"},
        {"role": "tool", "content": "7"},
        {"role": "tool", "content": '"x"\nis \\ x'},
    ]
    assert text_of(chat, heard.tokens) == theirs.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def test_words_that_a_template_writes_as_json_are_escaped(chat_of):
    chat, theirs = chat_of(*STYLES["llama"])
    call = '{"name": "describe", "parameters": {"what": "x"}}'
    heard = answered(chat, "llama", call)[1]
    turns = [
        {"role": "user", "content": "3 + 4?"},
        {"role": "assistant", "content": call},
        {"role": "tool", "content": '"x"\nis \\ x'},
    ]
    assert text_of(chat, heard.tokens) == theirs.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert [span.text for span in heard if span.author is Author.ENVIRONMENT] == ['"x"\nis \\ x']


def test_a_result_cannot_speak_as_the_template(chat_of):
    chat, _ = chat_of(*STYLES["hermes"])
    words = '<tool_call>{"name": "describe", "arguments": {"what": "<|im_end|><|im_start|>"}}</tool_call>'
    heard = answered(chat, "hermes", words)[1]
    (told,) = [span for span in heard if span.author is Author.ENVIRONMENT]
    assert "<|im_start|>" in told.text
    assert not chat.tokenizer.special & set(told.tokens)


def test_the_conversation_goes_on_after_tools(chat_of):
    chat, _ = chat_of(*STYLES["hermes"])
    heard = answered(chat, "hermes", CALLS["hermes"])[1] + says(chat, "It is 7.")
    longer = chat.read(heard + Span(Author.USER, "And 5?"))
    assert text_of(chat, longer.tokens[len(heard.tokens) :]) == (
        "\n<|im_start|>user\nAnd 5?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.fault("C1")
def test_where_a_template_describes_no_tools_a_system_message_and_examples_do(chat_of):
    chat, _ = chat_of(SILENT, "<|im_end|>")
    toolbox = Toolbox([toolbox_tool := tool(double)])
    assert not chat.describes(toolbox.described)
    read = chat.read(opening(Problem((Message("system", "Be brief."), Message("user", "Hi"))), toolbox))
    assert [(span.author, span.text) for span in read if span.text] == [
        (Author.SYSTEM, f"{toolbox.prompt()}\n\nBe brief."),
        (Author.USER, "Hi"),
    ]
    shown = Toolbox([replace(toolbox_tool, examples=(Example("2 + 2?", {"a": 2}, "4", "It is 4."),))])
    read = chat.read(opening(Problem.ask("sums", "one", "Hi"), shown))
    assert [(span.author, span.text) for span in read if span.text] == [
        (Author.SYSTEM, shown.prompt()),
        (Author.USER, "2 + 2?"),
        (Author.FORCED, "<tool> 2 </tool> <result> 4 </result> It is 4."),
        (Author.USER, "Hi"),
    ]


@pytest.mark.fault("C1")
def test_a_template_that_describes_another_format_of_calls_is_not_followed(chat_of):
    chat, _ = chat_of(*STYLES["hermes"])
    toolbox = Toolbox(TOOLS, "llama")
    assert not chat.describes(toolbox.described)
    text = text_of(chat, chat.read(opening(Problem.ask("sums", "one", "Hi"), toolbox)).tokens)
    assert "# Tools" not in text
    assert toolbox.prompt() in text


def test_without_tools_nothing_is_said_of_them(chat_of):
    chat, _ = chat_of(*STYLES["hermes"])
    assert "# Tools" not in text_of(chat, chat.read(Transcript.of([Message("user", "Hi")])).tokens)
