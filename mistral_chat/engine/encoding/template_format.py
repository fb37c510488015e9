"""Prompts by a text template: the file's own chat template, or ChatML.

A template renders everything as one text. The text is then split at the special tokens that the template itself inserted, never
at text from users or models; each run between them is tokenized in one call, so that tokens across message boundaries are the
same as llama.cpp's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding.format import NOTHING_SAMPLED, Encoding, MessageEncoding, Span, TurnTokens
from mistral_chat.engine.encoding.rendered_prompt import RenderedPrompt, locate_contents
from mistral_chat.engine.encoding.renderer import ESCAPE, TemplateRefusedError
from mistral_chat.engine.encoding.role_layouts import RoleLayout, role_layouts
from mistral_chat.engine.encoding.special_tokens import Fragment, SpecialTokenMatcher, outside
from mistral_chat.engine.encoding.template_traits import detect_traits
from mistral_chat.engine.encoding.text import TextEncoder
from mistral_chat.engine.encoding.token_spans import TokenIndex, TokenSpan
from mistral_chat.errors import PromptFormatError
from mistral_chat.generation import PromptTurn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_chat.engine.encoding.renderer import Renderer
    from mistral_chat.engine.encoding.tokenizer import Tokenizer

_SHORTEST_MARK = 4
"""Shorter markup occurs in ordinary text, so a warning would be meaningless."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of one turn in the rendered text."""

    start: int
    reply: int
    reply_end: int
    end: int


