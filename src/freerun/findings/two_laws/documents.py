"""What each document says of two models: sums of which a run's estimates are the ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.findings.two_laws import quantities
from freerun.findings.two_laws.evidence import TwoModels
from freerun.results.quantity import Quantity
from freerun.stats.two_laws.certificate import mixed_terms
from freerun.stats.two_laws.texts import TwoLaws, sums_to
from freerun.stats.two_laws.token_means import delta_p


@dataclass(frozen=True, eq=False)
class DocumentSums:
    """Σ top / Σ bottom over documents is the estimate (of K and of the total variation where every document has as many texts as the
    others); a document with `bottom` 0 says nothing. `text`: which texts they are sums over."""

    quantity: Quantity
    text: str
    tops: Float[np.ndarray, " documents"]
    bottoms: Float[np.ndarray, " documents"]


def document_sums(models: TwoModels) -> Iterator[DocumentSums]:
    """Of everything that is a mean over documents; what is infinite is left out."""
    arm = models.token_arm
    laws = models.laws(arm)
    assert laws is not None
    columns = {quantities.LOSS_DIFFERENCE: laws.gap}
    if models.has_whole_laws:
        columns = {
            quantities.KL: laws.kl_pq,
            quantities.KL_REVERSE: laws.kl_qp,
            quantities.SAME_TOP: laws.same_top.astype(np.float64),
            quantities.TOKEN_TV: laws.tv,
            **columns,
            quantities.DELTA_P: delta_p(laws),
        }
    for quantity, column in columns.items():
        tops = _by_document(models, laws, np.where(laws.inside, column, 0.0).sum(axis=1))
        yield DocumentSums(quantity, arm, tops, _by_document(models, laws, laws.n_tokens.astype(np.float64)))
    last = models.lengths[-1:]
    a, b = models.laws("a"), models.laws("b")
    sides = [side for side in (a, None if b is None else b.swapped) if side is not None]
    for quantity, side, name in ((quantities.K, a, "a"), (quantities.K_REVERSE, None if b is None else b.swapped, "b")):
        if side is not None:
            yield _of_texts(models, quantity, name, [(side, sums_to(side.kl_pq, side, last)[:, 0])])
    if len(sides) == 2:
        terms = [(side, mixed_terms(side, last)[:, 0]) for side in sides]
        yield _of_texts(models, quantities.TV, "a and b", terms)


def _of_texts(
    models: TwoModels, quantity: Quantity, name: str, parts: list[tuple[TwoLaws, Float[np.ndarray, " texts"]]]
) -> DocumentSums:
    tops = sum((_by_document(models, laws, values) for laws, values in parts), start=np.zeros(_n(models)))
    bottoms = sum(
        (_by_document(models, laws, np.ones(values.size)) for laws, values in parts), start=np.zeros(_n(models))
    )
    return DocumentSums(quantity, name, tops, bottoms)


def _by_document(
    models: TwoModels, laws: TwoLaws, values: Float[np.ndarray, " texts"]
) -> Float[np.ndarray, " documents"]:
    return np.bincount(laws.unit, weights=values, minlength=_n(models))


def _n(models: TwoModels) -> int:
    return len(models.unit_names)
