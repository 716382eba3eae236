"""Probabilistic context-free grammars in Chomsky normal form, and the exact prefix probabilities of their sentences.

Left-to-right form of Jelinek & Lafferty 1991, the same numbers as the forward probabilities of Stolcke 1995. With inside
probabilities I(B, i, k) = P(B ⇒* w_i … w_k) and R = Σ_n L^n = (1 − L)^{-1}, L[A, B] = Σ_C p(A → B C) the left-corner relation:

    f_0 = e_S,   g_j = f_j R,   f_j[C] = Σ_{i<j} Σ_{D,B} g_i[D] p(D → B C) I(B, i, j−1),
    P(the sentence begins w_0 … w_{n−1} a) = Σ_A g_n[A] p(A → a).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from freerun.errors import UsageError
from freerun.worlds.chain import row_entropy

Rule = tuple[str, ...]
"""(A, B, C) for A → B C, (A, a) for A → a."""


class Grammar:
    """`rules[(A, B, C)]` and `rules[(A, a)]` are the probabilities of A → B C and A → a; the start symbol comes first.

    Raises (on construction):
        UsageError: probabilities that do not sum to 1 for each A, or sentences that need not end.
    """

    def __init__(self, rules: Mapping[Rule, float], *, words: str) -> None:
        self.nonterminals = tuple(dict.fromkeys(rule[0] for rule in rules))
        self.words = words
        n = len(self.nonterminals)
        at = {a: i for i, a in enumerate(self.nonterminals)}
        self.binary = np.zeros((n, n, n))
        self.lexical = np.zeros((n, len(words)))
        for rule, p in rules.items():
            if not p >= 0:
                raise UsageError(f"the rule {' '.join(rule)} has probability {p}")
            if len(rule) == 3 and rule[1] in at and rule[2] in at:
                self.binary[at[rule[0]], at[rule[1]], at[rule[2]]] += p
            elif len(rule) == 2 and rule[1] in words and len(rule[1]) == 1:
                self.lexical[at[rule[0]], words.index(rule[1])] += p
            else:
                raise UsageError(f"the rule {' '.join(rule)} is neither A B C nor A a over known symbols")
        total = self.binary.sum((1, 2)) + self.lexical.sum(1)
        if not np.allclose(total, 1, atol=1e-12):
            worst = int(np.argmax(np.abs(total - 1)))
            raise UsageError(f"the rules of {self.nonterminals[worst]} sum to {total[worst]}, not to 1")
        self.children = self.binary.sum(2) + self.binary.sum(1)
        """`children[A, B]`: expected number of B among the children of an A."""
        if np.abs(np.linalg.eigvals(self.children)).max() >= 1 - 1e-9:
            raise UsageError("sentences of this grammar need not end: too many of its rules make two of one")
        self.corners = _closure(self.binary.sum(2))

    def expected_length(self) -> float:
        """Mean number of words of a sentence."""
        return float(self._expected(self.lexical.sum(1)))

    def derivation_entropy(self) -> float:
        """Entropy of a derivation, nats: that of a sentence where no sentence has two derivations, else more (Soule 1974)."""
        n = len(self.nonterminals)
        return float(self._expected(row_entropy(np.hstack([self.binary.reshape(n, -1), self.lexical]))))

    def _expected(self, each: Float[np.ndarray, " nonterminals"]) -> float:
        """Mean total, over a derivation, of what each expansion of a nonterminal brings."""
        return float(np.linalg.solve(np.eye(len(each)) - self.children, each)[0])


def _closure(left: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Σ_n L^n, exactly zero where no power of L has an entry, so that an impossible word stays impossible."""
    steps = np.eye(len(left)) + (left > 0)
    reached = np.linalg.matrix_power((steps > 0).astype(np.float64), len(left)) > 0
    return np.where(reached, np.maximum(np.linalg.inv(np.eye(len(left)) - left), 0), 0.0)


@dataclass(frozen=True)
class SentencePrefix:
    """What has been read of a sentence: values, never changed, shared by all contexts that begin alike.

    All is divided by P(words so far), so that `words` and `ends` are the law of what comes next.
    """

    columns: tuple[Float[np.ndarray, "begins nonterminals"], ...]
    """`columns[k][i, A]`: inside probability of words i … k."""
    demands: tuple[Float[np.ndarray, " nonterminals"], ...]
    """g_j for j = 0 … n."""
    words: Float[np.ndarray, " words"]
    """Probability of each word next."""
    ends: float
    """Probability that the sentence is over."""
    after: dict[int, SentencePrefix] = field(default_factory=dict, compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        return sum(c.nbytes for c in self.columns) + sum(g.nbytes for g in self.demands) + self.words.nbytes

    def __deepcopy__(self, memo: dict[int, Any]) -> SentencePrefix:
        return self


def no_words(grammar: Grammar) -> SentencePrefix:
    """Before the first word of a sentence."""
    demand = grammar.corners[0]
    return SentencePrefix((), (demand,), demand @ grammar.lexical, 0.0)


def read_word(grammar: Grammar, prefix: SentencePrefix, word: int) -> SentencePrefix:
    """One word more; the word must be possible. Every probability is divided by the word's own, which keeps all near 1."""
    n = len(prefix.columns)  # the new word's position
    scale = 1 / prefix.words[word]
    size = len(grammar.nonterminals)
    rules = grammar.binary.reshape(size, -1)
    column = np.zeros((n + 1, size))
    column[n] = grammar.lexical[:, word] * scale
    chart = np.zeros((n, n, size))  # chart[i, k]: words i … k
    for k, old in enumerate(prefix.columns):
        chart[: k + 1, k] = old
    for i in range(n - 1, -1, -1):
        column[i] = rules @ (chart[i, i:n].T @ column[i + 1 : n + 1]).ravel()
    used = np.array(prefix.demands).T @ column  # used[D, B] = Σ_i g_i[D] I(B, i, n)
    demand = np.einsum("db,dbc->c", used, grammar.binary) @ grammar.corners
    ends = float(column[0, 0])
    words = demand @ grammar.lexical
    return SentencePrefix((*prefix.columns, column), (*prefix.demands, demand), words, ends)
