"""A process with nested structure: sentences of a probabilistic context-free grammar, one after another for ever.

A document begins with a sentence; a separator ends each one. So documents have any length that an audit asks for, while the law of
what comes next is still a ratio of prefix probabilities of one sentence, the one being written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Ids
from freerun.predictors.entries import real
from freerun.worlds.base import World, WorldEntry, digest, spec_name
from freerun.worlds.grammar import Grammar, Rule, SentencePrefix, no_words, read_word

SEPARATOR = "."
MOST_KEPT = 1 << 14
"""Sentence prefixes remembered at most; beyond it the memory is emptied."""


class GrammarWorld(World[list[SentencePrefix]]):
    """Sentences of `grammar`, each followed by the separator, the last id.

    After a symbol that cannot come, what was before is forgotten and a sentence begins, with that word if one can begin so.
    `unambiguous` declares that no sentence has two derivations; only then has the entropy rate a closed form.
    """

    def __init__(self, grammar: Grammar, *, unambiguous: bool = False, name: str = "world/pcfg") -> None:
        self.grammar, self.unambiguous = grammar, unambiguous
        names = np.frombuffer(" ".join((*grammar.nonterminals, grammar.words)).encode(), np.uint8)
        fingerprint = digest("pcfg", grammar.binary, grammar.lexical, names)
        super().__init__(name=name, fingerprint=fingerprint, symbols=grammar.words + SEPARATOR)
        self._root = no_words(grammar)
        self._kept = 0

    def read(self, prefixes: Sequence[Ids]) -> list[SentencePrefix]:
        out = []
        for prefix in prefixes:
            now = self._root
            for word in prefix:
                now = self._next(now, int(word))
            out.append(now)
        return out

    def probabilities(self, state: list[SentencePrefix]) -> Float[np.ndarray, "rows symbols"]:
        table = np.zeros((len(state), self.n_tokens))
        for row, now in enumerate(state):
            table[row, :-1], table[row, -1] = now.words, now.ends
        return np.asarray(table / table.sum(1, keepdims=True))  # sums to 1 but for rounding

    def advance(self, state: list[SentencePrefix], ids: Int[np.ndarray, " rows"]) -> list[SentencePrefix]:
        return [self._next(now, int(i)) for now, i in zip(state, ids, strict=True)]

    def nbytes(self, state: list[SentencePrefix]) -> int:
        return sum(now.nbytes for now in {id(now): now for now in state}.values())

    def entropy_rate(self) -> float | None:
        """Entropy of a sentence over its mean length with separator (sentences renew the process); None if ambiguous."""
        return self.entropy_rate_at_most() if self.unambiguous else None

    def entropy_rate_at_most(self) -> float:
        """The same from the entropy of derivations: an upper bound, in nats per symbol, for any grammar."""
        return self.grammar.derivation_entropy() / (self.grammar.expected_length() + 1)

    def _next(self, now: SentencePrefix, word: int) -> SentencePrefix:
        if word == self.n_tokens - 1:
            return self._root
        if not now.words[word] > 0:
            now = self._root
            if not now.words[word] > 0:
                return now
        found = now.after.get(word)
        if found is None:
            if self._kept >= MOST_KEPT:
                self._root.after.clear()
                self._kept = 0
            found = now.after[word] = read_word(self.grammar, now, word)
            self._kept += 1
        return found


def small_grammar(nesting: float = 0.1) -> Grammar:
    """A little English: lists of clauses (left recursion), adjectives and prepositions (right recursion), and whole sentences in
    brackets as noun phrases (nesting, with probability `nesting`). No sentence has two derivations."""
    rest = 1 - nesting
    rules: dict[Rule, float] = {
        ("S", "S", "T"): 0.2, ("S", "NP", "VP"): 0.8,
        ("T", "K", "U"): 1.0, ("U", "NP", "VP"): 1.0, ("K", "k"): 1.0,
        ("NP", "D", "N"): 0.75 * rest, ("NP", "B", "PP"): 0.25 * rest, ("NP", "L", "Q"): nesting,
        ("B", "D", "N"): 1.0, ("Q", "S", "R"): 1.0, ("L", "("): 1.0, ("R", ")"): 1.0,
        ("PP", "P", "NP"): 1.0, ("P", "p"): 0.6, ("P", "q"): 0.4,
        ("VP", "V", "NP"): 0.5, ("VP", "x"): 0.3, ("VP", "y"): 0.2, ("V", "v"): 0.7, ("V", "w"): 0.3,
        ("D", "d"): 0.7, ("D", "e"): 0.3, ("N", "A", "N"): 0.3, ("N", "n"): 0.4, ("N", "m"): 0.3,
        ("A", "a"): 0.5, ("A", "b"): 0.5,
    }  # fmt: skip
    return Grammar(rules, words="abdekmnpqvwxy()")


def small_sentences(nesting: float = 0.1) -> GrammarWorld:
    """The world of `small_grammar`."""
    if not 0 <= nesting < 1:
        raise UsageError(f"nesting={nesting} must lie from 0 to below 1")
    return GrammarWorld(small_grammar(nesting), unambiguous=True, name=spec_name("pcfg", nesting=nesting))


PCFG = WorldEntry(
    "pcfg",
    "sentences of a small grammar with brackets, one after another",
    small_sentences,
    (real("nesting", 0.1, "probability that a noun phrase is a sentence in brackets"),),
)
