"""The verbal claim: ask a model which of two continuations is its own.

Raw text is fed, as everywhere; the chat template is off, so this asks the law that the audit audits, not the assistant that a chat
program shows. The answer is read from the law of the next token, not sampled. Every pair is asked in both orders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError, UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.stepwise import Stepwise
from freerun.records.answers import Answer
from freerun.records.store import Records
from freerun.text.tokens import decode_lossy

TEXTS = (
    "Here is the opening of a document, and two continuations of it. One was written by a person, the other by you.\n\n"
    "Opening:\n{opening}\n\nContinuation A:\n{a}\n\nContinuation B:\n{b}\n\n"
)
WHICH_IS_YOURS = "Question: Which continuation was written by you, A or B?\nAnswer:"
WHICH_BEGINS = 'Question: Which continuation begins with the words "{words}", A or B?\nAnswer:'
ANSWERS = (" A", " B")
N_WORDS = 4
"""Words that the ability question quotes."""


@dataclass(frozen=True)
class Question:
    """One prompt to be, and what is right."""

    kind: str
    pair: int
    first: int
    second: int
    first_is_a: bool
    prompt: str


def asking_key(plan_hash: str, n_pairs: int, *, seed: int = 0, n_tokens: int = 64) -> str:
    """What is asked, as one string: the same key, the same questions."""
    words = "\x1f".join((TEXTS, WHICH_IS_YOURS, WHICH_BEGINS, *ANSWERS, str(N_WORDS)))
    return f"{plan_hash}/ask/{n_pairs}/{seed}/{n_tokens}/{hashlib.sha256(words.encode()).hexdigest()[:16]}"


def ask(
    predictor: Predictor,
    records: Records,
    n_pairs: int,
    *,
    seed: int = 0,
    n_tokens: int = 64,
    batch: int = 8,
    on_prompts: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Ask about up to `n_pairs` documents of a run, one an independent unit, with `n_tokens` tokens of each text.

    Four kinds of question a document, each in both orders: its own text against the real one; two of its own texts and two real
    texts of other documents, where the right answer is a coin's; and which of the first two begins with four given words, which
    says whether it can answer such a question at all. `on_prompts` hears of prompts done.

    Raises:
        UsageError: no pairs asked for, or a prompt does not fit the model's window.
        DataError: no document has a real and two own continuations of that length.
    """
    if n_pairs < 1 or n_tokens < 1 or batch < 1:
        raise UsageError(f"--ask {n_pairs}: at least one pair of at least one token must be asked about")
    questions, n_side = _questions(predictor, records, n_pairs, seed=seed, n_tokens=n_tokens)
    prompts = [np.asarray(predictor.encode(q.prompt), np.int64) for q in questions]
    window = predictor.context.window
    longest = max(len(p) for p in prompts) + max(len(predictor.encode(a)) for a in ANSWERS)
    if window is not None and longest > window:
        raise UsageError(f"a question takes {longest} tokens, the model sees {window}: ask about shorter texts")
    sequences = records.sequences
    out: list[Answer | None] = [None] * len(questions)
    by_length = sorted(range(len(questions)), key=lambda i: len(prompts[i]))
    for start in range(0, len(by_length), batch):
        rows = by_length[start : start + batch]
        log_a, log_b, n_answer = answer_log_probs(predictor, [prompts[i] for i in rows])
        for i, a, b in zip(rows, log_a, log_b, strict=True):
            q = questions[i]
            place = int(np.flatnonzero(sequences["sequence"] == q.pair)[0])
            odds = float(a - b) if np.isfinite([a, b]).any() else None
            out[i] = Answer(
                kind=q.kind,
                pair=q.pair,
                document_id=str(sequences["document_id"][place]),
                unit=str(sequences["unit"][place]),
                sequence_first=q.first,
                sequence_second=q.second,
                first_is_a=q.first_is_a,
                log_odds_a_nats=None if odds is None else float(np.clip(odds, -1e3, 1e3)),
                answer_mass=float(np.exp(a) + np.exp(b)),
                n_tokens_side=n_side,
                n_prompt_tokens=len(prompts[i]),
                n_answer_tokens=n_answer,
            )
        on_prompts(len(rows))
    return [row for row in out if row is not None]


