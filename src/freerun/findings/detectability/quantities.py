"""The numbers of detectability."""

from __future__ import annotations

from functools import partial

from freerun.results.quantity import Quantity

LEAST_TEST_DOCUMENTS = 8
_quantity = partial(Quantity, "detectability", own_text=True)
HORIZONS = {
    0.60: _quantity("h60", "Free-run horizon H60", "tokens", gates=("h60",), least=LEAST_TEST_DOCUMENTS),
    0.75: _quantity(
        "h75", "Free-run horizon H75", "tokens", gates=("horizon", "h75"), card=True, least=LEAST_TEST_DOCUMENTS
    ),
    0.90: _quantity("h90", "Free-run horizon H90", "tokens", gates=("h90",), least=LEAST_TEST_DOCUMENTS),
}
"""Free-run horizons by the AUC that a detector reaches there."""
H75 = HORIZONS[0.75]
H75_HALF_TRAIN = _quantity("h75_half_train", "H75 with half the training documents", "tokens", paired=False)
FIRST_REJECTED = _quantity("first_rejected", "First length at which a test rejects", "tokens", paired=False)
AUC = _quantity(
    "auc_last",
    "AUC at the longest length",
    "AUC",
    gates=("auc", "auc_last"),
    chance=0.5,
    card=True,
    least=LEAST_TEST_DOCUMENTS,
)
LENGTH_AUC = _quantity(
    "auc_length_alone",
    "AUC of the length alone, for responses of their own length",
    "AUC",
    gates=("auc_length",),
    chance=0.5,
    paired=False,
    least=LEAST_TEST_DOCUMENTS,
)
SMALLEST_AUC = _quantity(
    "smallest_auc", "Smallest AUC that is found in 80% of such audits", "AUC", paired=False, exact=True
)
TV = _quantity(
    "tv_lower", "Total variation, proven at least", "TV", gates=("tv", "tv_lower"), paired=False, chance=0.0, least=0
)
BETS = _quantity("bets_until_rejection", "Test documents until a bet rejects", "documents", paired=False)
QUANTITIES = (
    *HORIZONS.values(),
    H75_HALF_TRAIN,
    FIRST_REJECTED,
    AUC,
    LENGTH_AUC,
    SMALLEST_AUC,
    TV,
    BETS,
)
