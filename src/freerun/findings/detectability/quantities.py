"""The numbers of detectability."""

from __future__ import annotations

from functools import partial

from freerun.results.quantity import Quantity

_quantity = partial(Quantity, "detectability", own_text=True)
HORIZONS = {
    0.60: _quantity("h60", "Free-run horizon H60", "tokens", gates=("h60",)),
    0.75: _quantity("h75", "Free-run horizon H75", "tokens", gates=("horizon", "h75"), card=True),
    0.90: _quantity("h90", "Free-run horizon H90", "tokens", gates=("h90",)),
}
"""Free-run horizons by the AUC that a detector reaches there."""
H75 = HORIZONS[0.75]
H75_HALF_TRAIN = _quantity("h75_half_train", "H75 with half the training documents", "tokens", paired=False)
FIRST_REJECTED = _quantity("first_rejected", "First length at which a test rejects", "tokens", paired=False)
AUC = _quantity("auc_last", "AUC at the longest length", "AUC", gates=("auc", "auc_last"), chance=0.5, card=True)
SMALLEST_AUC = _quantity(
    "smallest_auc", "Smallest AUC that would be found with 80% power", "AUC", paired=False, exact=True
)
TV = _quantity("tv_lower", "Total variation, proven at least", "TV", gates=("tv", "tv_lower"), paired=False, chance=0.0)
BETS = _quantity("bets_until_rejection", "Test documents until a bet rejects", "documents", paired=False)
KAPPA = _quantity("kappa", "κ of AUC = Φ(√(κT))", "per token", paired=False)
EXPONENT = _quantity("exponent", "Exponent of growth (½ under the law)", "power of T", paired=False)
LAW_FIT = _quantity("law_fit_p", "Fit of that law, p", "p-value", paired=False, exact=True)
QUANTITIES = (
    *HORIZONS.values(),
    H75_HALF_TRAIN,
    FIRST_REJECTED,
    AUC,
    SMALLEST_AUC,
    TV,
    BETS,
    KAPPA,
    EXPONENT,
    LAW_FIT,
)
