"""Pairs of a prompt and a response of its own length: the prompt is the prefix, the response with its end the continuation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments, UsageError
from freerun.text.conversations import Message
from freerun.text.documents import MINIMUM_UNITS, Corpus, Document
from freerun.text.leading import Encode, leading_tokens
from freerun.text.pairs import CONTINUATION_GRID, LeftOut, Pair, PairSet, hash_of


@dataclass(frozen=True)
class Prompting:
    """How the turns before a response become ids. `ids` raises DataError for what cannot be put to the model.

    `end_id` closes a real response that ends within the window; None where nothing ends a text. `window` is the most tokens that
    the model sees, `least_own_tokens` the fewest that the words of a prompt must have.
    """

    ids: Callable[[Sequence[Message]], npt.NDArray[np.int64]]
    own_tokens: Callable[[Sequence[Message]], int]
    end_id: int | None
    window: int | None = None
    least_own_tokens: int = 0


def prompt_pairs(
    corpus: Corpus,
    encode: Encode,
    prompting: Prompting,
    *,
    n_documents: int,
    continuation_tokens: int | None,
    seed: int,
    train_share: float = 0.5,
    minimum_units: int = MINIMUM_UNITS,
) -> PairSet:
    """Return up to `n_documents` pairs; a response is cut after `continuation_tokens` tokens, its end counted as one of them.

    One conversation of each unit is taken, a second only when the units run out, and so on, in the order of a hash; conversations
    that do not fit are left out by count, and the next takes their place. The split is that of `cut_pairs`.

    Raises:
        UsageError: a number that is too small.
        DataError: documents without a prompt, or none that fits; says why.
        TooFewDocuments: fewer than `minimum_units` units fit.
    """
    tokens = CONTINUATION_GRID[0] if continuation_tokens is None else continuation_tokens
    if tokens < 1:
        raise UsageError(f"--tokens {tokens} is too small; give a number of tokens from 1")
    if n_documents < max(minimum_units, 1):
        raise UsageError(f"--documents {n_documents} is too small; give at least {max(minimum_units, 1)}")
    _check_all_prompted(corpus)
    chosen: list[tuple[Document, Pair, int]] = []
    left: Counter[str] = Counter()
    for document in _in_turn(corpus.documents, seed):
        if len(chosen) == n_documents:
            break
        try:
            prefix = _prefix(document, prompting, tokens)
        except DataError as error:
            left[str(error)] += 1
            continue
        chosen.append((document, *_pair(document, prefix, encode, prompting.end_id, tokens)))
    units = sorted({document.unit for document, _, _ in chosen}, key=lambda unit: hash_of(seed, unit))
    if len(units) < max(minimum_units, 1):
        _refuse(corpus, len(units), left, minimum_units)
    train = set(units[: round(train_share * len(units))])
    pairs = [replace(pair, split="train" if pair.unit in train else "test") for _, pair, _ in chosen]
    pairs.sort(key=lambda p: (p.split == "test", hash_of(seed, p.unit), hash_of(seed, p.unit, p.document_id)))
    lengths = np.array([n for _, _, n in chosen])
    return PairSet(
        pairs=tuple(pairs),
        n_documents=len(pairs),
        n_units=len(units),
        n_too_short=0,
        n_ended_in_window=sum(pair.ended for pair in pairs),
        n_at_risk=len(pairs),
        document_tokens_median=float(np.median(lengths)),
        document_tokens_max=int(lengths.max()),
        prefix_tokens=max(len(pair.prefix) for pair in pairs),
        continuation_tokens=tokens,
        train_documents=tuple(d.id for d in corpus.documents if d.unit in train or d.unit not in set(units)),
        cut_tokens=0,
        left_out=tuple(LeftOut(why, n) for why, n in sorted(left.items())),
        free_length=True,
    )


def _check_all_prompted(corpus: Corpus) -> None:
    if without := len(corpus.documents) - corpus.n_prompted:
        raise DataError(
            f"corpus {corpus.spec!r}: {without} of {counted(len(corpus.documents), 'document has', 'documents have')} no prompt; "
            "name its field with --prompt-field, or give conversations (messages) throughout"
        )


def _in_turn(documents: Sequence[Document], seed: int) -> Iterator[Document]:
    """One document of each unit in the order of a hash, then a second of each that has one, in another order, and so on."""
    of_unit: defaultdict[str, list[Document]] = defaultdict(list)
    for document in documents:
        of_unit[document.unit].append(document)
    for members in of_unit.values():
        members.sort(key=lambda member: hash_of(seed, member.unit, member.id))
    turn, going = 0, list(of_unit)
    while going:
        again = (str(turn),) if turn else ()
        for unit in sorted(going, key=lambda unit: hash_of(seed, unit, *again)):
            yield of_unit[unit][turn]
        turn += 1
        going = [unit for unit in going if len(of_unit[unit]) > turn]


def _prefix(document: Document, prompting: Prompting, tokens: int) -> npt.NDArray[np.int32]:
    """Raises DataError, the same sentence for every document with the same fault."""
    if prompting.least_own_tokens and prompting.own_tokens(document.before) < prompting.least_own_tokens:
        raise DataError(
            f"the prompt has fewer than {prompting.least_own_tokens} tokens of its own, so it can be guessed"
        )
    prefix = prompting.ids(document.before).astype(np.int32)
    if prompting.window is not None and len(prefix) + tokens > prompting.window:
        raise DataError(f"prompt and {tokens} tokens after it do not fit the {prompting.window} that the model sees")
    if not len(prefix):
        raise DataError("the prompt has no tokens")
    return _frozen(prefix)


def _pair(
    document: Document, prefix: npt.NDArray[np.int32], encode: Encode, end_id: int | None, tokens: int
) -> tuple[Pair, int]:
    """The pair, its split not known yet, and the tokens of its response."""
    first = leading_tokens(document, encode, tokens + 1)
    ids, ended = first.ids[:tokens], end_id is not None and first.n_tokens < tokens
    if ended:
        ids = np.append(first.ids, np.int32(end_id or 0)).astype(np.int32)
    return Pair(document.id, document.unit, "test", prefix, _frozen(ids), ended=ended), first.n_tokens


def _frozen(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    ids.setflags(write=False)
    return ids


def _refuse(corpus: Corpus, n_units: int, left: Counter[str], minimum_units: int) -> None:
    why = "; ".join(f"{n} left out: {reason}" for reason, n in left.most_common(3))
    if not n_units:
        raise DataError(f"corpus {corpus.spec!r}: no conversation can be used ({why})")
    raise TooFewDocuments(
        f"at least {minimum_units} independent conversations are needed, and corpus {corpus.spec!r} has {n_units}"
        f"{f' ({why})' if why else ''}; give more"
    )