class TemplateFormat:
    """A template with one vocabulary."""

    def __init__(self, tokenizer: Tokenizer, renderer: Renderer, name: str = "template") -> None:
        """Use the template of `renderer`, after testing it on a short conversation.

        Raises:
            PromptFormatError: the template does not work.
        """
        self.name = name
        self._tokenizer = tokenizer
        self._renderer = renderer
        self._shape = detect_traits(renderer)
        self._specials = SpecialTokenMatcher(tokenizer)
        self._text = TextEncoder(tokenizer)
        self._bos = tokenizer.texts[tokenizer.bos] if tokenizer.bos >= 0 else ""
        self.reply_prefix = self._learn_prefix()

    def _learn_prefix(self) -> str:
        if self._shape.leading or not self._tokenizer.space_prefix:
            return self._shape.leading
        ends = [text for text in self._specials.within([self._shape.asking]) if self._shape.asking.endswith(text)]
        return " " if ends else ""

    def count(self, text: str) -> int:
        """The number of tokens of `text` as a user message, without the format's own tokens."""
        return len(self._text.encode_segment(text, prefix=False, apart=self._specials.markers))

    def ambiguous_markup(self, text: str) -> str | None:
        """A warning about template markup in `text` that is plain text in this vocabulary, and so looks the same in a prompt."""
        marks = [part.strip() for part in (self._shape.opening, self._shape.asking, self._shape.closing)]
        plain = [mark for mark in marks if len(mark) >= _SHORTEST_MARK and not self._specials.within([mark])]
        found = next((mark for mark in plain if mark in text), None)
        if found is None:
            return None
        return (
            f"The model reads {found!r} in this text as the start or end of a message: in its format, such marks are plain text."
        )

    def encode(
        self,
        system: str,
        turns: Sequence[PromptTurn],
        *,
        sampled: Mapping[str, Sequence[int]] = NOTHING_SAMPLED,
        closed: bool = False,
    ) -> Encoding:
        """Encode a history; see `PromptFormat.encode`.

        Where the template rewrites a reply that has been answered since, as some drop the model's thoughts, its own version
        is in the prompt, and not the tokens that were sampled.
        """
        if not turns:
            return Encoding(self.encode(system, [PromptTurn(key="", user="x")]).head, ())
        replies = {place: tuple(sampled[turn.key]) for place, turn in enumerate(turns) if sampled.get(turn.key)}
        last = len(turns) - 1
        begun = () if closed else replies.pop(last, ())
        messages = [Message(Role.SYSTEM, system)] if system else []
        owners: list[tuple[int, int | None]] = []
        for place, turn in enumerate(turns):
            messages.append(Message(Role.USER, turn.user))
            reply = "" if begun and place == last else turn.reply or ("…" if place in replies else "")
            owners.append((len(messages) - 1, len(messages) if reply else None))
            messages += [Message(Role.ASSISTANT, reply)] if reply else []
        arrangement, layout = self._lay_out(messages, closed=closed)
        places = self._places(arrangement, layout, owners)
        cuts = {place: self._cut(layout, arrangement, owners[place][1], tokens) for place, tokens in replies.items()}
        kept = {place: cut for place, cut in cuts.items() if cut is not None}
        for place, cut in kept.items():
            places[place] = replace(places[place], reply=cut.start, reply_end=cut.end)
        index = TokenIndex(self._tokenizer, layout.text, self._runs(layout, list(kept.values())))
        encoding = _cut_turns(index, [turn.key for turn in turns], places, least=int(self._tokenizer.add_bos))
        if not begun:
            return encoding
        return replace(encoding, turns=(*encoding.turns[:-1], replace(encoding.turns[-1], reply=begun)))

    def encode_messages(self, messages: Sequence[Message], *, closed: bool = False) -> MessageEncoding:
        """Encode messages in any order of roles; see `PromptFormat.encode_messages`. A reply without text is left out."""
        said = [place for place, each in enumerate(messages) if each.content or each.role is not Role.ASSISTANT]
        arrangement, layout = self._lay_out([messages[place] for place in said], closed=closed)
        runs = self._runs(layout, [])
        index = TokenIndex(self._tokenizer, layout.text, runs)
        spans = []
        for number, place in enumerate(said):
            found = layout.find(*arrangement.part(number))
            if found is not None:
                spans.append(
                    Span(
                        place,
                        index.token_containing(found[0]),
                        max(index.token_containing(found[1] - 1) + 1, index.token_starting_at(found[1])),
                    )
                )
        return MessageEncoding(tuple(index.tokens), tuple(sorted(spans, key=lambda span: (span.start, span.end))))

    def _lay_out(self, messages: Sequence[Message], *, closed: bool) -> tuple[RoleLayout, RenderedPrompt]:
        """Render the messages in the first layout that the template accepts."""
        refusal: PromptFormatError | None = None
        for arrangement in role_layouts(messages, takes_system=self._shape.takes_system):
            blocks = arrangement.blocks
            going_on = not closed and bool(blocks) and blocks[-1].role is Role.ASSISTANT
            try:
                layout = locate_contents(
                    self._renderer,
                    self._specials,
                    blocks,
                    generation=not closed,
                    tail=self._shape.leading if going_on else None,
                )
            except TemplateRefusedError as error:
                refusal = error
                continue
            told = (place for place, each in enumerate(messages) if each.role is not Role.ASSISTANT and each.content.strip())
            if not layout.exact or all(layout.find(*arrangement.part(place)) for place in told):
                return arrangement, layout
        raise refusal or PromptFormatError(f"The model's chat template drops messages. {ESCAPE}")

    def _places(self, arrangement: RoleLayout, layout: RenderedPrompt, owners: Sequence[tuple[int, int | None]]) -> list[_Place]:
        """The position of each turn. If a message's text is not found, its position is inferred from its surroundings."""
        text, shape = layout.text, self._shape
        places: list[_Place] = []
        begin = 0
        for turn, (question, reply) in enumerate(owners):
            asked = layout.find(*arrangement.part(question))
            if turn == 0:
                lead = text[: asked[0]] if asked else ""
                begin = len(lead) - len(shape.opening) if shape.opening and lead.endswith(shape.opening) else 0
            elif asked and arrangement.same_block(question, owners[turn - 1][0]):
                begin = max(begin, asked[0])
            elif text.startswith(shape.closing, begin):
                begin = min(begin + len(shape.closing), len(text))
            if places:  # whose last turn ends where this one begins
                kept = owners[turn - 1][1] is not None
                places[-1] = replace(places[-1], end=begin) if kept else _Place(places[-1].start, begin, begin, begin)
            end = max(begin, asked[1]) if asked else begin
            answered = layout.find(*arrangement.part(reply)) if reply is not None else None
            if answered:
                places.append(_Place(begin, max(end, answered[0]), max(end, answered[1]), len(text)))
            elif turn == len(owners) - 1:
                places.append(_Place(begin, len(text), len(text), len(text)))
            else:
                places.append(_Place(begin, end, end, end))
            begin = places[-1].reply_end
        return places

    def _cut(
        self, layout: RenderedPrompt, arrangement: RoleLayout, reply: int | None, tokens: tuple[int, ...]
    ) -> TokenSpan | None:
        """Replace a reply's text by the sampled tokens; None if the template has its own version of the reply."""
        if reply is None:
            return None
        block, start, end = arrangement.part(reply)
        found = layout.find(block, start, end)
        said = arrangement.blocks[block].text[start:end]
        if found is None or layout.text[found[0] : found[1]].strip() != said.strip():
            return None
        text, leading, (first, last) = layout.text, self._shape.leading, found
        if not layout.exact:  # the span lacks the white space at its ends, if the template kept it
            before, _, after = said.partition(said.strip())
            first -= len(before) if text.endswith(self._shape.asking + leading + before, 0, first) else 0
            last += len(after) if self._shape.closing and text.startswith(after + self._shape.closing, last) else 0
        lead = len(leading) if leading and text.startswith(leading, first - len(leading)) else 0
        return TokenSpan(first - lead, last, tokens, whole=True)

    def _runs(self, layout: RenderedPrompt, replies: Sequence[TokenSpan]) -> list[TokenSpan]:
        """Tokenize the rendered text, with `replies` in place of the text that they span.

        Raises:
            PromptFormatError: the special tokens depend on what was written.
        """
        text = layout.text
        runs: list[TokenSpan] = []
        start = 0
        if self._tokenizer.add_bos and self._tokenizer.bos >= 0:
            start = len(self._bos) if self._bos and text.startswith(self._bos) else 0
            runs.append(TokenSpan(0, start, (self._tokenizer.bos,), whole=True))
        template = _between(layout, start) if layout.exact else [text]
        candidates = self._specials.within(template)
        apart_from = outside([(reply.start, reply.end) for reply in replies])
        fragments = self._specials.split(text, candidates, lambda *match: layout.allowed(*match) and apart_from(*match), start)
        if layout.exact:
            self._check(layout, fragments, started=start > 0)
        used = {self._tokenizer.texts[each.token] for each in fragments if each.token is not None}
        apart = (self._specials.markers | used) & self._tokenizer.user_defined.keys()
        apart = frozenset(each for each in apart if not each.isspace())
        special = True  # the vocabulary's space is added at the start of a text and after each special token
        for fragment in fragments:
            if fragment.token is not None:
                runs.append(TokenSpan(fragment.start, fragment.end, (fragment.token,), whole=True))
                special = True
                continue
            for piece in _divide(fragment, replies):
                if isinstance(piece, TokenSpan):
                    runs.append(piece)
                elif piece.start < piece.end:
                    prefix = special and self._tokenizer.space_prefix
                    part = text[piece.start : piece.end]
                    runs.append(
                        TokenSpan(
                            piece.start, piece.end, self._text.encode_segment(part, prefix=prefix, apart=apart), whole=False
                        )
                    )
                special = False
        return runs

    def _check(self, layout: RenderedPrompt, fragments: Sequence[Fragment], *, started: bool) -> None:
        """Refuse a prompt whose control tokens are not exactly those of the template."""
        wanted: list[int] = []
        for place, part in enumerate(layout.parts):
            wanted += self._specials.token_skeleton(part[len(self._bos) :] if place == 0 and started else part)
        if self._specials.controls(fragments) != wanted:
            raise PromptFormatError(
                "Text in this conversation would change the control tokens of the prompt. Nothing was sent. "
                "Change the last message, or choose another format with --prompt-format."
            )


