"""From a row of a file to ids: how its prompt is put to the model, and where the ids of its completion come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Int

from freerun.errors import DataError, UsageError
from freerun.jobs.verify.options import VerifyOptions
from freerun.predictors.base import Ids, Predictor
from freerun.predictors.chat import Added, ChatFeeding, Feeding
from freerun.predictors.templates import read_settings
from freerun.results.verify import PromptKind, TemplateFacts, TokenSource
from freerun.samples.completion import Completion
from freerun.samples.reading import SampleFile
from freerun.text.conversations import USER, Message


class Unreadable(Exception):
    """A row that cannot be put to the model: why, the same words for all of its kind, and what stands there."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Prompt:
    """What stood before a completion, and how that is known."""

    ids: Ids
    kind: PromptKind


@dataclass
class Reading:
    """How the rows of one file become ids of one model.

    `stripped`: no completion begins with white space, so the law's own texts have to lose theirs, too.
    """

    predictor: Predictor
    source: TokenSource
    feeding: Feeding | None = None
    """None: prompts are text as they are, and a chat cannot be read."""
    stripped: bool = False
    _prompts: dict[object, Prompt] = field(default_factory=dict, repr=False)

    # ---- prompts ---------------------------------------------------------------------------------------------------

    def prompt(self, sample: Completion) -> Prompt:
        """Raises Unreadable."""
        if sample.prompt_ids is not None:
            return Prompt(np.asarray(sample.prompt_ids, np.int64), "ids")
        key = sample.messages if sample.messages is not None else sample.prompt
        if key is None:
            raise Unreadable("no prompt", "what stood before the completion is not known as ids or text")
        if key not in self._prompts:
            self._prompts[key] = self._of_chat(sample) if sample.messages is not None else self._of_text(str(key))
        return self._prompts[key]

    def _of_chat(self, sample: Completion) -> Prompt:
        if self.feeding is None:
            raise Unreadable("chat without ids", "a template made tokens of it: --chat renders it by the model's own")
        assert sample.messages is not None
        if not any(m.content.strip() for m in sample.messages):
            raise Unreadable("empty prompt", "no turn says anything")
        return Prompt(self._rendered(tuple(Message(m.role, m.content) for m in sample.messages)), "chat")

    def _rendered(self, turns: tuple[Message, ...]) -> Ids:
        assert self.feeding is not None
        try:
            return self._led(self.feeding.ids(turns))
        except DataError as error:
            raise Unreadable("chat that the template does not take", str(error)) from None

    def _of_text(self, text: str) -> Prompt:
        template = self.predictor.template
        if template is not None and any(marker in text for marker in self.predictor.markers.control.values()):
            return Prompt(self._led(np.asarray(template.encode(text), np.int64)), "rendered")
        if not isinstance(self.feeding, ChatFeeding):
            return Prompt(self._led(self._encoded(text)), "text")
        inside = self._inside_template(text, self.feeding.added)
        kind: PromptKind = "turn" if inside is None else "restored"
        return Prompt(self._rendered((Message(USER, text if inside is None else inside),)), kind)

    def _inside_template(self, text: str, added: Added) -> str | None:
        """The user's words in a rendered prompt that has lost its markers; None where the template does not stand around it."""
        before, after = self._without_markers(added.before), self._without_markers(added.after)
        if not (before + after).strip() or not (text.startswith(before) and text.endswith(after)):
            return None
        return text[len(before) : len(text) - len(after)] if len(text) > len(before + after) else None

    def _without_markers(self, text: str) -> str:
        for marker in self.predictor.markers.control.values():
            text = text.replace(marker, "")
        return text

    def _led(self, ids: Ids) -> Ids:
        """With what the context rule puts first, once."""
        lead = self.predictor.context.lead
        return ids if tuple(ids[: len(lead)]) == lead else np.concatenate([np.array(lead, np.int64), ids])

    # ---- completions -----------------------------------------------------------------------------------------------

    def completion(self, sample: Completion) -> Ids:
        """The ids that were drawn, or those of the text. Raises Unreadable."""
        if self.source == "file":
            if sample.completion_ids is None:
                raise Unreadable("text without ids", "the ids that were drawn are not there")
            return np.asarray(sample.completion_ids, np.int64)
        if self.source == "pieces":
            ids = self.ids_of_pieces(sample.pieces or ())
            assert ids is not None
            return ids
        ids = self._encoded(self._without_end(sample.completion or ""))
        if not len(ids):
            raise Unreadable("empty completion", "nothing but an end of text")
        return ids

    def _encoded(self, text: str) -> Ids:
        try:
            return np.asarray(list(self.predictor.encode(text)), np.int64)
        except UsageError as error:  # a world that knows a few symbols only
            raise Unreadable("text that the tokenizer does not know", str(error)) from None

    def _without_end(self, text: str) -> str:
        """Without ends of text and padding that are spelled at its end."""
        control = tuple(self.predictor.markers.control.values())
        while spelled := next((marker for marker in control if marker and text.endswith(marker)), None):
            text = text.removesuffix(spelled)
        return text

    def ids_of_pieces(self, pieces: tuple[bytes, ...]) -> Ids | None:
        """The id of each piece of a reported completion; None where a piece is not a token.

        An empty piece at the end is an end of text that the server does not spell; it is left out.
        """
        if pieces and not pieces[-1]:
            pieces = pieces[:-1]
        ids = [self._id_of.get(piece) for piece in pieces]
        return None if not ids or None in ids else np.array(ids, np.int64)

    @cached_property
    def _id_of(self) -> Mapping[bytes, int]:
        """The id of each spelling; of several ids, the one that the tokenizer itself uses."""
        table: dict[bytes, int] = {}
        for i in range(self.predictor.n_tokens):
            spelled = self.predictor.token_bytes(i) or self.predictor.markers.control.get(i, "").encode()
            if not spelled:
                continue
            if spelled in table and list(self.predictor.encode(spelled.decode("utf-8", "replace"))) != [i]:
                continue
            table[spelled] = i
        return table

    # ---- to text and back ------------------------------------------------------------------------------------------

    def again(self, ids: Ids) -> Ids:
        """The law's own ids taken to text as a file has it, and back."""
        return np.asarray(list(self.predictor.encode(self.text_of(ids))), np.int64)

    def text_of(self, ids: Ids) -> str:
        """As decoders write it: markers gone, and the space that the tokenizer puts first anyway."""
        text = b"".join(self.predictor.token_bytes(int(i)) for i in ids).decode("utf-8", "replace")
        if self._puts_space_first:
            text = text.removeprefix(" ")
        return text.lstrip() if self.stripped else text

    @cached_property
    def _puts_space_first(self) -> bool:
        first = list(self.predictor.encode("a"))[:1]
        return bool(first) and self.predictor.token_bytes(first[0]).startswith(b" ")

    def begins_word(self, token_id: int) -> bool:
        return self.predictor.token_bytes(token_id)[:1].isspace()

    @property
    def template_facts(self) -> TemplateFacts | None:
        """What the template writes around a prompt."""
        if not isinstance(self.feeding, ChatFeeding):
            return None
        added, template = self.feeding.added, self.feeding.template
        return TemplateFacts(
            sha256=template.sha256,
            before=added.before,
            after=added.after,
            before_ids=added.before_ids,
            after_ids=added.after_ids,
            settings=dict(self.feeding.settings),
        )


