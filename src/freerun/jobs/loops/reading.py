"""From files and runs to texts as ids, with what was left out counted by name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int

from freerun.counted import counted
from freerun.errors import DataError, UsageError
from freerun.jobs.loops.spelling import BareIds, InWords, Spelling
from freerun.results.loops import RowsLeftOut, TextsRead
from freerun.samples.completion import Completion, Excluded, says_it_ended
from freerun.stats.loops.texts import Texts
from freerun.text.documents import Corpus

_SHOWN = 3
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class ReadTexts:
    """Texts that can be judged, what they are called and counted in, and what is said of reading them."""

    texts: Texts
    names: tuple[str, ...]
    facts: TextsRead
    spelling: Spelling


@dataclass(frozen=True, eq=False)
class Sides:
    """Generated texts, and real ones in the same unit; `matched`: both continue the same documents, which are their groups."""

    own: ReadTexts
    real: ReadTexts | None
    title: str
    matched: bool = False


@dataclass
class Gathering:
    """Rows as they come: their ids, what they depend on, and what was left out."""

    prompts: list[Int[np.ndarray, " _prompt"]] = field(default_factory=list)
    completions: list[Int[np.ndarray, " _completion"]] = field(default_factory=list)
    ended: list[bool | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    left_out: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def leave_out(self, reason: str, detail: str) -> None:
        """Count a row that cannot be used; the first few are kept."""
        self.left_out[reason].append(detail if len(self.left_out[reason]) < _SHOWN else "")

    def finish(
        self,
        *,
        name: str,
        format: str,
        spelling: Spelling,
        undrawn: int = 0,
        without_prompt: int = 0,
        notes: Sequence[str] = (),
    ) -> ReadTexts:
        """The texts.

        Raises:
            DataError: none can be used.
        """
        left_out = tuple(
            RowsLeftOut(reason, len(rows), tuple(r for r in rows[:_SHOWN] if r))
            for reason, rows in sorted(self.left_out.items())
        )
        if not self.completions:
            why = "; ".join(f"{counted(left.rows, 'row')} left out: {left.reason}" for left in left_out)
            raise DataError(f"{name}: no text in it can be used ({why or 'it is empty'})")
        labels = np.unique(np.array(self.groups), return_inverse=True)[1]
        bare = Texts.of(
            self.completions,
            prompts=self.prompts,
            ended=[e is not False for e in self.ended],
            groups=labels.tolist(),
        )
        texts = replace(bare, numbers=spelling.numbers(bare.ids))
        facts = TextsRead(
            name=name,
            format=format,
            texts=texts.n,
            independent=int(np.unique(labels).size),
            tokens=texts.n_tokens,
            longest_tokens=int(texts.lengths.max()),
            prompt_tokens=int(texts.prompts.sum()),
            ended=sum(e is True for e in self.ended),
            cut_off=sum(e is False for e in self.ended),
            end_unknown=sum(e is None for e in self.ended),
            copies=texts.n - len({digest_of(ids) for ids in self.completions}),
            with_undrawn=undrawn,
            without_prompt=without_prompt,
            left_out=left_out,
            notes=tuple(notes),
        )
        return ReadTexts(texts, tuple(self.names), facts, spelling)


# ---- samples -----------------------------------------------------------------------------------------------------------


def gather_samples(
    rows: Iterable[Completion | Excluded], *, name: str, format: str, spelling: Spelling | None, history: bool
) -> ReadTexts:
    """Samples as texts. Without a spelling it is chosen: ids where every row has them, else words.

    Samples of one group, or of one prompt, depend on each other, and so do those that are the same text. Tokens that were not drawn
    repeat nothing.

    Raises:
        DataError: no row can be used. UsageError: rows with ids and rows without, and nothing to make one kind of them.
    """
    kept: list[Completion] = []
    gathering = Gathering()
    for row in rows:
        if isinstance(row, Excluded):
            gathering.leave_out(row.reason, f"row {row.row}: {row.detail}")
        elif not (row.completion or (row.completion_ids is not None and row.completion_ids.size)):
            gathering.leave_out("empty completion", f"row {row.row}")
        else:
            kept.append(replace(row, log_probs_nats=None, trainer_log_probs_nats=None, sampling={}))
    if spelling is None:
        spelling = _spelling_of(kept, name)
    undrawn = 0
    for chunk in _chunks(kept):
        for row, ids, prompt in zip(chunk, *_ids_of(chunk, spelling, history), strict=True):
            if ids is None:
                what = "ids" if spelling.encode([]) is None else "text"
                gathering.leave_out(f"no {what}", f"row {row.row}")
                continue
            if not ids.size:
                gathering.leave_out("empty completion", f"row {row.row}")
                continue
            if row.drawn is not None and row.drawn.size == ids.size and not row.drawn.all():
                ids, undrawn = without_undrawn(ids, row.drawn), undrawn + 1
            gathering.completions.append(ids)
            gathering.prompts.append(prompt)
            gathering.ended.append(ended(row.finish_reason, ids, spelling))
            gathering.groups.append(_group_of(row, ids))
            gathering.names.append(f"row {row.row}")
    without_prompt = sum(not row.has_prompt for row in kept)
    return gathering.finish(name=name, format=format, spelling=spelling, undrawn=undrawn, without_prompt=without_prompt)


def _spelling_of(rows: list[Completion], name: str) -> Spelling:
    """Bare ids where every row has them, words where every row has text."""
    if all(row.completion_ids is not None for row in rows):
        return BareIds()
    if all(row.completion is not None for row in rows):
        return InWords()
    raise UsageError(
        f"{name} holds rows with ids and rows with text alone: name the tokenizer of the ids, for the text too (--tokenizer MODEL)"
    )


def _ids_of(
    rows: list[Completion], spelling: Spelling, history: bool
) -> tuple[list[Int[np.ndarray, " _ids"] | None], list[Int[np.ndarray, " _prompt"]]]:
    """Ids of completions (None: a row has no way to them) and of their prompts (none where there are no ids and no text)."""
    none = np.zeros(0, np.int32)
    words = spelling.unit == "words"
    completions = [None if words else row.completion_ids for row in rows]
    prompts = [None if words else row.prompt_ids for row in rows] if history else [none for _ in rows]
    for column, texts in ((completions, [r.completion for r in rows]), (prompts, [r.prompt for r in rows])):
        wanted = [
            i for i, (ids, text) in enumerate(zip(column, texts, strict=True)) if ids is None and text is not None
        ]
        made = spelling.encode([texts[i] or "" for i in wanted]) or []
        for i, ids in zip(wanted, made, strict=False):
            column[i] = ids
    return completions, [none if p is None else p for p in prompts]


def without_undrawn(ids: Int[np.ndarray, " completion"], drawn: np.ndarray) -> Int[np.ndarray, " completion"]:
    """Every token that was not drawn becomes an id of its own, which repeats nothing."""
    out = ids.astype(np.int64)
    out[~drawn] = int(ids.max()) + 1 + np.arange(int((~drawn).sum()))
    return out


def ended(finish_reason: str | None, ids: Int[np.ndarray, " completion"], spelling: Spelling) -> bool | None:
    """Whether a text ended by itself; None where nothing says so."""
    return True if int(ids[-1]) in spelling.end_ids else says_it_ended(finish_reason)


def _group_of(row: Completion, ids: Int[np.ndarray, " completion"]) -> str:
    """What a sample depends on: its group, its prompt, or only texts that are equal to it."""
    if row.group is not None:
        return f"group {row.group}"
    if row.prompt_ids is not None and row.prompt_ids.size:
        return f"ids {digest_of(row.prompt_ids)}"
    if row.messages:
        said = "\n".join(f"{message.role}\n{message.content}" for message in row.messages)
        return f"messages {hashlib.sha256(said.encode('utf-8', 'surrogatepass')).hexdigest()}"
    if row.prompt:
        return f"prompt {hashlib.sha256(row.prompt.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return f"text {digest_of(ids)}"


def digest_of(ids: Int[np.ndarray, " tokens"]) -> str:
    """The same for equal ids, and for no others."""
    return hashlib.sha256(ids.astype(np.int64).tobytes()).hexdigest()


def _chunks(rows: list[Completion]) -> Iterator[list[Completion]]:
    for at in range(0, len(rows), _CHUNK):
        yield rows[at : at + _CHUNK]


# ---- corpora -----------------------------------------------------------------------------------------------------------


def gather_corpus(corpus: Corpus, spelling: Spelling) -> ReadTexts:
    """Documents as texts that ended by themselves, with no prompt; documents of one unit depend on each other.

    Raises:
        UsageError: there is no way from text to ids. DataError: no document has a token.
    """
    if spelling.encode([]) is None:
        raise UsageError(
            f"{corpus.name} is text, and the samples are ids of an unknown tokenizer: name it (--tokenizer MODEL), or count "
            "words where the samples have text too (--words)"
        )
    gathering = Gathering()
    for at in range(0, len(corpus.documents), _CHUNK):
        documents = corpus.documents[at : at + _CHUNK]
        for document, ids in zip(documents, spelling.encode([d.text for d in documents]) or [], strict=True):
            if not ids.size:
                gathering.leave_out("empty document", document.id)
                continue
            gathering.completions.append(ids)
            gathering.prompts.append(np.zeros(0, np.int32))
            gathering.ended.append(True)
            gathering.groups.append(document.unit)
            gathering.names.append(document.id)
    return gathering.finish(name=corpus.spec, format="documents", spelling=spelling, notes=corpus.notes)
