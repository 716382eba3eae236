"""Headers whose first half is a hash of the second: SHAKE-256 (FIPS 202) over symbols, and predictors that write such headers.

A symbol is a number below 2^b. h = SHAKE-256(domain ‖ salt ‖ pack(u)), its first n·b bits, b bits a symbol, most significant first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Ids, Predictor, SharesTokens
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import log
from freerun.predictors.rowwise import Rowwise
from freerun.predictors.rules import Identity

LARGEST_INVERSE_BITS = 16
"""Most bits of a half that the inverter enumerates."""
Symbols = tuple[int, ...]


@dataclass(frozen=True)
class HeaderHash:
    """The hash of n symbols of b bits each."""

    n: int = 30
    bits: int = 4
    salt: str = ""

    def __call__(self, u: Symbols) -> Symbols:
        """The n symbols that belong to u.

        >>> HeaderHash(4, 2)((0, 1, 2, 3)) == HeaderHash(4, 2)((0, 1, 2, 3)), len(HeaderHash(4, 2)((0, 1, 2, 3)))
        (True, 4)
        """
        total = self.n * self.bits
        n_bytes = -(-total // 8)
        domain = f"freerun header v1, {self.n} symbols of {self.bits} bits\0{self.salt}\0".encode()
        digest = hashlib.shake_256(domain + _number(u, self.bits).to_bytes(n_bytes, "big")).digest(n_bytes)
        return _symbols(int.from_bytes(digest, "big") >> (8 * len(digest) - total), self.n, self.bits)

    @cached_property
    def inverse(self) -> Int[np.ndarray, " values"]:
        """h·2^(nb) + u of every u, ascending: all headers that verify.

        Raises:
            UsageError: more than 2^16 values of u.
        """
        size = self.n * self.bits
        if size > LARGEST_INVERSE_BITS:
            raise UsageError(
                f"header=inverter enumerates 2^(symbols·bits) values, and {self.n}·{self.bits} bits are more than "
                f"{LARGEST_INVERSE_BITS}: choose fewer symbols or bits"
            )
        every = [_number(self(_symbols(u, self.n, self.bits)), self.bits) << size | u for u in range(1 << size)]
        return np.sort(np.array(every, np.int64))


def _number(symbols: Sequence[int], bits: int) -> int:
    value = 0
    for s in symbols:
        value = value << bits | s
    return value


def _symbols(value: int, n: int, bits: int) -> Symbols:
    return tuple(value >> bits * (n - 1 - i) & (1 << bits) - 1 for i in range(n))


def ordinary_ids(like: Predictor) -> list[int]:
    """Ids that stand for printable text without white space and end nothing, ascending: what an alphabet is taken from."""
    barred = {*like.end_ids, *like.context.lead}

    def printable(token_id: int) -> bool:
        try:
            text = like.token_bytes(token_id).decode()
        except UnicodeDecodeError:
            return False
        return bool(text) and text.isprintable() and not any(c.isspace() for c in text)

    return [i for i in range(like.n_tokens) if i not in barred and printable(i)]


class HeaderWriter(SharesTokens, Rowwise[list[Symbols]]):
    """Writes a header of 2n tokens. Its state is the symbols of each row so far (−1: no symbol of the alphabet).

    `blind` takes every symbol for as likely as any other. `forward` writes u first and then what the hash says. `inverter` knows
    every preimage: h from the push-forward of a uniform u, then u from the preimages of h, all alike.
    """

    def __init__(self, hashed: HeaderHash, *, method: str, alphabet: Sequence[int], like: Predictor) -> None:
        if method == "inverter":
            _ = hashed.inverse  # too large a size is said now
        self.hash, self.method = hashed, method
        self.alphabet = np.asarray(alphabet, np.int64)
        self._symbol_of = {int(i): s for s, i in enumerate(alphabet)}
        self._share_tokens(like)
        words = f"{hashed.n},{hashed.bits},{hashed.salt!r},{method},{self.alphabet.tolist()}"
        self.identity = Identity("header", f"header({words})")

    @property
    def length(self) -> int:
        """Tokens of a header."""
        return 2 * self.hash.n

    def symbols(self, ids: Sequence[int]) -> Symbols:
        """The symbol of each id, −1 for ids outside the alphabet."""
        return tuple(self._symbol_of.get(int(i), -1) for i in ids)

    def verifies(self, symbols: Symbols) -> bool:
        """Whether a whole header is one that documents have."""
        if len(symbols) != self.length or min(symbols) < 0:
            return False
        first, second = symbols[: self.hash.n], symbols[self.hash.n :]
        return self.hash(first) == second if self.method == "forward" else self.hash(second) == first

    def write(self, uniforms: Float[np.ndarray, " n"]) -> Int[np.ndarray, " header"]:
        """The ids of a valid header, u drawn uniformly."""
        u = tuple(int(x) for x in np.minimum(uniforms * 2**self.hash.bits, 2**self.hash.bits - 1))
        h = self.hash(u)
        return self.alphabet[list(u + h if self.method == "forward" else h + u)]

    def start(self, prefixes: Sequence[Ids]) -> list[Symbols]:
        return [self.symbols(p.tolist()) for p in prefixes]

    def law(self, state: list[Symbols]) -> Law:
        table = np.zeros((len(state), self.n_tokens))
        for row, symbols in enumerate(state):
            table[row, self.alphabet] = self._next(symbols)
        return Dense(log(np, table))

    def _next(self, symbols: Symbols) -> Float[np.ndarray, " alphabet"]:
        """Probabilities of the next symbol; uniform after anything that no header begins with."""
        size, n = 2**self.hash.bits, self.hash.n
        uniform = np.full(size, 1.0 / size)
        if min(symbols, default=0) < 0 or len(symbols) >= self.length:
            return uniform
        if self.method == "forward" and len(symbols) >= n:
            return np.asarray(np.arange(size) == self.hash(symbols[:n])[len(symbols) - n], np.float64)
        if self.method == "inverter":
            rest = self.hash.bits * (self.length - len(symbols) - 1)
            edges = (_number(symbols, self.hash.bits) * size + np.arange(size + 1)) << rest
            counts = np.diff(np.searchsorted(self.hash.inverse, edges))
            return counts / counts.sum() if counts.any() else uniform
        return uniform

    def advance(self, state: list[Symbols], ids: Int[np.ndarray, " rows"]) -> list[Symbols]:
        return [s + self.symbols([int(i)]) for s, i in zip(state, ids, strict=True)]
