"""The numbers of a distance between two models."""

from __future__ import annotations

from functools import partial

from freerun.results.quantity import Quantity

_tokens = partial(Quantity, "tokens")
_writers = partial(Quantity, "writers", own_text=True)
KL = _tokens("kl_nats", "KL(A‖B) of the next token", "nats/token", gates=("kl_nats",), card=True)
KL_REVERSE = _tokens("kl_reverse_nats", "KL(B‖A) of the next token", "nats/token")
SAME_TOP = _tokens("same_top", "Tokens with the same most probable token", "share", gates=("same_top",), card=True)
TOKEN_TV = _tokens("token_tv", "Total variation of the next token", "TV")
LOSS_DIFFERENCE = _tokens("loss_difference_nats", "Loss, B minus A", "nats/token")
DELTA_P = _tokens("delta_p", "Probability of the token that comes, B minus A", "share")
LEAST_FOR_TV = 2
"""The limits of a total variation hold at any number of documents."""
TV = _writers("tv", "Total variation of whole texts", "TV", gates=("tv",), card=True, least=LEAST_FOR_TV)
K = _writers("k_nats", "K, nats that A's text holds against B", "nats/text", gates=("k_nats",), card=True)
K_REVERSE = _writers("k_reverse_nats", "K, nats that B's text holds against A", "nats/text")
AUC = _writers("best_auc", "AUC of the best possible detector", "AUC", chance=0.5)
HORIZONS = {
    0.60: _writers("best_h60", "Best possible detector reaches AUC 0.60", "tokens"),
    0.75: _writers("best_h75", "Best possible detector reaches AUC 0.75", "tokens", gates=("best_horizon",), card=True),
    0.90: _writers("best_h90", "Best possible detector reaches AUC 0.90", "tokens"),
}
TRAINED_AUC = _writers("trained_auc", "AUC of a trained detector", "AUC", chance=0.5)
QUANTITIES = (
    KL,
    KL_REVERSE,
    SAME_TOP,
    TOKEN_TV,
    LOSS_DIFFERENCE,
    DELTA_P,
    TV,
    K,
    K_REVERSE,
    AUC,
    *HORIZONS.values(),
    TRAINED_AUC,
)
GATES = {name: quantity for quantity in QUANTITIES for name in quantity.gates}
"""What `--fail-on` of a distance can name."""
