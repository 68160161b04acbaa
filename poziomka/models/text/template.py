"""Chat format of a pretrained checkpoint: renders its chat template into spans, each with its author."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from poziomka.core.errors import ModelError
from poziomka.core.transcript import CLOSE, THINK, Author, Message, Span, Stop, Tools, Transcript, author_of, compact
from poziomka.models.text.rendering import Piece, Template, accepts, peculiarities, tells_tools
from poziomka.models.text.tokenizer import Tokenizer

PLAIN = (  # for a checkpoint without a template
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
REPLY = (Author.MODEL, Author.TEACHER, Author.FORCED)
ROLES = {Author.SYSTEM: "system", Author.USER: "user", Author.ENVIRONMENT: "tool"}
FOLD = "\n\n"  # between a system message and the user's, for templates without a system role


@dataclass
class Turn:
    """One chat message and its spans.

    Attributes:
        role: system, user, assistant or tool.
        spans: the message's spans, in order.
        known: whether the message has tokens already.
    """

    role: str
    spans: list[Span] = field(default_factory=list)
    known: bool = False


@dataclass(frozen=True)
class Style:
    """A chat template, and its replacements for roles that it does not support.

    Attributes:
        template: renders the messages, and describes its tools.
        folds: whether a system message is prepended to the user's message.
        tool: role of a tool's message, "tool" or "user".
    """

    template: Template
    folds: bool
    tool: str

    @classmethod
    def of(cls, template: Template) -> "Style":
        """Returns the style of a template, whose supported roles are found by rendering test messages.

        Raises:
            ModelError: the template cannot render a user message.
        """
        template.take_apart(("user",), generation=True)
        folds = not accepts(template, "system", "user")
        return cls(template, folds, "tool" if accepts(template, "user", "assistant", "tool") else "user")

    def roles(self, turns: Sequence[Turn]) -> tuple[str, ...]:
        """Returns the roles of messages, with "tool" replaced by "user" if the template does not support it."""
        return tuple(self.tool if turn.role == "tool" else turn.role for turn in turns)


class TemplateFormat:
    """Chat format that tokenizes conversations with a checkpoint's chat template.

    The contents of users and tools are encoded as plain text, each separately. Everything that the template adds, a
    default system message included, has Author.TEMPLATE and empty text, except for a "<think>" that opens a thought. A
    conversation is append-only: spans with tokens keep them, and only the template's text after the last reply is
    encoded, even if the template would now render that reply otherwise.

    Attributes:
        tokenizer: the checkpoint's tokenizer, whose `end` is the end token that the template writes after a reply.
        opens_thought: whether the format adds "<think>" to the prompt before a reply.
        notes: sentences about the template's peculiarities, to show to the user.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str | None = None,
        *,
        opens_thought: bool = False,
        variables: Mapping[str, object] | None = None,
        moment: datetime | None = None,
    ) -> None:
        """Renders test conversations to find out which roles the template supports and how it ends a reply.

        Args:
            tokenizer: the checkpoint's tokenizer.
            template: Jinja source; None for the checkpoint's own template.
            opens_thought: put "<think>" before every reply whose thought the template does not open itself.
            variables: variables of the template, for example {"enable_thinking": False}.
            moment: the time that strftime_now returns in the template; None for now.

        Raises:
            ModelError: the template does not parse, raises an error, or drops the user's message.
        """
        notes = []
        source = template or (tokenizer.files.template if tokenizer.files else None)
        if source is None:
            notes.append("this checkpoint has no chat template: messages are written as 'User: …' and 'Assistant: …'")
        names = dict(tokenizer.files.names) if tokenizer.files else {}
        self._variables = variables
        self._plain_style = Style.of(Template(source or PLAIN, names | dict(variables or {}), moment=moment))
        self._styles: dict[str, Style] = {}  # styles with tools, by the JSON of the tools' schemas
        self._encoded: dict[tuple[str, bool, str], list[int]] = {}
        self.tokenizer = tokenizer
        after = self._plain_style.template.take_apart(("user", "assistant"), generation=False).tail
        end = next((token for token in self._encode(after) if token in tokenizer.special), None)
        if end is not None:
            self.tokenizer = tokenizer.ending_with(end)
        self.opens_thought = opens_thought
        self.notes = (*notes, *peculiarities(self._plain_style.template))

    @property
    def source(self) -> str:
        """Jinja source of the template."""
        return self._plain_style.template.source

    @property
    def marks_thoughts(self) -> bool:
        """Whether the checkpoint has marks around thoughts.

        "<think>" and "</think>" are single tokens of its vocabulary, or its template contains "<think>".
        """
        tokenizer = self.tokenizer
        return len(tokenizer.think) == len(tokenizer.close) == 1 or THINK in self.source

    @property
    def reads_clock(self) -> bool:
        """Whether the template uses the current time, so that its text depends on when it is rendered."""
        return self._plain_style.template.reads_clock

    def at(self, moment: datetime) -> "TemplateFormat":
        """Returns a copy of this chat format in which the template's function strftime_now returns `moment`."""
        opens, variables = self.opens_thought, self._variables
        return TemplateFormat(self.tokenizer, self.source, opens_thought=opens, variables=variables, moment=moment)

    def thinking(self, *, opens: bool) -> "TemplateFormat":
        """Returns a copy of this chat format with thinking turned on or off.

        Args:
            opens: True to begin every reply with "<think>", False to leave that to the template. The template's
                variable enable_thinking gets the same value.
        """
        variables = {**(self._variables or {}), "enable_thinking": opens}
        moment = self._plain_style.template.moment
        return TemplateFormat(self.tokenizer, self.source, opens_thought=opens, variables=variables, moment=moment)

    def describes(self, tools: Tools) -> bool:
        """Whether the template itself describes these tools, in the call format that the parser of replies reads."""
        return self._style(tools) is not self._plain_style

    def _style(self, tools: Tools | None) -> "Style":
        """Returns the style of conversations with these tools.

        If there are none, or the template does not describe them, it is the style without tools.
        """
        if tools is None or not any(sign in self.source for sign in tools.signs):
            return self._plain_style
        key = json.dumps(tools.schemas, sort_keys=True)
        if key not in self._styles:
            bare = self._plain_style.template
            template = Template(bare.source, bare.variables, tools.schemas, bare.moment)
            self._styles[key] = Style.of(template) if tells_tools(template) else self._plain_style
        return self._styles[key]

    # ------------------------------------------------------------------------------------------------------ reading
    def read(self, transcript: Transcript) -> Transcript:
        """Returns the transcript with tokens on every span, ready for the model to continue.

        The template describes the transcript's tools if it does so in the format of their calls. Otherwise they are
        described by their prompt in a system message, and by their examples if the template can render these.

        Raises:
            ModelError: the transcript was written with another tokenizer, or the template rejects its messages.
        """
        if transcript.tokenizer not in (None, self.tokenizer.fingerprint):
            message = (
                f"this transcript was written with tokenizer {transcript.tokenizer}, not {self.tokenizer.fingerprint}"
            )
            raise ModelError(message)
        fresh = next((n for n, span in enumerate(transcript) if span.tokens is None), len(transcript.spans))
        if any(span.tokens is not None for span in transcript.spans[fresh:]):
            message = "a span without tokens stands before one that has them: tokens are written once, in order"
            raise ModelError(message)
        if fresh == len(transcript.spans) and transcript.tokenizer is not None:
            return transcript
        spans, style = list(transcript.spans[:fresh]), self._style(transcript.tools)
        own = transcript.spans
        if transcript.tools is not None and transcript.tokenizer is None and style is self._plain_style:
            own = self._introduced(transcript.tools, own)
        turns = self._turns(own)
        for turn in turns:
            if turn.known:  # such as a tool's result inside a reply, or forced text
                spans += [self._plain(span) for span in turn.spans if span.tokens is None]
        if any(not turn.known for turn in turns):
            spans += self._rendered(turns, spans, style)
        return replace(transcript, spans=tuple(spans), tokenizer=self.tokenizer.fingerprint)

    def demonstrate(self, prompt: Transcript, thought: str, answer: str) -> Transcript:
        """Returns the tokenized prompt followed by a teacher's thought and answer, end token included.

        If the prompt ends inside a thought, `thought` continues it. Otherwise `thought` is put between "<think>" and
        "</think>", or left out if it is empty.
        """
        read = self.read(prompt)
        encode, opened = self.tokenizer.encode, _open(read.reply)
        tokens, text = [], ""
        if thought and not opened:
            tokens, text = list(self.tokenizer.think), THINK
        if thought or opened:
            tokens += [*encode(thought), *self.tokenizer.close]
            text += f"{thought}{CLOSE}"
        tokens += [*encode(answer), self.tokenizer.end]
        return read + Span(Author.TEACHER, text + answer, compact(tokens))

    def _introduced(self, tools: Tools, spans: tuple[Span, ...]) -> tuple[Span, ...]:
        """Returns the spans with descriptions of the tools before them.

        The tools' prompt is prepended to the system message, or becomes one. The tools' examples follow it if the
        template can render them.
        """
        system = [span.text for span in spans[:1] if span.author is Author.SYSTEM]
        first = Span(Author.SYSTEM, FOLD.join([tools.prompt, *system]))
        shown = tuple(_example(message) for message in tools.examples)
        rest = spans[len(system) :]
        longer = (first, *shown, *rest)
        return longer if self._takes(longer) else (first, *rest)

    def _takes(self, spans: Sequence[Span]) -> bool:
        """Whether the template can render the messages of these spans."""
        turns, style = self._turns(spans), self._plain_style
        turns = _folded(turns) if style.folds else turns
        return accepts(style.template, *style.roles(turns))

    def _turns(self, spans: Sequence[Span]) -> list[Turn]:
        """Returns the spans grouped into messages, without TEMPLATE spans, which belong to no message."""
        turns: list[Turn] = []
        over = True  # whether the last reply has ended
        for span in spans:
            if span.author is Author.TEMPLATE:
                continue
            inside = span.author in REPLY or (span.author is Author.ENVIRONMENT and not over)
            if not inside or over or not turns or turns[-1].role != "assistant":
                role = "assistant" if inside else ROLES.get(span.author, "tool")
                turns.append(Turn(role, known=span.tokens is not None))
            turns[-1].spans.append(span)
            over = not inside or self._ended(span)
        known = sum(turn.known for turn in turns)
        if 0 < known < len(turns) and turns[known - 1].role != "assistant":
            turns.insert(known, Turn("assistant", known=True))  # a reply that was opened but has no tokens
        return turns

    def _ended(self, span: Span) -> bool:
        if span.stop is Stop.END:
            return True
        if span.tokens is None:
            return span.author is Author.TEACHER
        return bool(span.tokens) and span.tokens[-1] in self.tokenizer.ends

    def _rendered(self, turns: list[Turn], before: Sequence[Span], style: "Style") -> list[Span]:
        """Returns the spans of the messages without tokens, and of the opening of the next reply.

        Args:
            turns: all messages.
            before: the spans that have tokens.
            style: the template.
        """
        prefill = turns[-1].role == "assistant"  # the model continues a given beginning of its reply
        turns = _folded(turns) if style.folds else turns
        pieces, tail = self._fresh(turns, style, generation=not prefill)
        spans: list[Span] = []
        for number, piece in enumerate(pieces):
            turn = turns[piece.message]
            text = self._after(piece.text, before) if before and number == 0 else piece.text
            words = turn.spans[0].text.lstrip() if piece.strip_left else turn.spans[0].text
            space = " " if text.endswith(" ") and not words[:1].isspace() else ""  # " word" is usually one token
            text = text.removesuffix(space)
            spans += self._literal(text, follows="" if space else words[:1], opening=not before and not spans)
            spans += self._words(turn, piece, space)
        if prefill:
            return spans
        spans += self._literal(tail, shown=tail[tail.find(THINK) :] if THINK in tail else "")
        if self.opens_thought and not _open(tail):
            spans.append(Span(Author.TEMPLATE, THINK, compact(self.tokenizer.think)))
        return spans

    @staticmethod
    def _fresh(turns: list[Turn], style: "Style", *, generation: bool) -> tuple[Sequence[Piece], str]:
        """Returns the template's pieces after the last message with tokens, and its text after the last message.

        Raises:
            ModelError: the template repeats messages with tokens after new ones.
        """
        roles = style.roles(turns)
        rendered = style.template.take_apart(roles, generation=generation)
        known = [number for number, turn in enumerate(turns) if turn.known]
        if not known:
            return rendered.pieces, rendered.tail
        last = max(place for place, piece in enumerate(rendered.pieces) if piece.message == known[-1])
        pieces = rendered.pieces[last + 1 :]
        if any(piece.message in known for piece in pieces):
            message = (
                f"the checkpoint's chat template repeats old messages after new ones ({', '.join(roles)}): "
                f"begin a new conversation, or leave the system message out"
            )
            raise ModelError(message)
        return pieces, rendered.tail

    def _after(self, text: str, before: Sequence[Span]) -> str:
        """Returns the template's text after a reply, without the end token that the model sampled itself."""
        tokens = next((span.tokens for span in reversed(before) if span.tokens), None)
        end = self.tokenizer.inner.id_to_token(self.tokenizer.end) or ""
        ended = tokens is not None and tokens[-1] in self.tokenizer.ends
        return text.partition(end)[2] if ended and end and end in text else text

    def _words(self, turn: Turn, piece: Piece, space: str) -> list[Span]:
        """Returns a message's spans with tokens of their text, after white space is stripped as the template strips it.

        Args:
            turn: the message.
            piece: the template's text before its content.
            space: white space of the template that is encoded with the first span, "" or " ".
        """
        read, last = [], len(turn.spans) - 1
        for number, span in enumerate(turn.spans):
            text = span.text.lstrip() if piece.strip_left and number == 0 else span.text
            text = text.rstrip() if piece.strip_right and number == last else text
            if span.author is Author.TEMPLATE:
                read += self._literal(text)
            elif piece.as_json:
                written = json.dumps(span.text, ensure_ascii=False)[1:-1]
                read.append(replace(span, tokens=compact(self.tokenizer.encode(written))))
            elif text == span.text and not (space and number == 0):
                read.append(self._plain(span))
            else:
                ids = self.tokenizer.encode(space + text if number == 0 else text)
                read.append(replace(span, tokens=compact(ids)))
        return read

    def _plain(self, span: Span) -> Span:
        """Returns a span with the tokens of its text; a forced "</think>" gets the tokenizer's closing tokens."""
        if span.tokens is not None:
            return span
        if span.author is Author.FORCED and span.text.strip() == CLOSE:
            return replace(span, text=CLOSE, tokens=compact(self.tokenizer.close))
        return replace(span, tokens=compact(self.tokenizer.encode(span.text)))

    def _literal(self, text: str, *, opening: bool = False, follows: str = "", shown: str = "") -> list[Span]:
        """Returns the template's own text as one TEMPLATE span, or as none if it has no tokens.

        Args:
            text: the text to encode.
            opening: whether it begins the transcript.
            follows: first character of the text after it.
            shown: the span's readable text.
        """
        ids = self._encode(text, opening=opening, follows=follows)
        return [Span(Author.TEMPLATE, shown, compact(ids))] if ids else []

    def _encode(self, text: str, *, opening: bool = False, follows: str = "") -> list[int]:
        """Returns the ids of the template's text; white space at its end is tokenized as if `follows` came after it."""
        follows = "" if follows.isspace() or not text[-2:].isspace() else follows
        key = (text, opening, follows)
        if key not in self._encoded:
            ids = self.tokenizer.encode_template(text + follows, opening=opening)
            beyond = self.tokenizer.encode(follows)
            if beyond and ids[-len(beyond) :] == beyond:
                ids = ids[: -len(beyond)]
            elif beyond:
                ids = self.tokenizer.encode_template(text, opening=opening)
            self._encoded[key] = ids
        return self._encoded[key]


def _example(message: Message) -> Span:
    """Returns the span of an example message; a reply has author FORCED, so that it is not trained on."""
    author = author_of(message.role)
    return Span(Author.FORCED, message.content, stop=Stop.END) if author in REPLY else Span(author, message.content)


def _open(text: str) -> bool:
    """Whether a text ends inside a thought: its last "<think>" is not closed."""
    return THINK in text and CLOSE not in text.rpartition(THINK)[2]


def _folded(turns: list[Turn]) -> list[Turn]:
    """Returns the messages with a leading system message merged into the user message that follows it."""
    if [turn.role for turn in turns[:2]] != ["system", "user"]:
        return turns
    system, user, *rest = turns
    if not user.known:
        user = Turn("user", [*system.spans, Span(Author.TEMPLATE, FOLD), *user.spans])
    return [user, *rest]
