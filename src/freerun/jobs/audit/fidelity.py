"""What the tokenizer does to the text before it is scored: lower case, composed accents, folded spaces, unknown words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from freerun.errors import DataError
from freerun.predictors.base import Predictor
from freerun.text.documents import Corpus, Document
from freerun.text.leading import CHARACTERS_PER_TOKEN, DROPPED_TOKENS
from freerun.text.pairs import Pair, PairSet


@dataclass(frozen=True)
class Fidelity:
    """How the tokens of the documents in use compare with their text, byte for byte, up to the last token that is scored."""

    documents: int
    """Read as text; documents that are given as ids have nothing to compare."""
    changed: int
    """Their tokens spell something else than the text."""
    space_first: int
    """Their tokens spell the text with one space more in front, and nothing else is changed."""
    control_tokens: dict[str, int]
    """Special tokens (the one for what is unknown, as a rule) that encoding gives, with the number of documents that hold them."""
    original_bytes: int
    """Of the text of the continuations of all these documents."""
    token_bytes: int
    """That the tokens of the same continuations stand for."""
    original_bytes_of: dict[str, int]
    """By document, where the two differ."""
    by_offsets: bool
    """Whether the tokenizer says where in the text each token stands; else original bytes are in proportion to the document's."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fidelity(corpus: Corpus, predictor: Predictor, pairs: PairSet) -> Fidelity:
    """Compare the text of every document in use with what its tokens spell.

    Raises:
        DataError: the tokens of the documents are special ones throughout: the tokenizer knows nothing of this text.
    """
    by_id: Mapping[str, Document] = {d.id: d for d in corpus.documents if d.ids is None}
    read = [p for p in pairs.pairs if p.document_id in by_id]
    _check_known(corpus, predictor, read)
    changed = space_first = original = spelled = 0
    of: dict[str, int] = {}
    by_offsets = True
    for pair in read:
        text, ids = _beginning(by_id[pair.document_id].text, predictor, pairs)
        kept = ids[: pairs.cut_tokens + pairs.continuation_tokens]
        whole, mine = _bytes(predictor, kept), len(_bytes(predictor, pair.continuation))
        data = text.encode("utf-8", "surrogatepass")
        n_original = mine
        if not data.startswith(whole):
            if whole[:1] == b" " and data.startswith(whole[1:]):
                space_first += 1
                n_original -= not pairs.cut_tokens
            else:
                changed += 1
                ends = predictor.token_ends(text)
                by_offsets &= ends is not None
                if ends is None:
                    n_original = round(mine * len(data) / max(1, len(_bytes(predictor, ids))))
                else:
                    first = ends[pairs.cut_tokens - 1] if pairs.cut_tokens else 0
                    n_original = len(text[first : ends[len(kept) - 1]].encode("utf-8", "surrogatepass"))
        original, spelled = original + n_original, spelled + mine
        if n_original != mine:
            of[pair.document_id] = n_original
    return Fidelity(
        len(read), changed, space_first, _control(predictor, read, pairs), original, spelled, of, by_offsets
    )


def renamed(found: Fidelity, names: Mapping[str, str]) -> Fidelity:
    """The same with other names of documents (`--redact-text`)."""
    return Fidelity(**{**asdict(found), "original_bytes_of": {names[d]: n for d, n in found.original_bytes_of.items()}})


def _beginning(text: str, predictor: Predictor, pairs: PairSet) -> tuple[str, Sequence[int]]:
    """So much of a document that its first tokens are those of the whole, and all its tokens."""
    wanted = pairs.cut_tokens + pairs.continuation_tokens + DROPPED_TOKENS
    part = text[: CHARACTERS_PER_TOKEN * wanted]
    ids = predictor.encode(part)
    return (part, ids) if len(ids) >= wanted or len(part) == len(text) else (text, predictor.encode(text))


def _check_known(corpus: Corpus, predictor: Predictor, read: Iterable[Pair]) -> None:
    control = predictor.markers.control
    ids = np.unique(np.concatenate([np.zeros(0, np.int32), *(x for p in read for x in (p.prefix, p.continuation))]))
    if ids.size and all(int(i) in control for i in ids):
        raise DataError(
            f"the tokenizer of {predictor.identity.name} was not made for this text: it makes nothing of {corpus.spec} but "
            f"{', '.join(control[int(i)] for i in ids)}"
        )


def _control(predictor: Predictor, read: Iterable[Pair], pairs: PairSet) -> dict[str, int]:
    """Documents by the special tokens in their prefix or continuation; of a response by those in its text.

    A template puts such tokens around a prompt, and an end of text closes the response: neither comes from encoding text.
    """
    control = predictor.markers.control
    count: Counter[str] = Counter()
    for pair in read:
        encoded = (
            [pair.continuation[: -1 if pair.ended else None]] if pairs.free_length else [pair.prefix, pair.continuation]
        )
        present = {int(i) for x in encoded for i in np.unique(x)} & control.keys()
        count.update(control[i] for i in present)
    return dict(sorted(count.items()))


def _bytes(predictor: Predictor, ids: Iterable[int]) -> bytes:
    return b"".join(predictor.token_bytes(int(i)) for i in ids)
