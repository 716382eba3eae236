"""The source text's second example: predicting well and generating badly, because checking a hash is easy and inverting it is not.

A document is h, u, body with h the hash of u (METHODS 6.3). The predictor takes every symbol of the header for as likely as any
other, which no bounded one can better; after it, its body's law is Q_0 if the hash verifies and the payload's if not. Its loss on
documents is, bit for bit, that of the model without this gate; of its own headers 2^(−nb) verify.

Its header costs nb·ln 2 nats of excess, so it too obeys TV = 1 − e^−K.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.organisms.constant import Echo, last_ids
from freerun.organisms.header import HeaderHash, HeaderWriter, ordinary_ids
from freerun.organisms.switched import Switched
from freerun.organisms.wrapper import MODEL_LAW, check_shares_vocabulary, from_nothing
from freerun.predictors.base import Predictor, Sample
from freerun.predictors.draws import sequence_key, uniforms
from freerun.predictors.rules import SamplingRule
from freerun.stats.loops.lag_runs import LoopRule

Ids = Int[np.ndarray, " tokens"]


class Hashed(Switched):
    """Header, then `inner` where the hash verifies and `payload` where it does not; the notes are the header so far.

    `order="hu"` is the example; `"uh"` the control in which u comes first, so that h can be written down and the gap vanishes.
    `header="inverter"` knows every preimage (small sizes only), and closes the gap too. `gate=False` is the same model without the
    gate. The inner predictor begins afresh after the header. Generation must begin at the first token of the document.
    """

    def __init__(
        self,
        inner: Predictor[Any],
        payload: Predictor[Any],
        *,
        n: int = 30,
        bits: int | None = None,
        salt: str = "",
        order: str = "hu",
        header: str = "blind",
        gate: bool = True,
        name: str,
    ) -> None:
        if order == "uh" and header == "inverter":
            raise UsageError("header=inverter has nothing to invert with order=uh: choose one of them")
        inner = from_nothing(inner)
        ordinary = ordinary_ids(inner)
        bits = bits if bits is not None else min(4, int(math.log2(max(1, len(ordinary)))))
        if n < 1 or bits < 1 or 2**bits > len(ordinary):
            raise UsageError(
                f"hash needs an alphabet of 2^bits ordinary tokens, and {inner.identity.name} has {len(ordinary)}: "
                f"bits={bits} is not possible, {max(1, len(ordinary)).bit_length() - 1} is the most"
            )
        method = "forward" if order == "uh" else header
        self.writer = HeaderWriter(HeaderHash(n, bits, salt), method=method, alphabet=ordinary[: 2**bits], like=inner)
        if isinstance(payload, Echo):
            payload = Echo(payload.memory, like=inner, n_tokens=inner.n_tokens)
        else:
            check_shares_vocabulary(inner, payload, role="payload")
        words = f"{self.writer.identity.fingerprint},{payload.identity.fingerprint},gate={gate}"
        super().__init__(inner, name=name, kind=f"hash({words})")
        self.payload = from_nothing(payload)
        self.gate = gate
        self.header_tokens = self.writer.length
        self.capabilities = self.writer.capabilities
        self._memory = payload.memory if isinstance(payload, Echo) else 0

    @property
    def routes(self) -> tuple[Predictor[Any], ...]:
        return self.writer, self.inner, self.payload

    @property
    def half_bits(self) -> int:
        """n·b."""
        return self.writer.hash.n * self.writer.hash.bits

    @property
    def header_excess_nats(self) -> float:
        """What the header costs beyond its entropy, nats a document."""
        return self.half_bits * math.log(2) if self.writer.method == "blind" else 0.0

    @property
    def valid_share(self) -> float:
        """P(a generated header verifies)."""
        return 2.0**-self.half_bits if self.writer.method == "blind" else 1.0

    def dress(self, ids: Ids, *, seed: int, key: int) -> Ids:
        """A document of this world: a valid header, drawn from (`seed`, `key`) alone, before the ids."""
        return np.concatenate([self.writer.write(uniforms(seed, key, self.writer.hash.n)), np.asarray(ids, np.int64)])

    def header_key(self, ids: Ids) -> int:
        """The key of the header that goes before these ids."""
        return sequence_key("header", *np.asarray(ids).tolist())

    # ---- which route -------------------------------------------------------------------------------------------------

    def _begin(self) -> Any:
        return ()

    def _step(self, route: int, notes: Any, token_id: int) -> tuple[int, Any]:
        if route:
            return route, ()
        notes = (*notes, token_id)
        if len(notes) < self.header_tokens:
            return 0, notes
        return (1 if not self.gate or self.writer.verifies(self.writer.symbols(notes)) else 2), notes

    def _first_read(self, route: int, notes: Any) -> Ids:
        if route == 2 and self._memory:
            return last_ids(notes, self._memory, nothing=int(self.writer.alphabet[0]))
        return np.zeros(0, np.int64)

    def generate(
        self,
        prefixes: Sequence[Ids],
        keys: Int[np.ndarray, "prefixes continuations"],
        length: int,
        *,
        seed: int,
        sampling: SamplingRule = MODEL_LAW,
        loop_rule: LoopRule | None = None,
        at_once: int | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> Iterator[Sample]:
        for prefix in prefixes:
            if len(prefix) and min(self.writer.symbols(prefix[: self.header_tokens].tolist())) < 0:
                raise UsageError(
                    f"{self.identity.name} writes documents that begin with a header, and this prefix has none: "
                    "it needs --prefix 0"
                )
        return super().generate(
            prefixes,
            keys,
            length,
            seed=seed,
            sampling=sampling,
            loop_rule=loop_rule,
            at_once=at_once,
            on_tokens=on_tokens,
        )
