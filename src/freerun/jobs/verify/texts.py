"""A file of samples as texts that a model can score, and what stands in the file at a first reading."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.jobs.verify.asked import asked_words
from freerun.jobs.verify.reading import Reading, Unreadable
from freerun.results.verify import ExcludedRows, PromptKind
from freerun.samples.checks import check_vocabulary
from freerun.samples.completion import Completion, Excluded, says_it_ended
from freerun.samples.reading import SampleFile
from freerun.stats.verification.tokens import N_BEGINNINGS

COPY_TOKENS = 24
"""Equal completions of one prompt that are at least so long may be copies of one draw."""


@dataclass(frozen=True, eq=False)
class Text:
    """A prompt and its completion as ids, with what the file says of each token of the completion."""

    row: int
    prompt: Int[np.ndarray, " prompt"]
    completion: Int[np.ndarray, " completion"]
    drawn: Bool[np.ndarray, " completion"]
    reported_nats: Float[np.ndarray, " completion"]
    trainer_nats: Float[np.ndarray, " completion"]
    group: str
    finish_reason: str | None
    prompt_kind: PromptKind = "ids"
    asked: str = ""
    """Sampling settings that the file says were asked for, as `--declared` takes them."""
    weight_versions: tuple[str, ...] = ()
    """Of the weights that drew its tokens, each once."""

    @property
    def ids(self) -> Int[np.ndarray, " text"]:
        return np.concatenate([self.prompt, self.completion])


@dataclass(frozen=True)
class Unusable:
    """A row that cannot be scored, and why."""

    reason: str
    detail: str


def texts_of(samples: SampleFile, reading: Reading) -> Iterator[Text | Unusable]:
    """Every row of the file, in its order."""
    for sample in samples:
        if isinstance(sample, Completion):
            sample = check_vocabulary(sample, reading.predictor.n_tokens)
        if isinstance(sample, Excluded):
            yield Unusable(str(sample.reason), sample.detail)
            continue
        try:
            yield _text(sample, reading)
        except Unreadable as fault:
            yield Unusable(fault.reason, fault.detail)


def _text(sample: Completion, reading: Reading) -> Text | Unusable:
    predictor = reading.predictor
    prompt = reading.prompt(sample)
    completion = reading.completion(sample)
    n = len(completion)
    if not len(prompt.ids) and not predictor.capabilities.empty_context:
        return Unusable("empty prompt", "the model has no law before the first token")
    window = predictor.context.window
    most = None if window is None else window + len(predictor.context.lead)
    if most is not None and len(prompt.ids) + n > most:
        return Unusable("longer than the window", f"{len(prompt.ids)} + {n} tokens; the model sees {most:,}")
    whole = sample.drawn is None or reading.source == "text"
    return Text(
        sample.row,
        prompt.ids,
        completion,
        np.ones(n, bool) if whole else np.asarray(sample.drawn, bool)[:n],
        _column(sample.log_probs_nats, n, reading),
        _column(sample.trainer_log_probs_nats, n, reading),
        sample.group if sample.group is not None else hashlib.sha256(prompt.ids.tobytes()).hexdigest()[:16],
        sample.finish_reason,
        prompt.kind,
        asked_words(sample.sampling),
        tuple(dict.fromkeys(sample.weight_versions or ())),
    )


def _column(
    values: Float[np.ndarray, " reported"] | None, n: int, reading: Reading
) -> Float[np.ndarray, " completion"]:
    """Numbers of the tokens that were drawn belong to no token of a text that was tokenised again."""
    if values is None or reading.source == "text":
        return np.full(n, np.nan)
    return np.asarray(values, np.float64)[:n]


# ---- a first reading -------------------------------------------------------------------------------------------------


@dataclass
class Survey:
    """What a file holds, counted in one pass; a text's number is its place among those that can be scored."""

    n_rows: int = 0
    n_texts: int = 0
    n_tokens: int = 0
    n_read: int = 0
    """Tokens of prompts and completions."""
    n_drawn: int = 0
    n_ended: int = 0
    n_stopped_without_end: int = 0
    lengths: list[int] = field(default_factory=list)
    groups: dict[str, int] = field(default_factory=dict)
    group_of: list[int] = field(default_factory=list)
    copies: set[int] = field(default_factory=set)
    excluded: dict[str, tuple[int, str]] = field(default_factory=dict)
    beginnings: list[Counter[int]] = field(default_factory=lambda: [Counter() for _ in range(N_BEGINNINGS)])
    first_ids: Counter[int] = field(default_factory=Counter)
    """First ids of prompts."""
    prompts: Counter[PromptKind] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    weight_versions: Counter[str] = field(default_factory=Counter)
    digest: str = ""

    @property
    def excluded_rows(self) -> tuple[ExcludedRows, ...]:
        return tuple(ExcludedRows(reason, n, example) for reason, (n, example) in self.excluded.items())

    @property
    def n_same_beginning(self) -> int:
        """First tokens that every completion has alike."""
        alike = (len(c) == 1 and c.total() == self.n_texts for c in self.beginnings)
        return next((i for i, same in enumerate(alike) if not same), N_BEGINNINGS)

    @property
    def ends_missing(self) -> bool:
        """Whether completions that ended lack their end token, or none has one."""
        return self.n_ended == 0 or self.n_stopped_without_end > 0


def survey(samples: SampleFile, reading: Reading) -> Survey:
    """Read the file once.

    Raises:
        DataError: a damaged file.
    """
    found, digest, seen = Survey(), hashlib.sha256(), set()
    for text in texts_of(samples, reading):
        found.n_rows += 1
        if isinstance(text, Unusable):
            n, example = found.excluded.get(text.reason, (0, text.detail))
            found.excluded[text.reason] = (n + 1, example)
            continue
        for part in (text.prompt, text.completion, text.drawn, text.reported_nats, text.trainer_nats):
            digest.update(part.tobytes())
        key = hashlib.sha256(text.prompt.tobytes() + b"\0" + text.completion.tobytes()).digest()
        if key in seen and len(text.completion) >= COPY_TOKENS:
            found.copies.add(found.n_texts)
        seen.add(key)
        _count(found, text, reading.predictor.end_ids)
    found.digest = digest.hexdigest()
    return found


def _count(found: Survey, text: Text, end_ids: tuple[int, ...]) -> None:
    ended = int(text.completion[-1]) in end_ids and bool(text.drawn[-1])  # a template may have put it there
    found.n_texts += 1
    found.n_tokens += len(text.completion)
    found.n_read += len(text.ids)
    found.n_drawn += int(text.drawn.sum())
    found.n_ended += ended
    found.n_stopped_without_end += not ended and says_it_ended(text.finish_reason) is True
    found.prompts[text.prompt_kind] += 1
    found.weight_versions.update(text.weight_versions)
    if text.asked:
        found.asked[text.asked] += 1
    found.lengths.append(len(text.completion))
    found.group_of.append(found.groups.setdefault(text.group, len(found.groups)))
    if len(text.prompt):
        found.first_ids[int(text.prompt[0])] += 1
    for counter, token in zip(found.beginnings, text.completion.tolist(), strict=False):
        counter[token] += 1
