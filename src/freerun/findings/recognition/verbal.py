"""Does it say which text is its own, when asked? The verbal claim, from the answers of a run's folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.records.answers import KINDS, Answers
from freerun.results.finding import Estimate, Finding, Table
from freerun.stats.intervals import Interval, clopper_pearson, ratio_of_group_sums

QUESTION = "Does it say which text is its own, when asked?"
LABELS = {
    "own_real": "its own against the real text",
    "own_own": "control: two texts of its own",
    "real_real": "control: two real texts of other documents",
    "ability": "control: which begins with four given words",
}
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
        return _unknown(
            "The model was not asked; `freerun audit … --ask 64` asks it, and needs a model that follows instructions."
        )
    found = {kind: _kind(answers, kind) for kind in KINDS}
    main, ability = found["own_real"], found["ability"]
    if main is None or main.balanced is None or main.n_pairs - main.n_ties < MIN_PAIRS:
        n = 0 if main is None else main.n_pairs - main.n_ties
        return _unknown(
            f"Only {counted(n, 'pair')} gave an answer; at least {MIN_PAIRS} are needed: ask more with `--ask 64`."
        )
    return Finding(
        name="verbal",
        question=QUESTION,
        sentence=_sentence(main, main.balanced, ability),
        status="unknown" if not _able(ability) else "neutral",
        estimates=_estimates(found),
        tables=(_table(found),),
        licence=(
            "Null: the answer does not depend on which text is its own, so that a pair is right or wrong by a coin. Unit: the pair, one "
            "document each; Clopper–Pearson over pairs, fixed n. Both orders of a pair are set off against each other, so a liking for A cancels. "
            "It speaks of this prompt, fed as raw text without a chat template, read from the law of the next token; another prompt may do better."
        ),
        notes=_notes(answers, found),
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
    found = ratio_of_group_sums(values, np.ones(len(values)))
    if not share:
        return found
    if found.low == found.high:
        exact = clopper_pearson(round(found.value * len(values)), len(values))
        return Interval(found.value, exact.low, exact.high, exact.level, exact.n)
    return Interval(found.value, max(found.low, 0.0), min(found.high, 1.0), found.level, found.n)


def _able(ability: _Kind | None) -> bool:
    """Whether it answers the question that any reader of the texts can."""
    return ability is not None and ability.balanced is not None and ability.balanced.low > 0.5


def _sentence(main: _Kind, balanced: Interval, ability: _Kind | None) -> str:
    said = f"Asked which of two continuations is its own, it leans to the right one in {balanced.value:.0%} of {balanced.n} pairs (95% interval {balanced.low:.0%} to {balanced.high:.0%}; chance 50%)"
    if balanced.low > 0.5:
        said += ": it can say so"
    elif balanced.high < 0.5:
        said += ": it points to the other one"
    else:
        said += ": no more than chance can be shown"
    if not _able(ability):
        how = "was not asked" if ability is None or ability.balanced is None else f"{ability.balanced.value:.0%} right"
        said += f". It cannot answer a question of this form at all (which text begins with given words: {how}), so this says nothing of what it knows"
    return said + f". It answers A in {main.share_a.value:.0%} of all prompts."


def _estimates(found: dict[str, _Kind | None]) -> tuple[Estimate, ...]:
    out = []
    for kind, name in zip(
        KINDS, ("verbal_accuracy", "verbal_own_own", "verbal_real_real", "verbal_ability"), strict=True
    ):
        one = found[kind]
        if one is not None and one.balanced is not None:
            how = (
                "share of pairs whose right answer gains by standing as A (both orders; ties left out), Clopper–Pearson"
            )
            out.append(_estimate(name, f"Right when asked, {LABELS[kind]}", one.balanced, "share", how))
    main = found["own_real"]
    if main is not None:
        out.append(
            _estimate(
                "verbal_accuracy_each",
                "The same, every prompt by itself",
                main.each,
                "share",
                "mean over pairs, t interval",
            )
        )
        out.append(
            _estimate(
                "verbal_share_a",
                "Position bias: share of answers A",
                main.share_a,
                "share",
                "½ without bias; mean over pairs",
            )
        )
        out.append(
            _estimate(
                "verbal_lean_nats",
                "Log-odds for its own text",
                main.lean,
                "nats",
                "half the difference between the orders, t interval",
            )
        )
        out.append(
            Estimate(
                "verbal_answer_mass",
                "Mass on either answer",
                main.answer_mass,
                "share",
                n=main.n_pairs,
                method="mean over prompts",
            )
        )
    return tuple(out)


def _estimate(name: str, label: str, found: Interval, unit: str, method: str) -> Estimate:
    return Estimate(name, label, found.value, unit, found.low, found.high, found.level, found.n, "document", method)


def _table(found: dict[str, _Kind | None]) -> Table:
    rows = tuple(
        (
            LABELS[kind],
            str(one.n_pairs),
            "–" if one.balanced is None else _spell(one.balanced),
            _spell(one.each),
            _spell(one.share_a),
            f"{one.lean.value:+.3f} ({one.lean.low:+.3f} to {one.lean.high:+.3f})".replace("-", "−"),
            f"{one.answer_mass:.2f}",
        )
        for kind, one in found.items()
        if one is not None
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


def _spell(found: Interval) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _notes(answers: Answers, found: dict[str, _Kind | None]) -> tuple[str, ...]:
    main = found["own_real"]
    assert main is not None
    notes = [
        f"Texts were shown with {int(answers.n_tokens_side[0])} tokens a side. In both coin controls the right answer is drawn by chance (two "
        "replicates of one prefix; two real texts in random order), so they must lie at 50% whatever the model does."
    ]
    if main.n_ties:
        notes.append(
            f"{counted(main.n_ties, 'pair gave', 'pairs gave')} the same log-odds in both orders, and {'is' if main.n_ties == 1 else 'are'} left out."
        )
    for kind in ("own_own", "real_real"):
        one = found[kind]
        if one is not None and one.balanced is not None and not one.balanced.low <= 0.5 <= one.balanced.high:
            notes.append(
                f"A control is off chance ({LABELS[kind]}: {_spell(one.balanced)}); one in twenty is by chance."
            )
    return tuple(notes)


def _unknown(why: str) -> Finding:
    return Finding(name="verbal", question=QUESTION, sentence=why, status="unknown", licence="No inference.")
