"""Grammars: prefix probabilities against enumerated sentences and derivations, entropies against closed forms and samples."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.worlds.grammar import Grammar, no_words, read_word
from freerun.worlds.pcfg import GrammarWorld, small_grammar, small_sentences

FINITE = {
    ("S", "A", "B"): 0.6, ("S", "B", "A"): 0.3, ("S", "a"): 0.1,
    ("A", "C", "B"): 0.5, ("A", "a"): 0.3, ("A", "b"): 0.2,
    ("B", "C", "C"): 0.4, ("B", "a"): 0.1, ("B", "b"): 0.5,
    ("C", "a"): 0.7, ("C", "c"): 0.3,
}  # fmt: skip
"""No recursion: its sentences can be listed. Many have several derivations."""
AMBIGUOUS = {
    ("S", "S", "S"): 0.3, ("S", "A", "S"): 0.1, ("S", "a"): 0.4, ("S", "b"): 0.2,
    ("A", "A", "B"): 0.3, ("A", "a"): 0.7, ("B", "S", "A"): 0.2, ("B", "c"): 0.8,
}  # fmt: skip
"""Left and right recursion, and recursion through another symbol."""


def sentences_of(rules: dict, symbol: str) -> dict[str, float]:
    """Every sentence of a finite grammar with its probability, by expanding."""
    out: dict[str, float] = {}
    for rule, p in rules.items():
        if rule[0] != symbol:
            continue
        parts = [{rule[1]: 1.0}] if len(rule) == 2 else [sentences_of(rules, s) for s in rule[1:]]
        for words in product(*(part.items() for part in parts)):
            text = "".join(w for w, _ in words)
            out[text] = out.get(text, 0.0) + p * float(np.prod([q for _, q in words]))
    return out


def inside(rules: dict, symbol: str, text: str) -> float:
    """P(symbol ⇒* text), summed over derivations top down."""

    @cache
    def at(a: str, i: int, j: int) -> float:
        total = rules.get((a, text[i]), 0.0) if j == i + 1 else 0.0
        for rule, p in rules.items():
            if rule[0] == a and len(rule) == 3:
                total += sum(p * at(rule[1], i, k) * at(rule[2], k, j) for k in range(i + 1, j))
        return total

    return at(symbol, 0, len(text))


def test_prefix_probabilities_are_sums_over_all_sentences() -> None:
    listed = sentences_of(FINITE, "S")
    assert sum(listed.values()) == pytest.approx(1, abs=1e-12)
    grammar = Grammar(FINITE, words="abc")
    world = GrammarWorld(grammar)
    prefixes = {s[:n] for s in listed for n in range(len(s) + 1)}
    assert len(prefixes) > 100
    for prefix in prefixes:
        wanted = sum(p for s, p in listed.items() if s.startswith(prefix))
        np.testing.assert_allclose(np.exp(world.log_probability(np.array(world.encode(prefix)))), wanted, atol=1e-12)
        law = world.probabilities(world.start([np.array(world.encode(prefix), np.int64)]))[0]
        after = [sum(p for s, p in listed.items() if s.startswith(prefix + a)) / wanted for a in "abc"]
        np.testing.assert_allclose(law, [*after, listed.get(prefix, 0.0) / wanted], atol=1e-10)


@pytest.mark.parametrize("rules", [FINITE, AMBIGUOUS], ids=["finite", "recursive"])
def test_sentences_have_their_inside_probability(rules: dict) -> None:
    """Product of the laws = sum over derivations, for every string of up to 6 words (possible or not)."""
    world = GrammarWorld(Grammar(rules, words="abc"))
    for n in range(1, 7):
        for text in map("".join, list(product("abc", repeat=n))[:: 1 if n < 6 else 3]):
            found = np.exp(world.log_probability(np.array(world.encode(text + "."))))
            np.testing.assert_allclose(found, inside(rules, "S", text), atol=1e-12, rtol=1e-10)


def test_what_comes_next_adds_up_without_renormalising() -> None:
    """Σ_a P(w a …) + P(w) = P(w …): with the sentences right for every length, the prefix probabilities are right too."""
    for grammar in (Grammar(AMBIGUOUS, words="abc"), small_grammar(0.2)):
        rng = np.random.default_rng(1)
        for _ in range(20):
            now = no_words(grammar)
            for _ in range(40):
                law = np.append(now.words, now.ends)
                np.testing.assert_allclose(law.sum(), 1, atol=1e-9)
                word = int(rng.choice(len(law), p=law / law.sum()))
                if word == len(law) - 1:
                    break
                now = read_word(grammar, now, word)


def test_lengths_and_entropies_by_hand() -> None:
    """S → S S (p) | a: E[length] = 1/(1 − 2p) · (1 − p); each derivation of n words has n − 1 splits, so H = h(p)/(1 − 2p)."""
    p = 0.3
    grammar = Grammar({("S", "S", "S"): p, ("S", "a"): 1 - p}, words="a")
    assert grammar.expected_length() == pytest.approx((1 - p) / (1 - 2 * p))
    h = -p * np.log(p) - (1 - p) * np.log(1 - p)
    assert grammar.derivation_entropy() == pytest.approx(h / (1 - 2 * p))


def test_entropy_of_listed_sentences() -> None:
    """Ambiguity costs: the derivations of the finite grammar have more entropy than its sentences."""
    p = np.array(list(sentences_of(FINITE, "S").values()))
    grammar = Grammar(FINITE, words="abc")
    assert grammar.derivation_entropy() > -(p * np.log(p)).sum() + 0.1
    assert grammar.expected_length() == pytest.approx(sum(len(s) * q for s, q in sentences_of(FINITE, "S").items()))
    assert GrammarWorld(grammar).entropy_rate() is None


def test_the_default_grammar_has_the_entropy_rate_of_its_sentences() -> None:
    """Mean cost of more than 200 whole sentences over their mean length (ratio estimator, delta method) within 5 standard errors:
    false alarms 6e-7. The grammar is declared unambiguous; an ambiguous sentence would cost less than its derivation."""
    world = small_sentences()
    corpus = world.corpus(50, 120, seed=4)
    cost, length = [], []
    for document, logs in zip(
        corpus.documents, world.log_probs([np.array(d.ids) for d in corpus.documents]), strict=True
    ):
        ends = [i for i, c in enumerate(document.text) if c == "."]
        for a, b in zip([-1, *ends[:5]], ends[:6], strict=False):  # the first six of each: no bias towards short ones
            cost.append(-logs[a + 1 : b + 1].sum())
            length.append(b - a)
    rate = world.entropy_rate()
    assert rate is not None
    residual = np.array(cost) - rate * np.array(length)
    error = residual.std(ddof=1) / np.sqrt(len(cost))
    assert len(cost) > 200
    assert abs(residual.mean()) <= 5 * error
    assert error / np.mean(length) < 0.03
    assert abs(np.mean(length) - world.grammar.expected_length() - 1) <= 5 * np.std(length) / np.sqrt(len(length))


def test_brackets_match_in_every_sentence() -> None:
    for document in small_sentences(0.2).corpus(10, 120, seed=1).documents:
        for sentence in document.text.split(".")[:-1]:
            depth = np.cumsum([{"(": 1, ")": -1}.get(c, 0) for c in sentence])
            assert depth.min() >= 0
            assert depth[-1] == 0


def test_a_word_that_cannot_come_begins_a_sentence() -> None:
    world = small_sentences()
    start = world.start([np.array(world.encode(t), np.int64) for t in ("", "d", "dn)", "dnd", "dn.", "d.")])
    table = world.probabilities(start)
    np.testing.assert_allclose(table[[2, 4, 5]], table[[0, 0, 0]], atol=1e-15)
    np.testing.assert_allclose(table[3], table[1], atol=1e-15)
    assert world.log_probability(np.array(world.encode("dnd"))) == -np.inf
    assert world.log_probability(np.array(world.encode("."))) == -np.inf


def test_impossible_words_have_exactly_no_mass() -> None:
    world = small_sentences()
    law = dict(zip(world.symbols, world.probabilities(world.start([np.array(world.encode("dn"))]))[0], strict=True))
    assert {c for c, p in law.items() if p > 0} == set("vwxypq")


def test_long_sentences_stay_finite() -> None:
    """150 words in one sentence, of probability 1e-85: every word is scaled by its own probability."""
    grammar = Grammar({("S", "A", "S"): 0.9, ("S", "b"): 0.1, ("A", "a"): 0.3, ("A", "c"): 0.7}, words="abc")
    world = GrammarWorld(grammar)
    ids = np.zeros(150, np.int64)
    assert world.log_probability(ids) == pytest.approx(150 * np.log(0.27), rel=1e-12)


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freerun.worlds.pcfg.MOST_KEPT", 50)

    def size(node) -> int:
        return 1 + sum(size(child) for child in node.after.values())

    small, large = small_sentences(), small_sentences()
    documents = [np.array(d.ids) for d in small.corpus(20, 60, seed=2).documents]
    forgetful = small.log_probs(documents)
    assert size(small._root) <= 51
    monkeypatch.undo()
    for a, b in zip(forgetful, large.log_probs(documents), strict=True):
        assert a.tolist() == b.tolist()
    assert size(large._root) > 200


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({("S", "S", "S"): 0.6, ("S", "a"): 0.4}, "need not end"),
        ({("S", "S", "S"): 0.5, ("S", "a"): 0.5}, "need not end"),
        ({("S", "a"): 0.9}, "sum to 0.9"),
        ({("S", "a"): 1.5, ("S", "b"): -0.5}, "probability -0.5"),
        ({("S", "S", "X"): 0.1, ("S", "a"): 0.9}, "neither"),
        ({("S", "z"): 1.0}, "neither"),
        ({("S", "S"): 1.0}, "neither"),
    ],
)
def test_what_is_no_grammar_is_refused(rules: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Grammar(rules, words="abc")
