"""One backend on the couch: every question is put through the interface that an audit uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from freerun.counted import counted
from freerun.jobs.doctor.questions import QUESTIONS, Answer, ask, within
from freerun.jobs.doctor.texts import TEXTS, first_tokens
from freerun.predictors.base import Continuations, Predictor, Sample
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.servers.llama_server import cut_short
from freerun.predictors.servers.predictor import ServedModel
from freerun.predictors.servers.trial import COOLED, Gap
from freerun.predictors.stepwise import Stepwise
from freerun.results.doctor import Check
from freerun.stats.recognition.tilting import events_p

N_SCORED = 16
N_DRAWN = 24
N_TAIL = 64
_TAIL_LEVEL = 0.001
_TAIL_ERRORS = 5.0
"""Standard deviations of a fault that is seen at that level with 80% power or more, by simulation."""
MOST_WINDOW = 4096
"""Longer windows are believed, not tried: filling one takes minutes on a processor."""
SUM_TOLERANCE = 1e-3


@dataclass
class Patient:
    """A model, and what several questions need of it."""

    model: Predictor

    @cached_property
    def text(self) -> np.ndarray:
        """What most questions are about."""
        return first_tokens(self.model, 0, N_SCORED)

    @property
    def served(self) -> ServedModel | None:
        return self.model if isinstance(self.model, ServedModel) else None

    def scored(self, texts: Sequence[np.ndarray], first: int = 1) -> list[np.ndarray]:
        return [np.asarray(x) for x in self.model.log_probs([t.astype(np.int64) for t in texts], first=first)]

    def drawn(
        self,
        n: int,
        sampling: SamplingRule = MODEL_LAW,
        *,
        seed: int = 0,
        rows: int = 1,
        after: np.ndarray | None = None,
    ) -> list[Sample]:
        keys = np.arange(1, rows + 1, dtype=np.uint64)[None]
        todo = Continuations([self.text if after is None else after], keys, n, seed=seed, sampling=sampling)
        return sorted(self.model.generate(todo), key=lambda s: s.row)


def examine(model: Predictor) -> tuple[Check, ...]:
    """Every question about a model, answered or left open."""
    patient = Patient(model)
    looks: dict[str, Callable[[Patient], Answer]] = {
        "scores": _scores,
        "writes": _writes,
        "first_token": _first_token,
        "put_first": _put_first,
        "repeat": _repeat,
        "batch": _batch,
        "prefix_cache": _prefix_cache,
        "drawn": _drawn,
        "temperature": _temperature,
        "tail": _tail,
        "half_character": _half_character,
        "last_id": _last_id,
        "end_ids": _end_ids,
        "whole_law": _whole_law,
        "most_probable": _most_probable,
        "defaults": _defaults,
        "window": _window,
    }
    checks: list[Check] = []
    failed: set[str] = set()
    for name in QUESTIONS:
        needed = _NEEDS.get(name, ())
        if missing := failed.intersection(needed):
            words = {"scores": "it scores no text", "writes": "it writes none"}
            answer = Answer(None, "; ".join(words[m] for m in sorted(missing)))
            checks.append(ask(name, lambda answer=answer: answer))  # type: ignore[misc]
            continue
        checks.append(ask(name, lambda look=looks[name]: look(patient)))  # type: ignore[misc]
        if checks[-1].outcome == "failed":
            failed.add(name)
    return tuple(checks)


_SCORES, _WRITES = ("scores",), ("writes",)
_NEEDS = {
    "put_first": _SCORES,
    "repeat": _SCORES,
    "batch": _SCORES,
    "prefix_cache": _SCORES,
    "drawn": (*_SCORES, *_WRITES),
    "temperature": (*_SCORES, *_WRITES),
    "tail": (*_SCORES, *_WRITES),
    "half_character": _SCORES,
    "last_id": _SCORES,
    "window": _SCORES,
}


# ---- what it gives -----------------------------------------------------------------------------------------------------


def _scores(patient: Patient) -> Answer:
    (values,) = patient.scored([patient.text])
    known = int(np.isfinite(values).sum())
    return Answer(
        known == len(patient.text) - 1, f"{known} of {len(patient.text) - 1} tokens, mean {np.mean(values):.2f} nats"
    )


def _writes(patient: Patient) -> Answer:
    (sample,) = patient.drawn(N_DRAWN)
    n = len(sample.observation.token_id)
    return Answer(n > 0, f"{n} tokens, ended by {'an end of text' if sample.end_reason == 'end_of_text' else 'length'}")


def _first_token(patient: Patient) -> Answer:
    model = patient.model
    if not model.has_first_law:
        return Answer(True, "left out: there is no law before the first token")
    (values,) = patient.scored([patient.text], first=0)
    lead = f"after ids {list(model.context.lead)}" if model.context.lead else "by a law of its own"
    return Answer(bool(np.isfinite(values[0])), f"known, {lead}: {values[0]:.2f} nats")


def _put_first(patient: Patient) -> Answer:
    lead = list(patient.model.context.lead)
    inside = [i for i in lead if i in patient.text.tolist()]
    if inside:
        return Answer(False, f"id {inside[0]} is put first by us, and stands in the encoded text again")
    sent = "ids are sent, and as many were read" if patient.served else "ids are read as they are"
    return Answer(True, f"{sent}; {f'ids {lead} once' if lead else 'nothing'} before a text")


def _whole_law(patient: Patient) -> Answer:
    model = patient.model
    if not isinstance(model, Stepwise):
        return Answer(False, "only of the tokens themselves")
    law = model.law(model.start([patient.text]))
    total = float(law.probs().sum())
    return Answer(abs(total - 1) <= SUM_TOLERANCE, f"{model.n_tokens:,} ids sum to {total:.6f}", total)


def _most_probable(patient: Patient) -> Answer:
    if isinstance(patient.model, Stepwise):
        return Answer(True, f"all {patient.model.n_tokens:,}", float(patient.model.n_tokens))
    if (served := patient.served) is not None:
        k = served.client.run(served.dialect.largest_k)
        return Answer(k > 0, f"up to {k:,} of {served.n_tokens:,}", float(k))
    (sample,) = patient.drawn(1)
    named = bool(sample.observation.top_id[0] >= 0)
    return Answer(named, "the most probable one" if named else "none")


# ---- one law ------------------------------------------------------------------------------------------------------------


def _gap(name: str, a: np.ndarray, b: np.ndarray) -> Answer:
    gap = Gap.between(a, b)
    return within(name, gap.mean_nats, gap.largest_nats, gap.n_tokens)


def _repeat(patient: Patient) -> Answer:
    return _gap("repeat", *(patient.scored([patient.text])[0] for _ in range(2)))


def _batch(patient: Patient) -> Answer:
    n = len(patient.text)
    texts = [patient.text[: max(2, n - k)] for k in range(4)]
    alone = np.concatenate([patient.scored([t])[0] for t in texts])
    return _gap("batch", alone, np.concatenate(patient.scored(texts)))


def _prefix_cache(patient: Patient) -> Answer:
    if patient.served is None:
        return Answer(None, "no server")
    model = patient.model
    rng = np.random.default_rng(int.from_bytes(os.urandom(8), "little"))  # a beginning that no cache has seen
    spoken = [i for i in range(model.n_tokens) if model.token_bytes(i).isalpha()]
    fresh = rng.choice(spoken or list(range(model.n_tokens)), N_SCORED // 2)
    text = np.concatenate([fresh, patient.text[: N_SCORED // 2]])
    cold = patient.scored([text])[0]
    patient.scored([text[: len(fresh) + 2]])
    return _gap("prefix_cache", cold, patient.scored([text])[0])


def _drawn(patient: Patient) -> Answer:
    (sample,) = patient.drawn(N_DRAWN)
    seen = sample.observation
    text = np.concatenate([patient.text, seen.token_id])
    return _gap("drawn", seen.log_prob_nats, patient.scored([text], first=len(patient.text))[0])


def _temperature(patient: Patient) -> Answer:
    rule = SamplingRule.of(temperature=COOLED)
    if (served := patient.served) is not None:
        seen = served.reported(patient.text, N_DRAWN, rule, seed=1)
    else:
        seen = patient.drawn(N_DRAWN, rule, seed=1)[0].observation
    text = np.concatenate([patient.text, seen.token_id])
    return _gap("temperature", seen.log_prob_nats, patient.scored([text], first=len(patient.text))[0])


def _tail(patient: Patient) -> Answer:
    """Whether draws come again as often as the law says.

    Of draws after one and the same text, the next is one that was drawn before with just the probability that the law gives to all
    those together, and scoring says what that is. A sampler that cuts or cools draws the same tokens again too often; nothing needs
    to be known of what was never drawn.
    """
    came_again, mass = [], []
    for number in range(len(TEXTS)):
        text = first_tokens(patient.model, number, N_SCORED)
        ids = [int(s.observation.token_id[0]) for s in patient.drawn(1, seed=2 + number, rows=N_TAIL, after=text)]
        distinct = list(dict.fromkeys(ids))
        told = patient.scored([np.append(text, i) for i in distinct], first=len(text))
        weight = {i: float(np.exp(values[0])) for i, values in zip(distinct, told, strict=True)}
        seen: set[int] = set()
        for i in ids:
            came_again.append(i in seen)
            mass.append(min(1.0, sum(weight[j] for j in seen)))
            seen.add(i)
    return tail_answer(np.array(came_again), np.array(mass))


def tail_answer(came_again: np.ndarray, mass: np.ndarray) -> Answer:
    """From draws that were drawn before, and the law's mass on those: exact in size at any number of draws."""
    p = events_p(came_again, mass, n_tokens=len(mass))
    expected, spread = float(mass.sum()), float(np.sqrt((mass * (1 - mass)).sum()))
    kept = expected / (expected + _TAIL_ERRORS * spread) if expected > 0 else 0.0
    seen = (
        f"{int(came_again.sum())} of {counted(len(mass), 'draw was', 'draws were')} drawn before, {expected:.0f} expected "
        f"(p {p:.2g}); a cut that keeps less than "
        f"{kept:.2f} of the mass would show"
    )
    return Answer(p >= _TAIL_LEVEL, seen, p)