def reading_of(samples: SampleFile, predictor: Predictor, options: VerifyOptions) -> Reading:
    """Go through the file once where it has no ids, and see what it has instead.

    Raises:
        UsageError: --chat with a model that has no template, a variable that it does not have, or settings without --chat.
    """
    feeding = _feeding(predictor, options)
    reading = Reading(predictor, "file", feeding)
    if samples.has_ids:
        return reading
    whole = stripped = True
    n = 0
    for sample in samples:
        if isinstance(sample, Completion):
            n += 1
            whole = whole and sample.pieces is not None and reading.ids_of_pieces(sample.pieces) is not None
            stripped = stripped and not (sample.completion or "")[:1].isspace()
        if not whole and not stripped:
            break
    reading.source = "pieces" if whole and n else "text"
    reading.stripped = stripped and reading.source == "text"
    return reading


def _feeding(predictor: Predictor, options: VerifyOptions) -> ChatFeeding | None:
    if not options.chat:
        if options.system is not None or options.template_options:
            flag = "--system" if options.system is not None else "--template-option"
            raise UsageError(f"{flag} is about the model's chat template: give --chat with it, or leave it out")
        return None
    return ChatFeeding(predictor, system=options.system, settings=read_settings(options.template_options))


def last_whole_word(ids: Int[np.ndarray, " tokens"], reading: Reading) -> int:
    """How many tokens stand before the last word, which may have been cut off and is then tokenised otherwise than a whole one."""
    for at in range(len(ids) - 1, max(len(ids) - _WORD_TOKENS, 0), -1):
        if reading.begins_word(int(ids[at])):
            return at
    return max(len(ids) - 2, 0)


_WORD_TOKENS = 12
"""A word is taken to have no more tokens than this."""
