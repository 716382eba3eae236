"""Documents and the corpus that holds them: what is independent of what, and what exactly was read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count

from freerun.counted import counted
from freerun.errors import DataError
from freerun.text.conversations import Message, plain

MINIMUM_UNITS = 16
"""Fewer independent units than these are refused."""


@dataclass(frozen=True)
class Document:
    """One text.

    `id` is unique in its corpus. `unit` names what is independent: documents of one unit stay together in every split.
    `meta` holds whatever else the source said, as strings. `ids` are the tokens of a document that a world wrote, and
    None for everything that was read as text. `before` are the turns of a conversation that the text responds to, empty where it
    responds to nothing.
    """

    id: str
    text: str
    unit: str
    meta: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[int, ...] | None = None
    before: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, and what was done to get them.

    `spec` is what was typed. `fingerprint` is the SHA-256 (hex) of the id, unit and text (and ids, where a world gave
    them) of all documents in order. `independent` is False where the units are pieces of one text. `n_duplicates`
    counts the exact duplicates that were dropped, `n_near_duplicates` the documents that share another's unit because they are
    nearly equal to one of it. `notes` are sentences for the report; `named_notes` too, but they name files or fields and have no
    place in a run without text. `n_bad_rows` counts the rows that were left out because they hold no text, `n_unanswered` the
    conversations that do not end with the assistant's turn.
    """

    name: str
    spec: str
    documents: tuple[Document, ...]
    fingerprint: str
    independent: bool
    n_duplicates: int
    notes: tuple[str, ...]
    n_near_duplicates: int = 0
    named_notes: tuple[str, ...] = ()
    n_bad_rows: int = 0
    n_unanswered: int = 0

    @property
    def n_units(self) -> int:
        """The number of independent units."""
        return len({document.unit for document in self.documents})

    @property
    def n_prompted(self) -> int:
        """Documents that respond to a prompt."""
        return sum(bool(document.before) for document in self.documents)


def assemble(
    documents: Iterable[Document],
    *,
    name: str,
    spec: str,
    independent: bool = True,
    notes: Iterable[str] = (),
    named_notes: Iterable[str] = (),
    n_bad_rows: int = 0,
    n_unanswered: int = 0,
) -> Corpus:
    """Return the corpus of these documents but empty ones and exact duplicates (same text up to outer white space, same prompt).

    Near duplicates stay, in one unit (`units_of_near_duplicates`), so that no split can part them. Of exact duplicates
    the first stays. An id that comes again gets `#2`, `#3`, … and keeps its unit. A document that has `ids` is a sample
    of an exact law, where repeats belong to the law: it is never dropped nor joined. Responses to one prompt share a unit.

    Raises:
        DataError: no document is left.

    >>> texts = {"a": "x", "b": "x\\n", "c": " "}
    >>> corpus = assemble([Document(id, text, id) for id, text in texts.items()], name="n", spec="s")
    >>> [document.id for document in corpus.documents], corpus.n_duplicates, corpus.notes
    (['a'], 1, ('1 empty document dropped', '1 exact duplicate dropped'))
    """
    from freerun.text.near_duplicates import units_of_near_duplicates  # NumPy, which help pages do without

    kept: list[Document] = []
    texts: set[tuple[tuple[Message, ...], str]] = set()
    asked: dict[tuple[Message, ...], str] = {}
    ids: set[str] = set()
    counts: Counter[str] = Counter()
    for document in documents:
        if document.ids is None:
            text = document.text.strip()
            if not text:
                counts["empty document"] += 1
                continue
            if (document.before, text) in texts:
                counts["exact duplicate"] += 1
                continue
            texts.add((document.before, text))
        if document.before and (unit := asked.setdefault(document.before, document.unit)) != document.unit:
            counts["same prompt"] += 1
            document = replace(document, unit=unit)
        unique = _unused(document.id, ids)
        if unique != document.id:
            counts["repeated id"] += 1
            document = replace(document, id=unique)
        ids.add(unique)
        kept.append(document)
    if not kept:
        raise DataError(f"corpus {spec!r} holds no text: every document is empty; give one with text in it")
    done = [f"{counted(counts[what], what)} dropped" for what in ("empty document", "exact duplicate") if counts[what]]
    if counts["repeated id"]:
        done.append(f"{counted(counts['repeated id'], 'repeated id')} numbered; documents of one id stay in one unit")
    if counts["same prompt"]:
        n = counts["same prompt"]
        done.append(f"{n} further response{'s' if n > 1 else ''} to a prompt that came before kept in its unit")
    # a world's samples are independent whatever they say, and hold no words to compare
    whole = ["" if document.ids is not None else _read_whole(document) for document in kept]
    units = units_of_near_duplicates(whole, [document.unit for document in kept])
    n_near = sum(document.unit != unit for document, unit in zip(kept, units, strict=True))
    if n_near:
        kept = [replace(document, unit=unit) for document, unit in zip(kept, units, strict=True)]
        done.append(f"{counted(n_near, 'near duplicate')} kept in the unit of the document that it resembles")
    return Corpus(
        name=name,
        spec=spec,
        documents=tuple(kept),
        fingerprint=fingerprint(kept),
        independent=independent,
        n_duplicates=counts["exact duplicate"],
        notes=(*notes, *done),
        n_near_duplicates=n_near,
        named_notes=tuple(named_notes),
        n_bad_rows=n_bad_rows,
        n_unanswered=n_unanswered,
    )


def _read_whole(document: Document) -> str:
    """Prompt and response as one text."""
    return f"{plain(document.before)}\n\n{document.text}" if document.before else document.text


def fingerprint(documents: Iterable[Document]) -> str:
    """Return the SHA-256 (hex) over id, unit and text of each document in order; each field after its length."""
    digest = hashlib.sha256()
    for document in documents:
        fields = [document.id, document.unit, document.text]
        if document.ids is not None:
            fields.append(",".join(map(str, document.ids)))
        for turn in document.before:
            fields += [turn.role, turn.content]
        for value in fields:
            data = value.encode("utf-8")
            digest.update(b"%d:" % len(data))
            digest.update(data)
    return digest.hexdigest()


def _unused(name: str, taken: set[str]) -> str:
    numbered = (f"{name}#{number}" for number in count(2))
    return next(candidate for candidate in chain([name], numbered) if candidate not in taken)
