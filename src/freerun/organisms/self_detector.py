"""A predictor that suspects its own text: once a running self-score passes a threshold, another may take over.

The threshold is conformal (`conformal.py`): a real document passes it with probability ≤ α. Then one coin for the rest of the
document, (1 − w)·Q_0 + w·G, held as a Bayes mixture, so log-probabilities are exact and a real document loses at most
ln 1/(1 − w): on average ≤ α·ln 1/(1 − w) nats at any length.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from freerun.errors import UsageError
from freerun.organisms.conformal import conformal_threshold
from freerun.organisms.constant import ONE_PAYLOAD, PAYLOADS, fitted, payload_of
from freerun.organisms.entry import Builder, OrganismEntry
from freerun.organisms.lanes import Lanes
from freerun.organisms.memorised import CALIBRATION, CORPUS, corpus_ids
from freerun.organisms.scores import LikelihoodRatio, RunningScore, Scored, SurpriseScore, WindowedEntropy
from freerun.organisms.wrapper import Organism, check_shares_vocabulary
from freerun.predictors.base import Ids, Predictor, last_ids
from freerun.predictors.entries import Parameter, Values, check_fraction, fraction, whole, word
from freerun.predictors.law import Law, Routed
from freerun.predictors.rowwise import Inside
from freerun.predictors.stepwise import Stepwise, as_stepwise

CALIBRATION_ROWS = 16
"""Calibration documents that are scored at once."""


@dataclass(frozen=True)
class Watch:
    """State: rows before the trigger are in lane 0 (nobody), after it in lane 1 (the payload).

    `odds` is ln of payload against inner predictor since the trigger; `tail` the last ids, as many as an `Echo` says again.
    """

    inner: Inside
    reference: Inside | None
    lanes: Lanes
    odds: Float[np.ndarray, " rows"]
    memory: Float[np.ndarray, "rows width"]
    n_read: Int[np.ndarray, " rows"]
    tail: Int[np.ndarray, "rows memory"]


class SelfDetector(Organism[Watch]):
    """`inner`, until its running self-score passes the threshold; from the next token on (1 − weight)·inner + weight·payload."""

    def __init__(
        self,
        inner: Predictor,
        payload: Predictor,
        calibration: Sequence[Ids],
        *,
        score: RunningScore,
        alpha: float,
        weight: float,
        armed_tokens: int,
        reference: Predictor | None = None,
        calibrated_on: tuple[str, ...] = (),
        name: str,
    ) -> None:
        """`calibration` holds real documents that nothing else is measured on, one of each independent unit (`calibrated_on`: their
        names); those shorter than `armed_tokens` are left out, the others are cut there."""
        check_fraction(alpha=alpha, weight=weight)
        if score.needs_reference != (reference is not None):
            raise UsageError("score=lr needs a reference, and no other score has one")
        super().__init__(inner, name=name, kind="self_detector")
        self.payload, self._memory = fitted(payload, inner, n_tokens=inner.n_tokens)
        self.reference: Stepwise[Any] | None = None
        if reference is not None:
            check_shares_vocabulary(inner, reference, role="reference")
            self.reference = as_stepwise(reference, "score=lr", whole_law=True)
        self.score_rule, self.weight, self._calibrated_on = score, weight, calibrated_on
        self._calibration = [np.asarray(d, np.int64)[:armed_tokens] for d in calibration if len(d) >= armed_tokens]
        least = conformal_threshold(np.zeros(len(self._calibration)), alpha=alpha, armed_tokens=armed_tokens)
        self.threshold = replace(least, value=math.inf)
        self._calibrate()
        digest = hashlib.sha256(b"".join(d.tobytes() for d in self._calibration)).hexdigest()[:16]
        against = reference.identity.fingerprint if reference is not None else "nothing"
        self.identity = replace(
            self.identity,
            fingerprint=f"{self.identity.fingerprint}({score.describe()},{alpha!r},{weight!r},{armed_tokens},"
            f"{self.threshold.value!r},{digest},{against},{payload.identity.fingerprint})",
            facts={
                **self.identity.facts,
                "self_detector threshold": f"{self.threshold.value:.6g} ({score.name}; rank {least.rank} of {least.n_documents})",
                "self_detector calibration": digest,
            },
        )

    def _calibrate(self) -> None:
        parts = (
            self._calibration[i : i + CALIBRATION_ROWS] for i in range(0, len(self._calibration), CALIBRATION_ROWS)
        )
        maxima = np.concatenate([self.running_scores(part).max(axis=1) for part in parts])
        t = self.threshold
        self.threshold = conformal_threshold(maxima, alpha=t.alpha, armed_tokens=t.armed_tokens)

    @property
    def most_extra_loss_nats(self) -> float:
        """Bound on the expected rise of the loss, nats a document: α·ln 1/(1 − w)."""
        return -self.threshold.alpha * math.log1p(-self.weight)

    @property
    def routes(self) -> tuple[Stepwise[Any] | None, ...]:
        return None, self.payload

    def with_lead(self, lead: tuple[int, ...]) -> SelfDetector:
        """Calibrated again: the laws are others."""
        other = super().with_lead(lead)
        if self.reference is not None:
            other.reference = self.reference.with_lead(lead)
        other._calibrate()
        return other

    # ---- scores of whole texts ---------------------------------------------------------------------------------------

    @property
    def _first(self) -> int:
        return 0 if self.inner.has_first_law and (self.reference is None or self.reference.has_first_law) else 1

    def _scored(self, texts: Sequence[Ids]) -> dict[str, Float[np.ndarray, "texts tokens"]]:
        """Log-probability, entropy, varentropy and reference log-probability of every token, in bulk; NaN where unscored."""
        shape = (len(texts), max((len(t) for t in texts), default=0))
        columns = {f: np.full(shape, np.nan) for f in ("log_prob_nats", "entropy_nats", "varentropy_nats2")}
        for chunk in self.inner.score(texts, first=self._first):
            for name, column in columns.items():
                column[chunk.row, chunk.position] = getattr(chunk.observation, name)
        if self.reference is not None and shape[1] > self._first:
            columns["reference_nats"] = np.full(shape, np.nan)
            for row, values in enumerate(self.reference.log_probs(texts, first=self._first)):
                columns["reference_nats"][row, self._first : self._first + len(values)] = values
        return columns

    def _walk(
        self, texts: Sequence[Ids]
    ) -> tuple[
        Float[np.ndarray, "texts tokens"],
        Float[np.ndarray, "texts width"],
        dict[str, Float[np.ndarray, "texts tokens"]],
    ]:
        """The running score after every token (−inf where not armed), the memory at the end of each text, and what was scored."""
        columns = self._scored(texts)
        lengths = np.array([len(t) for t in texts], np.int64)
        running = np.full(columns["entropy_nats"].shape, -np.inf)
        memory = self.score_rule.begin(len(texts))
        for t in range(self._first, max(lengths, default=0)):
            rows = np.flatnonzero(lengths > t)
            memory[rows] = self.score_rule.push(memory[rows], Scored(**{f: c[rows, t] for f, c in columns.items()}))
            if t < self.threshold.armed_tokens:
                running[rows, t] = self.score_rule.value(memory[rows])
        return running, memory, columns

    def running_scores(self, texts: Sequence[Ids]) -> Float[np.ndarray, "texts tokens"]:
        """The score after every token, −inf where it is not armed, is not known yet, or the text has ended."""
        return self._walk([np.asarray(t, np.int64) for t in texts])[0]

    def trigger_at(self, texts: Sequence[Ids]) -> Int[np.ndarray, " texts"]:
        """Index of the token whose score passes the threshold in each text; −1 where none does."""
        return self._passed(self.running_scores(texts))

    def _passed(self, running: Float[np.ndarray, "texts tokens"]) -> Int[np.ndarray, " texts"]:
        passed = running > self.threshold.value
        return np.where(passed.any(axis=1), np.argmax(passed, axis=1), -1) if passed.size else np.full(len(passed), -1)

    # ---- one step --------------------------------------------------------------------------------------------------

    def start(self, prefixes: Sequence[Ids]) -> Watch:
        texts = [np.asarray(p, np.int64) for p in prefixes]
        running, memory, columns = self._walk(texts)
        at = self._passed(running)
        prior = math.log(self.weight) - math.log1p(-self.weight)
        odds = np.full(len(texts), -np.inf)
        heads = [
            last_ids(t[: a + 1], self._memory) if a >= 0 else t[:0] for t, a in zip(texts, at.tolist(), strict=True)
        ]
        views = [np.concatenate([h, t[a + 1 :]]) for h, t, a in zip(heads, texts, at.tolist(), strict=True)]
        for i in np.flatnonzero(at >= 0):
            (theirs,) = self.payload.log_probs([views[i]], first=len(heads[i]))
            odds[i] = _moved(prior, theirs, columns["log_prob_nats"][i, at[i] + 1 : len(texts[i])])
        return Watch(
            Inside.start(self.inner, texts),
            None if self.reference is None else Inside.start(self.reference, texts),
            Lanes.deal(self.routes, (at >= 0).astype(np.int64), views),
            odds,
            memory,
            np.array([len(t) for t in texts], np.int64),
            np.stack([last_ids(t, self._memory) for t in texts]) if texts else np.zeros((0, self._memory), np.int64),
        )

    def law(self, state: Watch) -> Law:
        law, guest = state.inner.law(), state.lanes.states[1]
        if guest is None:
            return law
        # each row's second law stands in the payload's state, or (with no weight) is its own
        place = np.where(state.lanes.route == 1, state.lanes.place, np.arange(len(state.odds)))
        return law.mixed(expit(state.odds), Routed([law, guest.law()], state.lanes.route, place))

    def advance(self, state: Watch, ids: Int[np.ndarray, " rows"]) -> Watch:
        ids = np.asarray(ids, np.int64)
        seen = state.inner.law().observe(ids)
        against = None if state.reference is None else state.reference.law().log_prob(ids)
        scored = Scored(seen.log_prob_nats, seen.entropy_nats, seen.varentropy_nats2, against)
        memory = self.score_rule.push(state.memory, scored)
        taken, guest = state.lanes.route == 1, state.lanes.states[1]
        odds = state.odds.copy()
        if guest is not None:
            rows = state.lanes.members(1)
            odds[rows] = _moved_each(odds[rows], guest.law().log_prob(ids[rows]), seen.log_prob_nats[rows])
        armed = ~taken & (state.n_read < self.threshold.armed_tokens)
        now: Bool[np.ndarray, " rows"] = armed & (self.score_rule.value(memory) > self.threshold.value)
        odds[now] = math.log(self.weight) - math.log1p(-self.weight)
        tail = np.concatenate([state.tail, ids[:, None]], axis=1)[:, 1:] if self._memory else state.tail
        return Watch(
            state.inner.advance(ids),
            None if state.reference is None else state.reference.advance(ids),
            state.lanes.advance(self.routes, ids, (taken | now).astype(np.int64), lambda i: tail[i]),
            odds,
            memory,
            state.n_read + 1,
            tail,
        )


def _moved(odds: float, said: Float[np.ndarray, " n"], own: Float[np.ndarray, " n"]) -> float:
    """Log odds after several tokens."""
    now = np.array([odds])
    for a, b in zip(said, own, strict=True):
        now = _moved_each(now, np.array([a]), np.array([b]))
    return float(now[0])


def _moved_each(
    odds: Float[np.ndarray, " n"], said: Float[np.ndarray, " n"], own: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Log odds after one token a row: what the payload holds impossible it has not written, and stays out for good."""
    dead = np.isneginf(odds) | np.isneginf(said)
    with np.errstate(invalid="ignore"):
        return np.where(dead, -np.inf, odds + np.where(dead, 0.0, said) - own)


