"""Does it say which text is its own, when asked? The verbal claim, from the answers of a run's folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.findings.question import Question
from freerun.records.answers import KINDS, Answers
from freerun.results.finding import Cell, Estimate, Finding, Table
from freerun.results.quantity import Quantity
from freerun.stats.intervals import Interval, clopper_pearson, ratio_of_group_sums

QUESTION = "Does it say which text is its own, when asked?"
LABELS = {
    "own_real": "its own against the real text",
    "own_own": "control: two texts of its own",
    "real_real": "control: two real texts of other documents",
    "ability": "control: which begins with four given words",
}
_quantity = partial(Quantity, "verbal", own_text=True, paired=False)
RIGHT = {
    kind: _quantity(name, f"Right when asked, {LABELS[kind]}", "share")
    for kind, name in zip(
        KINDS, ("verbal_accuracy", "verbal_own_own", "verbal_real_real", "verbal_ability"), strict=True
    )
}
EACH = _quantity("verbal_accuracy_each", "The same, every prompt by itself", "share")
SHARE_A = _quantity("verbal_share_a", "Position bias: share of answers A", "share")
LEAN = _quantity("verbal_lean_nats", "Log-odds for its own text", "nats")
ANSWER_MASS = _quantity("verbal_answer_mass", "Mass on either answer", "share")
QUANTITIES = (*RIGHT.values(), EACH, SHARE_A, LEAN, ANSWER_MASS)
MIN_PAIRS = 6
"""Below this no result of a sign test could differ from chance at 5%."""


@dataclass(frozen=True)
class _Kind:
    """One kind of question over its pairs, each asked in both orders.

    `balanced`: share of pairs whose right answer has the higher log-odds when it stands as A than the wrong one has there,
    ties left out. `each`: share of single prompts answered rightly. `lean`: half the difference of log-odds, nats.
    """

    n_pairs: int
    n_ties: int
    balanced: Interval | None
    each: Interval
    share_a: Interval
    lean: Interval
    answer_mass: float


def verbal(answers: Answers | None) -> Finding:
    """Accuracy when asked, position bias, and three controls; unknown where nothing was asked."""
    if answers is None:
        return Finding.unknown(
            "verbal",
            QUESTION,
            "The model was not asked; `freerun audit … --ask 64` asks it, and needs a model that follows instructions.",
        )
    kinds = {name: kind for name in KINDS if (kind := _kind(answers, name)) is not None}
    main, ability = kinds.get("own_real"), kinds.get("ability")
    n = 0 if main is None else main.n_pairs - main.n_ties
    if main is None or main.balanced is None or n < MIN_PAIRS:
        why = f"Only {counted(n, 'pair')} gave an answer; at least {MIN_PAIRS} are needed: ask more with `--ask 64`."
        return Finding.unknown("verbal", QUESTION, why)
    return Finding(
        name="verbal",
        question=QUESTION,
        sentence=_sentence(main, main.balanced, ability),
        status="neutral" if _able(ability) else "unknown",
        estimates=_estimates(kinds, main),
        tables=(_table(kinds),),
        licence=(
            "Null: the answer does not depend on which text is its own, so that a pair is right or wrong by a coin. Unit: the pair, one "
            "document each; Clopper–Pearson over pairs, fixed n. Both orders of a pair are set off against each other, so a liking for A cancels. "
            "It speaks of this prompt, fed as raw text without a chat template, read from the law of the next token; another prompt may do better."
        ),
        notes=_notes(answers, kinds, main),
    )


def _kind(answers: Answers, kind: str) -> _Kind | None:
    rows = np.flatnonzero(answers.kind == kind)
    pairs: dict[tuple[str, int], dict[bool, int]] = {}
    for row in rows:
        pairs.setdefault((str(answers.unit[row]), int(answers.pair[row])), {})[bool(answers.first_is_a[row])] = int(row)
    whole = [p for p in pairs.values() if len(p) == 2]
    if len(whole) < 2:
        return None
    odds = np.array([[answers.log_odds_a_nats[p[True]], answers.log_odds_a_nats[p[False]]] for p in whole])
    known = np.nan_to_num(odds)  # no mass on either answer: neither
    lean = (known[:, 0] - known[:, 1]) / 2
    wins, losses = int((lean > 0).sum()), int((lean < 0).sum())
    right = (_step(known[:, 0]) + 1 - _step(known[:, 1])) / 2
    says_a = (_step(known[:, 0]) + _step(known[:, 1])) / 2
    return _Kind(
        n_pairs=len(whole),
        n_ties=len(whole) - wins - losses,
        balanced=clopper_pearson(wins, wins + losses) if wins + losses else None,
        each=_mean(right, share=True),
        share_a=_mean(says_a, share=True),
        lean=_mean(lean),
        answer_mass=float(answers.answer_mass[rows].mean()),
    )


def _step(values: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    return np.asarray(np.heaviside(values, 0.5))


def _mean(values: Float[np.ndarray, " pairs"], *, share: bool = False) -> Interval:
    """Mean over pairs with a t interval; a share that is the same in every pair has the width of a binomial one."""
    mean = ratio_of_group_sums(values, np.ones(len(values)))
    if not share:
        return mean
    if mean.low == mean.high:
        return replace(clopper_pearson(round(mean.value * len(values)), len(values)), value=mean.value)
    return replace(mean, low=max(mean.low, 0.0), high=min(mean.high, 1.0))


def _able(ability: _Kind | None) -> bool:
    """Whether it answers the question that any reader of the texts can."""
    return ability is not None and ability.balanced is not None and ability.balanced.low > 0.5


def _sentence(main: _Kind, balanced: Interval, ability: _Kind | None) -> str:
    sentence = f"Asked which of two continuations is its own, it leans to the right one in {balanced.value:.0%} of {balanced.n} pairs (95% interval {balanced.low:.0%} to {balanced.high:.0%}; chance 50%)"
    if balanced.low > 0.5:
        sentence += ": it can say so"
    elif balanced.high < 0.5:
        sentence += ": it points to the other one"
    else:
        sentence += ": no more than chance can be shown"
    if not _able(ability):
        how = "was not asked" if ability is None or ability.balanced is None else f"{ability.balanced.value:.0%} right"
        sentence += f". It cannot answer a question of this form at all (which text begins with given words: {how}), so this says nothing of what it knows"
    return f"{sentence}. It answers A in {main.share_a.value:.0%} of all prompts."


def _estimates(kinds: dict[str, _Kind], main: _Kind) -> tuple[Estimate, ...]:
    how = "share of pairs whose right answer gains by standing as A (both orders; ties left out), Clopper–Pearson"
    balanced = {name: kind.balanced for name, kind in kinds.items() if kind.balanced is not None}
    return (
        *(RIGHT[name].estimate(share, method=how) for name, share in balanced.items()),
        EACH.estimate(main.each, method="mean over pairs, t interval"),
        SHARE_A.estimate(main.share_a, method="½ without bias; mean over pairs"),
        LEAN.estimate(main.lean, method="half the difference between the orders, t interval"),
        ANSWER_MASS.number(main.answer_mass, n=main.n_pairs, method="mean over prompts"),
    )


def _table(kinds: dict[str, _Kind]) -> Table:
    rows = tuple(
        (
            LABELS[name],
            Cell.number(kind.n_pairs),
            Cell.of(kind.balanced, 2, "share"),
            Cell.of(kind.each, 2, "share"),
            Cell.of(kind.share_a, 2, "share"),
            Cell.of(kind.lean, 3, "nats", sign=True),
            Cell.number(kind.answer_mass, ".2f", "share"),
        )
        for name, kind in kinds.items()
    )
    columns = (
        "question",
        "pairs",
        "right, both orders",
        "right, each prompt",
        "answers A",
        "log-odds for right, nats",
        "mass on A or B",
    )
    return Table("verbal", "What it answered", columns, rows)


def _notes(answers: Answers, kinds: dict[str, _Kind], main: _Kind) -> tuple[str, ...]:
    notes = [
        f"Texts were shown with {int(answers.n_tokens_side[0])} tokens a side. In both coin controls the right answer is drawn by chance (two "
        "replicates of one prefix; two real texts in random order), so they must lie at 50% whatever the model does."
    ]
    if main.n_ties:
        pairs, are = counted(main.n_ties, "pair gave", "pairs gave"), "is" if main.n_ties == 1 else "are"
        notes.append(f"{pairs} the same log-odds in both orders, and {are} left out.")
    for name in ("own_own", "real_real"):
        share = kinds[name].balanced if name in kinds else None
        if share is not None and not share.low <= 0.5 <= share.high:
            notes.append(
                f"A control is off chance ({LABELS[name]}: {Cell.of(share, 2).text}); one in twenty is by chance."
            )
    return tuple(notes)


ENTRY = Question(
    "verbal",
    QUESTION,
    lambda evidence: None if evidence.answers is None else verbal(evidence.answers),
    QUANTITIES,
    place=110,
)
