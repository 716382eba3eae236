"""A file of samples as texts that a model can score, and what stands in the file at a first reading."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError
from freerun.predictors.base import Predictor
from freerun.results.verify import ExcludedRows
from freerun.samples.checks import check_vocabulary
from freerun.samples.completion import Completion, Excluded, Part
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

    @property
    def ids(self) -> Int[np.ndarray, " text"]:
        return np.concatenate([self.prompt, self.completion])


@dataclass(frozen=True)
class Unusable:
    """A row that cannot be scored, and why."""

    reason: str
    detail: str


def texts_of(samples: SampleFile, predictor: Predictor) -> Iterator[Text | Unusable]:
    """Every row of the file, in its order.

    Raises:
        DataError: a file of text without ids.
    """
    if any(missing.part is Part.COMPLETION_IDS for missing in samples.missing):
        raise DataError(
            f"{samples.path} ({samples.format}) holds text without ids; verify needs the ids that were drawn: text has to be "
            "tokenised again, which need not give the same tokens. Let the engine return ids (vLLM: return_token_ids)"
        )
    prompts: dict[str, Int[np.ndarray, " prompt"]] = {}
    for sample in samples:
        if isinstance(sample, Completion):
            sample = check_vocabulary(sample, predictor.n_tokens)
        if isinstance(sample, Excluded):
            yield Unusable(str(sample.reason), sample.detail)
        else:
            yield _text(sample, predictor, prompts)


def _text(sample: Completion, predictor: Predictor, prompts: dict[str, Int[np.ndarray, " prompt"]]) -> Text | Unusable:
    if sample.completion_ids is None:
        return Unusable("text without ids", "the ids that were drawn are not there")
    if sample.prompt_ids is not None:
        prompt = np.asarray(sample.prompt_ids, np.int64)
    elif sample.prompt is not None:
        if sample.prompt not in prompts:
            lead = np.array(predictor.context.lead, np.int64)
            prompts[sample.prompt] = np.concatenate([lead, np.asarray(list(predictor.encode(sample.prompt)), np.int64)])
        prompt = prompts[sample.prompt]
    else:
        kind = "chat prompt without ids" if sample.messages is not None else "no prompt"
        return Unusable(kind, "what stood before the completion is not known as ids or text")
    completion = np.asarray(sample.completion_ids, np.int64)
    n = len(completion)
    if not len(prompt) and not predictor.capabilities.empty_context:
        return Unusable("empty prompt", "the model has no law before the first token")
    window = predictor.context.window
    most = None if window is None else window + len(predictor.context.lead)
    if most is not None and len(prompt) + n > most:
        return Unusable("longer than the window", f"{len(prompt)} + {n} tokens; the model sees {most:,}")
    nothing = np.full(n, np.nan)
    return Text(
        sample.row,
        prompt,
        completion,
        np.ones(n, bool) if sample.drawn is None else np.asarray(sample.drawn, bool),
        nothing if sample.log_probs_nats is None else np.asarray(sample.log_probs_nats, np.float64),
        nothing if sample.trainer_log_probs_nats is None else np.asarray(sample.trainer_log_probs_nats, np.float64),
        sample.group if sample.group is not None else hashlib.sha256(prompt.tobytes()).hexdigest()[:16],
        sample.finish_reason,
    )


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


_ENDED = {"stop", "eos", "end_turn", "eos_token", "completed"}


def survey(samples: SampleFile, predictor: Predictor) -> Survey:
    """Read the file once.

    Raises:
        DataError: a file of text without ids, or a damaged one.
    """
    found, digest, seen = Survey(), hashlib.sha256(), set()
    for text in texts_of(samples, predictor):
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
        _count(found, text, predictor.end_ids)
    found.digest = digest.hexdigest()
    return found


def _count(found: Survey, text: Text, end_ids: tuple[int, ...]) -> None:
    ended = int(text.completion[-1]) in end_ids
    found.n_texts += 1
    found.n_tokens += len(text.completion)
    found.n_read += len(text.ids)
    found.n_drawn += int(text.drawn.sum())
    found.n_ended += ended
    found.n_stopped_without_end += not ended and text.finish_reason in _ENDED
    found.lengths.append(len(text.completion))
    found.group_of.append(found.groups.setdefault(text.group, len(found.groups)))
    if len(text.prompt):
        found.first_ids[int(text.prompt[0])] += 1
    for counter, token in zip(found.beginnings, text.completion.tolist(), strict=False):
        counter[token] += 1