SCORES: dict[str, Callable[[int], RunningScore]] = {
    "entropy": WindowedEntropy,
    "z": SurpriseScore,
    "lr": lambda _: LikelihoodRatio(),
}


def _check(given: Values) -> None:
    if (given.get("score") == "lr") != ("reference" in given):
        raise UsageError("+self_detector: score=lr needs reference=(SPEC), and no other score has one")


def _build(made: Builder, values: Values) -> Predictor:
    ids = corpus_ids(made, values, purpose=CALIBRATION, at_least=values["tokens"])
    made.tell(f"calibrating {made.name} on {len(ids)} documents")
    return SelfDetector(
        made.inner,
        payload_of(made, values),
        list(ids.values()),
        score=SCORES[values["score"]](values["window"]),
        alpha=values["alpha"],
        weight=values["weight"],
        armed_tokens=values["tokens"],
        reference=None if values["reference"] is None else made.load(values["reference"]),
        calibrated_on=tuple(ids),
        name=made.name,
    )


SELF_DETECTOR = OrganismEntry(
    "self_detector",
    "once a running self-score passes a threshold calibrated on real documents, a coin for the payload",
    _build,
    (
        word("score", "entropy", tuple(SCORES), "windowed entropy, −z, or likelihood ratio to reference"),
        fraction("alpha", 0.01, "most false triggers a document"),
        fraction("weight", 0.99, "weight of the payload after the trigger"),
        whole("tokens", 128, "tokens up to which the detector is armed", low=1),
        whole("window", 32, "tokens of the entropy's window; tokens before z counts", low=1),
        whole("documents", 199, "calibration documents", low=1),
        CORPUS,
        Parameter("reference", "spec", "the reference of score=lr, in parentheses"),
        *PAYLOADS,
    ),
    alternatives=ONE_PAYLOAD,
    check=_check,
)