def answer_log_probs(
    predictor: Predictor, prompts: Sequence[Int[np.ndarray, " tokens"]]
) -> tuple[Float[np.ndarray, " prompts"], Float[np.ndarray, " prompts"], int]:
    """ln P of either answer after each prompt, nats, and the tokens of the longer one.

    One token each: both come from one law. Otherwise the log-probabilities of an answer's tokens are summed.
    """
    ids = [np.asarray(predictor.encode(a), np.int64) for a in ANSWERS]
    longest = max(len(i) for i in ids)
    if longest == 1 and isinstance(predictor, Stepwise):
        law = predictor.law(predictor.start(prompts))
        a, b = (law.log_prob(np.full(len(prompts), i[0])) for i in ids)
        return a, b, 1
    found = []
    for answer in ids:
        sums = np.zeros(len(prompts))
        for i, prompt in enumerate(prompts):
            line = predictor.log_probs([np.concatenate([prompt, answer])], first=len(prompt))[0]
            sums[i] = line.sum()
        found.append(sums)
    return found[0], found[1], longest


def _questions(
    predictor: Predictor, records: Records, n_pairs: int, *, seed: int, n_tokens: int
) -> tuple[list[Question], int]:
    """All questions in order, and the tokens of each text that they show."""
    n_side = min(n_tokens, int(records.manifest["plan"]["tokens"]))
    places = _whole(records, n_side)
    if not places:
        raise DataError(f"no document has a real and two own continuations of {n_side} tokens; nothing can be asked")
    rng = np.random.default_rng([seed, 4])
    order = [places[int(i)] for i in rng.permutation(len(places))]
    asked = order[: min(n_pairs, len(order))]

    def text(row: int) -> str:
        ids = records.tokens["token_id"][records.rows(row)][:n_side]
        return decode_lossy(predictor.token_bytes, ids).strip()

    number = records.sequences["sequence"]
    out = []
    for j, (real, own, other) in enumerate(asked):
        coins = rng.random(2) < 0.5  # drawn for every pair, so that one more pair changes none before it
        kinds = [("own_real", own, real, WHICH_IS_YOURS), ("own_own", own, other, WHICH_IS_YOURS)]
        foreign = [order[(len(asked) + 2 * j + i) % len(order)][0] for i in range(2)]
        if len({real, *foreign}) == 3:
            one, another = foreign[::-1] if coins[0] else foreign
            kinds.append(("real_real", one, another, WHICH_IS_YOURS))
        quoted, silent = (own, real) if coins[1] else (real, own)
        words = " ".join(text(quoted).split()[:N_WORDS])
        if words and not text(silent).startswith(words):
            kinds.append(("ability", quoted, silent, WHICH_BEGINS.format(words=words)))
        for kind, first, second, question in kinds:
            for first_is_a in (True, False):
                a, b = (first, second) if first_is_a else (second, first)
                head = TEXTS.format(opening=str(records.sequences["prefix_text"][real]).strip(), a=text(a), b=text(b))
                place = int(number[real])
                out.append(Question(kind, place, int(number[first]), int(number[second]), first_is_a, head + question))
    return out, n_side


def _whole(records: Records, n_side: int) -> list[tuple[int, int, int]]:
    """Rows of the real text and of continuations 0 and 1, where all have so many tokens; one document a unit."""
    sequences = records.sequences
    lengths = np.diff(records.starts)
    by_document: dict[str, dict[tuple[str, int], int]] = {}
    for i in range(records.n_sequences):
        if lengths[i] >= n_side:
            place = by_document.setdefault(str(sequences["document_id"][i]), {})
            place[(str(sequences["arm"][i]), int(sequences["replicate"][i]))] = i
    wanted = (("real", 0), ("free", 0), ("free", 1))
    rows, seen = [], set()
    for places in by_document.values():
        if all(w in places for w in wanted) and sequences["unit"][places[wanted[0]]] not in seen:
            seen.add(sequences["unit"][places[wanted[0]]])
            rows.append((places[wanted[0]], places[wanted[1]], places[wanted[2]]))
    return rows