def _cut_turns(index: TokenIndex, keys: Sequence[str], places: Sequence[_Place], least: int) -> Encoding:
    """Split the prompt at its turns, with at least `least` tokens in its head."""
    tokens = tuple(index.tokens)
    head_end = max(least, index.token_starting_at(places[0].start))
    turns = []
    at = head_end
    for key, place in zip(keys, places, strict=True):
        reply = max(at, index.token_starting_at(place.reply))
        reply_end = max(reply, index.token_starting_at(place.reply_end))
        end = max(reply_end, index.token_starting_at(place.end)) if place is not places[-1] else len(tokens)
        turns.append(TurnTokens(key, tokens[at:reply], tokens[reply:reply_end], tokens[reply_end:end]))
        at = end
    return Encoding(tokens[:head_end], tuple(turns))


def _between(layout: RenderedPrompt, start: int) -> list[str]:
    """The template's own text in a rendered prompt, from `start` on."""
    ends = [start, *(piece.end for piece in layout.written)]
    starts = [*(piece.start for piece in layout.written), len(layout.text)]
    return [layout.text[first:last] for first, last in zip(ends, starts, strict=True) if first < last]


def _divide(fragment: Fragment, replies: Sequence[TokenSpan]) -> list[Fragment | TokenSpan]:
    """A fragment of text split around the sampled replies in it."""
    pieces: list[Fragment | TokenSpan] = []
    start = fragment.start
    for run in replies:
        if fragment.start <= run.start < fragment.end or fragment.start < run.end <= fragment.end:
            pieces += [Fragment(start, max(start, run.start)), run]
            start = max(start, run.end)
    return [*pieces, Fragment(start, fragment.end)]
