"""What two laws say along the same texts, as arrays: the input of every statistic of two laws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class TwoLaws:
    """Laws p of A and q of B at every token of some texts; columns are texts × tokens, NaN (False) past a text's own tokens.

    All logarithms are natural. `log_p` or `log_q` is −inf where a law gives the token no mass; a divergence is +inf where one
    law has mass that the other lacks. An end token is a token of its text: it counts in every column and in `n_tokens`.
    """

    unit: Int[np.ndarray, " texts"]
    """Number of the independent unit (document, prompt) that a text belongs to."""
    n_tokens: Int[np.ndarray, " texts"]
    """Tokens of the text itself."""
    ended: Bool[np.ndarray, " texts"]
    """Whether the text ended by itself, its end token counted; otherwise it was cut."""
    log_p: Float[np.ndarray, "texts tokens"]
    log_q: Float[np.ndarray, "texts tokens"]
    kl_pq: Float[np.ndarray, "texts tokens"]
    kl_qp: Float[np.ndarray, "texts tokens"]
    tv: Float[np.ndarray, "texts tokens"]
    same_top: Bool[np.ndarray, "texts tokens"]

    @property
    def gap(self) -> Float[np.ndarray, "texts tokens"]:
        """Δ = ln p(x) − ln q(x) of the token that stands there; NaN past the text's end."""
        return np.asarray(self.log_p - self.log_q)
