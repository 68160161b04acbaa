"""The chat format of a real checkpoint: its own template, rendered into spans whose authors are known."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from poziomka.core.answers import CLOSE, THINK
from poziomka.core.errors import ModelError
from poziomka.core.transcript import Author, Message, Span, Stop, Tools, Transcript, author_of, compact
from poziomka.models.rendering import Piece, Template, accepts, peculiarities, tells_tools
from poziomka.models.tokenizer import Tokenizer

PLAIN = (  # for a checkpoint without a template
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
REPLY = (Author.MODEL, Author.TEACHER, Author.FORCED)
ROLES = {Author.SYSTEM: "system", Author.USER: "user", Author.ENVIRONMENT: "tool"}
FOLD = "\n\n"  # between a system message and the user's, where a template knows no system role


@dataclass
class Turn:
    """One message: its role, whose words it is made of, and whether it was read before."""

    role: str
    spans: list[Span] = field(default_factory=list)
    known: bool = False


@dataclass(frozen=True)
class Style:
    """A template with the tools that it describes, and how it takes messages of roles that it may not know.

    Attributes:
        template: renders the messages.
        folds: a system message stands before the user's words.
        tool: the role of a tool's message, "tool" or "user".
    """

    template: Template
    folds: bool
    tool: str

    @classmethod
    def of(cls, template: Template) -> "Style":
        """Tries a template; raises ModelError where it cannot render one question."""
        template.take_apart(("user",), generation=True)
        folds = not accepts(template, "system", "user")
        return cls(template, folds, "tool" if accepts(template, "user", "assistant", "tool") else "user")

    def roles(self, turns: Sequence[Turn]) -> tuple[str, ...]:
        """Returns the roles of messages as this template takes them."""
        return tuple(self.tool if turn.role == "tool" else turn.role for turn in turns)


class TemplateFormat:
    """Reads messages through the checkpoint's template; see ChatFormat.

    People's and tools' words are encoded as plain text, each by itself; everything that the template adds, a default
    system message included, is by Author.TEMPLATE and reads as nothing, apart from a thought that it opens. A
    conversation is continued append-only: what has tokens keeps them, and only what the template writes after the last
    reply is read, whatever it would make of that reply now.

    Attributes:
        tokenizer: the checkpoint's, its `end` being what the template writes after a reply.
        opens_thought: whether a reply begins with "<think>", written by the template's side.
        notes: sentences about what is peculiar to this template.
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
        """Tries the template on a few conversations.

        Args:
            tokenizer: the checkpoint's.
            template: Jinja; None for the checkpoint's own.
            opens_thought: put "<think>" before every reply whose thought the template does not open itself.
            variables: what the template may ask for, {"enable_thinking": False} for one.
            moment: the time that the template is told where it asks for it; None for now.

        Raises:
            ModelError: the template does not parse, raises, or drops the user's words.
        """
        notes = []
        source = template or (tokenizer.files.template if tokenizer.files else None)
        if source is None:
            notes.append("this checkpoint has no chat template: messages are written as 'User: …' and 'Assistant: …'")
        names = dict(tokenizer.files.names) if tokenizer.files else {}
        self._variables = variables
        self._plain_style = Style.of(Template(source or PLAIN, names | dict(variables or {}), moment=moment))
        self._styles: dict[str, Style] = {}  # with tools, by their schemas
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
        """The template's text."""
        return self._plain_style.template.source

    @property
    def marks_thoughts(self) -> bool:
        """Whether the vocabulary has "<think>" and "</think>" as tokens, or the template writes them."""
        tokenizer = self.tokenizer
        return len(tokenizer.think) == len(tokenizer.close) == 1 or THINK in self.source

    @property
    def reads_clock(self) -> bool:
        """Whether the template asks for the time, so that its words depend on when they are rendered."""
        return self._plain_style.template.reads_clock

    def at(self, moment: datetime) -> "TemplateFormat":
        """Returns the same format, whose template is told another time."""
        opens, variables = self.opens_thought, self._variables
        return TemplateFormat(self.tokenizer, self.source, opens_thought=opens, variables=variables, moment=moment)

    def thinking(self, *, opens: bool) -> "TemplateFormat":
        """Returns the same format, which begins every reply with an opened thought, or asks the template for none."""
        variables = {**(self._variables or {}), "enable_thinking": opens}
        moment = self._plain_style.template.moment
        return TemplateFormat(self.tokenizer, self.source, opens_thought=opens, variables=variables, moment=moment)

    def describes(self, tools: Tools) -> bool:
        """Whether the template itself describes these tools, with calls in the format that will be parsed."""
        return self._style(tools) is not self._plain_style

    def _style(self, tools: Tools | None) -> "Style":
        """Returns the style of conversations with tools: the plain one where the template does not describe them."""
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
        """See ChatFormat.

        The transcript's tools are described by the template where it does so in the format of their calls, else by
        their prompt in a system message and by their examples, as far as the template takes such messages.

        Raises:
            ModelError: the transcript was written with another vocabulary, or the template refuses its messages.
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
            if turn.known:  # a tool's answer inside the reply, a forced word
                spans += [self._plain(span) for span in turn.spans if span.tokens is None]
        if any(not turn.known for turn in turns):
            spans += self._rendered(turns, spans, style)
        return replace(transcript, spans=tuple(spans), tokenizer=self.tokenizer.fingerprint)

    def demonstrate(self, prompt: Transcript, thought: str, answer: str) -> Transcript:
        """Returns the prompt followed by a teacher's thought and answer, end token included.

        Where no thought is open, an empty thought is left out, and another is put between "<think>" and "</think>".
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
        """Returns a conversation with the tools' prompt at its beginning, and their examples."""
        system = [span.text for span in spans[:1] if span.author is Author.SYSTEM]
        first = Span(Author.SYSTEM, FOLD.join([tools.prompt, *system]))
        shown = tuple(_example(message) for message in tools.examples)
        rest = spans[len(system) :]
        longer = (first, *shown, *rest)
        return longer if self._takes(longer) else (first, *rest)

    def _takes(self, spans: Sequence[Span]) -> bool:
        """Whether the template takes the messages that spans make up."""
        turns, style = self._turns(spans), self._plain_style
        turns = _folded(turns) if style.folds else turns
        return accepts(style.template, *style.roles(turns))

    def _turns(self, spans: Sequence[Span]) -> list[Turn]:
        """Returns the messages that spans make up; the template's own spans are nobody's."""
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
            turns.insert(known, Turn("assistant", known=True))  # a reply was opened, and nothing written
        return turns

    def _ended(self, span: Span) -> bool:
        if span.stop is Stop.END:
            return True
        if span.tokens is None:
            return span.author is Author.TEACHER
        return bool(span.tokens) and span.tokens[-1] in self.tokenizer.ends

    def _rendered(self, turns: list[Turn], before: Sequence[Span], style: "Style") -> list[Span]:
        """Returns the spans of the messages that have no tokens yet, and the opening of the reply to them."""
        prefill = turns[-1].role == "assistant"  # the model goes on with words that stand there
        turns = _folded(turns) if style.folds else turns
        pieces, tail = self._fresh(turns, style, generation=not prefill)
        spans: list[Span] = []
        for number, piece in enumerate(pieces):
            turn = turns[piece.message]
            text = self._after(piece.text, before) if before and number == 0 else piece.text
            words = turn.spans[0].text.lstrip() if piece.strip_left else turn.spans[0].text
            space = " " if text.endswith(" ") and not words[:1].isspace() else ""  # " word" is one token for most
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
        """Returns what the template writes after the last known turn: pieces with messages, and its last words."""
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
        """Returns what the template writes after a reply, without the end that the model wrote itself."""
        tokens = next((span.tokens for span in reversed(before) if span.tokens), None)
        end = self.tokenizer.inner.id_to_token(self.tokenizer.end) or ""
        ended = tokens is not None and tokens[-1] in self.tokenizer.ends
        return text.partition(end)[2] if ended and end and end in text else text

    def _words(self, turn: Turn, piece: Piece, space: str) -> list[Span]:
        """Returns a message's spans with tokens, stripped where the template strips."""
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
        """Returns a span with the tokens of its words as they stand; the close of a thought has its own."""
        if span.tokens is not None:
            return span
        if span.author is Author.FORCED and span.text.strip() == CLOSE:
            return replace(span, text=CLOSE, tokens=compact(self.tokenizer.close))
        return replace(span, tokens=compact(self.tokenizer.encode(span.text)))

    def _literal(self, text: str, *, opening: bool = False, follows: str = "", shown: str = "") -> list[Span]:
        """Returns the template's own words as a span that reads as `shown`; `follows` is the character after them."""
        ids = self._encode(text, opening=opening, follows=follows)
        return [Span(Author.TEMPLATE, shown, compact(ids))] if ids else []

    def _encode(self, text: str, *, opening: bool = False, follows: str = "") -> list[int]:
        """Returns ids of the template's words; white space at their end is cut as it is before `follows`."""
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
    """Returns a message of an example; a reply is by FORCED, so that nothing is learned from it."""
    author = author_of(message.role)
    return Span(Author.FORCED, message.content, stop=Stop.END) if author in REPLY else Span(author, message.content)


def _open(text: str) -> bool:
    """Whether a thought is open at the end of a text."""
    return THINK in text and CLOSE not in text.rpartition(THINK)[2]


def _folded(turns: list[Turn]) -> list[Turn]:
    """Puts a system message before the words of the user message that follows it."""
    if [turn.role for turn in turns[:2]] != ["system", "user"]:
        return turns
    system, user, *rest = turns
    if not user.known:
        user = Turn("user", [*system.spans, Span(Author.TEMPLATE, FOLD), *user.spans])
    return [user, *rest]
