"""Byte n-grams counted from a corpus."""

from __future__ import annotations

import re

from freerun.errors import UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.ngram import byte_ngram
from freerun.specs.provider import LoadOptions, Provider, Tell


def _load(name: str, options: LoadOptions, tell: Tell) -> Predictor:
    from freerun.text.corpora import read_corpus

    match = re.fullmatch(r"(\d+)@(.+)", name)
    if not match:
        raise UsageError(f"ngram/{name}: give ngram/ORDER@CORPUS, for example ngram/5@builtin/python-docs")
    order = int(match[1])
    if not 1 <= order <= 7:
        raise UsageError(f"ngram/{name}: the order (of bytes) must lie between 1 and 7, not {order}")
    tell(f"counting {match[2]}")
    corpus = read_corpus(match[2], single_ok=True)
    return byte_ngram([d.text for d in corpus.documents], order=order, name=f"ngram/{name}")


NGRAM = Provider(
    "ngram",
    (("ngram/ORDER@CORPUS", "byte n-gram counts of a corpus: a bad model to compare with"),),
    _load,
    own_settings=True,
)