# ---- its vocabulary and its limits --------------------------------------------------------------------------------------


def _half_character(patient: Patient) -> Answer:
    model = patient.model
    halves = (i for i in range(model.n_tokens) if cut_short(model.token_bytes(i)))
    if (half := next(halves, None)) is None:
        return Answer(None, "every token is of whole characters")
    text = np.concatenate([patient.text[:4], [half]])
    (values,) = patient.scored([text], first=4)
    return Answer(not np.isnan(values[0]), f"id {half}, bytes {model.token_bytes(half)!r}: {values[0]:.2f} nats")


def _last_id(patient: Patient) -> Answer:
    model = patient.model
    last = model.n_tokens - 1
    (values,) = patient.scored([np.concatenate([patient.text[:4], [last]])], first=4)
    empty = sum(b - a + 1 for a, b in model.markers.without_token)
    rows = f"; {empty:,} rows without a token" if empty else ""
    return Answer(not np.isnan(values[0]), f"id {last}: {values[0]:.2f} nats{rows}")


def _end_ids(patient: Patient) -> Answer:
    model = patient.model
    named = {end.token_id: end for end in model.markers.ends}
    words = [f"{i}{f' {named[i].spelling}' if i in named and named[i].spelling else ''}" for i in model.end_ids]
    by = sorted({who for i in model.end_ids if i in named for who in named[i].declared_by})
    return Answer(bool(words), f"{', '.join(words)}{f' (by {_listed(by)})' if by else ''}" if words else "nothing")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _defaults(patient: Patient) -> Answer:
    if (served := patient.served) is None:
        return Answer(None, "no server: draws are our own")
    own = served.own_defaults
    changed = {k: v for k, v in own.items() if v != _NEUTRAL.get(k)}
    if not own:
        return Answer(None, "it does not say")
    return Answer(True, ", ".join(f"{k} {v:g}" for k, v in sorted(changed.items())) or "no: nothing is cut or cooled")


_NEUTRAL = {
    "temperature": 1.0,
    "top_k": 0.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_penalty": 1.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


def _window(patient: Patient) -> Answer:
    window = patient.model.context.window
    if window is None:
        return Answer(None, "none: the whole text is read")
    if patient.served is None:
        return Answer(None, f"{window:,} tokens, by its config")
    if window > MOST_WINDOW:
        return Answer(None, f"{window:,} tokens, as the server says; not tried")
    text = np.resize(patient.text, window + 1)
    (values,) = patient.scored([text], first=window)
    return Answer(bool(np.isfinite(values[0])), f"{window:,} tokens, the last one scored: {values[0]:.2f} nats")
