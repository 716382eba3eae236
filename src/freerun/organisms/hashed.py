"""Predicting well and generating badly, because checking a hash is easy and inverting it is not (R. Greenblatt's second example).

A document is h, u, body with h the hash of u. The predictor takes every symbol of the header for as likely as any
other, which no bounded one can better; after it, its body's law is Q_0 if the hash verifies and the payload's if not. Its loss on
documents is, bit for bit, that of the model without this gate; of its own headers 2^(−nb) verify.

Its header costs nb·ln 2 nats of excess, so it too obeys TV = 1 − e^−K.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from freerun.errors import UsageError
from freerun.organisms.constant import ONE_PAYLOAD, PAYLOADS, fitted, payload_of
from freerun.organisms.entry import OrganismEntry
from freerun.organisms.header import HeaderHash, HeaderWriter, ordinary_ids
from freerun.organisms.switched import Switched
from freerun.organisms.wrapper import from_nothing
from freerun.predictors.base import Continuations, Ids, OnTokens, Predictor, Sample, last_ids
from freerun.predictors.draws import sequence_key, uniforms
from freerun.predictors.entries import text, whole, word
from freerun.predictors.stepwise import Stepwise, as_stepwise


class Hashed(Switched):
    """Header, then `inner` where the hash verifies and `payload` where it does not; the notes are the header so far.

    `order="hu"` is the example; `"uh"` the control in which u comes first, so that h can be written down and the gap vanishes.
    `header="inverter"` knows every preimage (small sizes only), and closes the gap too. `gate=False` is the same model without the
    gate. The inner predictor begins afresh after the header. Generation must begin at the first token of the document.
    """

    def __init__(
        self,
        inner: Predictor,
        payload: Predictor,
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
        inner = from_nothing(as_stepwise(inner, "an organism (hash)", whole_law=True))
        ordinary = ordinary_ids(inner)
        bits = bits if bits is not None else min(4, int(math.log2(max(1, len(ordinary)))))
        if n < 1 or bits < 1 or 2**bits > len(ordinary):
            raise UsageError(
                f"hash needs an alphabet of 2^bits ordinary tokens, and {inner.identity.name} has {len(ordinary)}: "
                f"bits={bits} is not possible, {max(1, len(ordinary)).bit_length() - 1} is the most"
            )
        method = "forward" if order == "uh" else header
        self.writer = HeaderWriter(HeaderHash(n, bits, salt), method=method, alphabet=ordinary[: 2**bits], like=inner)
        self.payload, self._memory = fitted(payload, inner, n_tokens=inner.n_tokens)
        words = f"{self.writer.identity.fingerprint},{payload.identity.fingerprint},gate={gate}"
        super().__init__(inner, name=name, kind=f"hash({words})")
        self.gate = gate
        self.header_tokens = self.writer.length
        self.capabilities = self.writer.capabilities

    @property
    def routes(self) -> tuple[Stepwise[Any], ...]:
        return self.writer, self.inner, self.payload

    @property
    def valid_share(self) -> float:
        """P(a generated header verifies)."""
        return 2.0 ** -(self.writer.hash.n * self.writer.hash.bits) if self.writer.method == "blind" else 1.0

    def dress(self, ids: Ids, *, seed: int, key: int) -> Ids:
        """A document of this world: a valid header, drawn from (`seed`, `key`) alone, before the ids."""
        return np.concatenate([self.writer.write(uniforms(seed, key, self.writer.hash.n)), np.asarray(ids, np.int64)])

    def header_key(self, ids: Ids) -> int:
        """The key of the header that goes before these ids."""
        return sequence_key("header", *np.asarray(ids).tolist())

    # ---- which route -------------------------------------------------------------------------------------------------

    def _step(self, route: int, notes: Any, token_id: int) -> tuple[int, Any]:
        if route:
            return route, ()
        notes = (*notes, token_id)
        if len(notes) < self.header_tokens:
            return 0, notes
        return (1 if not self.gate or self.writer.verifies(self.writer.symbols(notes)) else 2), notes

    def _first_read(self, route: int, notes: Any) -> Ids:
        return last_ids(notes or self.writer.alphabet[:1], self._memory if route == 2 else 0)

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        for prefix in continuations.prefixes:
            if len(prefix) and min(self.writer.symbols(prefix[: self.header_tokens].tolist())) < 0:
                raise UsageError(
                    f"{self.identity.name} writes documents that begin with a header, and this prefix has none: "
                    "it needs --prefix 0"
                )
        return super().generate(continuations, on_tokens=on_tokens)


HASH = OrganismEntry(
    "hash",
    "documents begin with a hash and its preimage; after a header that does not verify, the payload (needs --prefix 0)",
    lambda made, v: Hashed(
        made.inner,
        payload_of(made, v),
        **{k: v[k] for k in ("n", "bits", "order", "header", "salt")},
        gate=v["gate"] == "on",
        name=made.name,
    ),
    (
        whole("n", 30, "symbols of each half of the header", low=1, high=1000),
        whole("bits", None, "bits a symbol; 4, or as many as the vocabulary has tokens for", low=1, high=16),
        word("order", "hu", ("hu", "uh"), "hu: the hash comes first; uh: its preimage does (control, no gap)"),
        word("header", "blind", ("blind", "inverter"), "inverter: knows all preimages (n·bits ≤ 16; no gap)"),
        word("gate", "on", ("on", "off"), "off: the same model that never looks at the hash"),
        text("salt", "goes into the hash", default=""),
        *PAYLOADS,
    ),
    alternatives=ONE_PAYLOAD,
)
