"""The documents that an organism knows by heart, counts or is calibrated on, as ids of the predictor inside it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from freerun.counted import counted
from freerun.errors import DataError
from freerun.organisms.entry import Builder
from freerun.organisms.wrapper import Organism, check_shares_vocabulary
from freerun.predictors.base import Ids, Predictor
from freerun.predictors.entries import Parameter, Values
from freerun.text.documents import Corpus, Document, fingerprint

CORPUS = Parameter("corpus", "corpus", "a corpus; with commas in parentheses", required=True)
CALIBRATION, MEMORISED, COUNTED = "calibration", "memorised", "counted"
_WORLD_SEEDS = {CALIBRATION: 1_000_001, MEMORISED: 1_000_002, COUNTED: 1_000_003}
"""A world's documents for an organism are other samples than those that it is audited on."""
_CHARACTERS_PER_TOKEN = 16
_COUNTED_FROM_A_WORLD = 1_000
"""Most documents, and tokens of each, that are sampled from a world to be counted."""


def corpus_ids(made: Builder, values: Values, *, purpose: str, at_least: int = 1) -> dict[str, Ids]:
    """Up to `documents` documents of `corpus` with `at_least` tokens, by name, cut at `tokens`; one of each independent unit.

    Which ones goes by a hash of the purpose and the unit, so it depends neither on the order of the corpus nor on how many
    are asked for.

    Raises:
        UsageError, DataError: no such corpus, or a world with other symbols.
    """
    inner, n_documents, n_tokens = made.inner, values["documents"], values["tokens"]
    chosen: dict[str, Ids] = {}
    units: set[str] = set()
    for document in _documents(values["corpus"], inner, n_documents, n_tokens, purpose):
        if document.unit in units:
            continue
        if document.ids is not None:
            ids = np.array(document.ids[:n_tokens], np.int64)
        else:
            ids = np.array(inner.encode(document.text[: _CHARACTERS_PER_TOKEN * n_tokens])[:n_tokens], np.int64)
        if len(ids) >= at_least:
            chosen[document.id] = ids
            units.add(document.unit)
        if len(chosen) == n_documents:
            break
    return chosen


def without_calibration(corpus: Corpus, predictor: Predictor) -> Corpus:
    """The corpus without the units that the predictor was calibrated on; the same one where it was not.

    Raises:
        DataError: nothing is left.
    """
    names = set(predictor.calibrated_on) if isinstance(predictor, Organism) else set()
    units = {d.unit for d in corpus.documents if d.id in names}
    if not units:
        return corpus
    kept = tuple(d for d in corpus.documents if d.unit not in units)
    if not kept:
        raise DataError(
            f"{predictor.identity.name} was calibrated on all of {corpus.spec}: give another corpus, or fewer documents="
        )
    note = f"{counted(len(corpus.documents) - len(kept), 'document')} left out, which the model was calibrated on"
    return replace(corpus, documents=kept, fingerprint=fingerprint(kept), notes=(*corpus.notes, note))


def _documents(spec: str, inner: Predictor, n_documents: int, n_tokens: int, purpose: str) -> list[Document]:
    if spec.startswith("world/"):
        from freerun.worlds.catalogue import load_world

        world = load_world(spec.removeprefix("world/"))
        check_shares_vocabulary(inner, world, role="corpus", some=True)
        if purpose == COUNTED:
            n_documents, n_tokens = min(n_documents, _COUNTED_FROM_A_WORLD), min(n_tokens, _COUNTED_FROM_A_WORLD)
        return list(world.corpus(n_documents, n_tokens, seed=_WORLD_SEEDS[purpose]).documents)
    from freerun.text.corpora import read_corpus

    documents = read_corpus(spec, single_ok=True).documents
    return sorted(documents, key=lambda d: hashlib.sha256(f"{purpose}/{d.unit}/{d.id}".encode()).hexdigest())
