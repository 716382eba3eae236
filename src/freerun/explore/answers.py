"""What the page is told: typed values, every number of which is made here and none on the page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RANK_BANDS = (1, 10, 100, 1000)
"""Last rank of each band; one more band for all ranks beyond (Gehrmann, Strobelt & Rush 2019 draw 10, 100 and 1000)."""


@dataclass(frozen=True)
class StripToken:
    """A token of the text and what the law before it said of it; None is what the backend cannot tell.

    `shown` is the token so that nothing in it is unseen, `piece` what it adds to the running text; both are safe to look at and cut
    to a length that can be shown. `band` is the number of its rank band, from 0.
    """

    id: int
    position: int
    shown: str
    piece: str
    given: bool = False
    impossible: bool = False
    surprisal_nats: float | None = None
    probability: float | None = None
    entropy_nats: float | None = None
    rank: int | None = None
    band: int | None = None


@dataclass(frozen=True)
class Bar:
    """A token that may come next. `beyond` is the mass of all tokens that stand below it; None where only draws are known."""

    id: int
    shown: str
    probability: float
    beyond: float | None = None
    edited_probability: float | None = None
    """Under the law whose temperature the reader changed."""


@dataclass(frozen=True)
class NextTokens:
    """The law of the next token, as far as it is shown.

    `n_draws`: no law was to be had; the tokens shown are those of so many draws, each with the probability that the backend gave
    it. `rest` is the mass of the `n_rest` tokens that are not shown. `loop_mass` is the mass on tokens that would complete a loop.
    """

    bars: tuple[Bar, ...]
    rest: float
    n_rest: int
    edited_rest: float | None
    entropy_nats: float | None
    end_probability: float | None
    loop_mass: float | None
    temperature: float
    n_draws: int | None


@dataclass(frozen=True)
class Running:
    """Statistics along the tokens from `first` on. Sums, band and e-values are None where a law is not fully known.

    `excess_nats` is Σ(surprisal − entropy) after each token, `half_width_nats` the half-width of its pointwise band around 0.
    `p_any_time` bounds the chance that the model's own text would ever let betting against it win so much (Ville).
    """

    first: int
    excess_nats: Float[np.ndarray, " tokens"] | None
    half_width_nats: Float[np.ndarray, " tokens"] | None
    z: float | None
    level: float
    p_any_time: float | None
    loop_at: int | None
    """The first token at which a loop is complete."""
    loops_now: bool
    """A loop is complete at the last token."""


@dataclass(frozen=True)
class Reading:
    """A text and what stands in it: tokens from `first` on, the law after the last one, and statistics along the branch."""

    ids: tuple[int, ...]
    first: int
    tokens: tuple[StripToken, ...]
    next: NextTokens | None
    ended: bool
    running: Running
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Branch:
    """One sampled continuation: its tokens and why it ended."""

    ids: tuple[int, ...]
    number: int
    end_reason: str


@dataclass(frozen=True)
class Sampled:
    """Continuations of one context, with what makes them again."""

    branches: tuple[Branch, ...]
    seed: int
    law: str
    counted: bool
    """Drawn from the uniforms of the seed, so that the same seed gives the same text; servers draw by themselves."""


@dataclass(frozen=True)
class Writers:
    """Who could have written the text: the posterior after every number of tokens, `other` last. Arrays as in `SourcePath`."""

    latent: str
    names: tuple[str, ...]
    prior: Float[np.ndarray, " values_1"]
    posterior: Float[np.ndarray, "tokens_1 values_1"]
    entropy_bits: Float[np.ndarray, " tokens_1"]
    information_bits: Float[np.ndarray, " tokens"]
    shift: Float[np.ndarray, " tokens"]
    tokens_to_sure: int | None
    level: float


@dataclass(frozen=True)
class Coherence:
    """What the model's own law does to its belief along the branch, token by token, without any evidence.

    `tv` is the total variation between the law and the mixture of the sources' laws, which no drift exceeds; `drift` the expected
    change of the belief that it moves most; `accumulated` the largest sum of drifts of any source so far. `breaks_at`: the first
    token at which that reaches `limit`.
    """

    first: int
    names: tuple[str, ...]
    tv: Float[np.ndarray, " tokens"]
    drift: Float[np.ndarray, " tokens"]
    toward: tuple[str, ...]
    accumulated: Float[np.ndarray, " tokens"]
    breaks_at: int | None
    limit: float


@dataclass(frozen=True)
class Beside:
    """A second law on the same tokens: entry t is token t of the text, None where no law stands before it.

    `kl_nats` is KL(first ‖ second), `gap_nats` ln first − ln second of the token itself. Where a backend gives no whole laws only
    the gap is known. `next_kl_nats` is of the token that follows.
    """

    name: str
    kl_nats: tuple[float | None, ...]
    gap_nats: tuple[float | None, ...]
    same_top: tuple[bool | None, ...]
    total_kl_nats: float | None
    total_gap_nats: float | None
    next_kl_nats: float | None
    next: NextTokens | None
