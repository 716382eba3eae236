"""What a server is asked by a job, counted before it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from freerun.jobs.served.requests import requests_of, served_in
from freerun.predictors.base import Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.servers.trial import TRIAL_TOKENS
from freerun.results.forecast import Forecast, ServerLoad

NOT_IN_AUDITS = ("the drift of entropy", "calibration", "z and the sampler's audit", "divergences of hidden states")
NOT_IN_DISTANCES = (
    "the divergence of single tokens",
    "the most probable token",
    "entropies and drift",
    "llama.cpp's table",
)
GAP_TOKENS = 512
"""Tokens of a server's own text that it scores again, beside another model's; it may need a request for every one."""


@dataclass(frozen=True)
class Asked:
    """Texts that a server writes, and texts that it scores with so many tokens together."""

    texts_to_write: int
    texts_to_score: int = 0
    tokens_to_score: int = 0


def load_of(
    predictor: Predictor,
    asked: Asked,
    *,
    known_by: int,
    not_measured: tuple[str, ...] = (),
    rule: SamplingRule = MODEL_LAW,
) -> ServerLoad:
    """`known_by`: requests that were sent to get to know the server, which the job itself sends again. `rule`: of the draws.

    Two texts more are scored, at the beginning and at the end, to see that it has one law.
    """
    served = served_in(predictor)
    assert served is not None
    each, watched = served.dialect.requests_a_token, 2 * served.dialect.scores_texts
    asked = replace(
        asked,
        texts_to_score=asked.texts_to_score + watched,
        tokens_to_score=asked.tokens_to_score + watched * (TRIAL_TOKENS - 1),
    )
    return ServerLoad(
        server=served.identity.name,
        sent=served.sent_for(rule),
        requests=known_by + asked.texts_to_write + (asked.tokens_to_score if each else asked.texts_to_score),
        requests_to_know_it=known_by,
        texts_to_write=asked.texts_to_write,
        texts_to_score=asked.texts_to_score,
        requests_a_token=each,
        at_once=min(n for n in (served.client.at_once, served.dialect.most_at_once) if n is not None),
        not_measured=not_measured,
    )


def answered_by(predictor: Predictor) -> int:
    """Requests that the server of a predictor answered to this process; 0 where none is served."""
    seen = requests_of(predictor)
    return 0 if seen is None else seen.answered


def with_server(forecast: Forecast, predictor: Predictor, *, known_by: int) -> Forecast:
    """An audit's forecast with what its server would be asked; as it is where nothing is served.

    A server whose laws are read by another model writes, and scores some of it. One that is audited itself scores real text, with
    and without what stands before it, and some texts again.
    """
    served = served_in(predictor)
    if served is None:
        return forecast
    n_each = forecast.tokens
    n_texts = forecast.tokens_to_sample // n_each
    if isinstance(predictor, OwnTextFrom):
        n_gap = gap_texts(n_texts, n_each)
        asked = Asked(n_texts, n_gap, n_gap * n_each)
        return replace(forecast, server=load_of(predictor, asked, known_by=known_by))
    scored = forecast.tokens_to_score + forecast.tokens_to_score_without_prefix + forecast.tokens_to_score_again
    if not served.raw_at_any_temperature:
        scored += forecast.documents * n_each  # the control's texts
    asked = Asked(n_texts, -(-scored // n_each), scored)
    load = load_of(predictor, asked, known_by=known_by, not_measured=NOT_IN_AUDITS)
    return replace(forecast, server=load)


def gap_texts(n_texts: int, n_tokens: int) -> int:
    """Texts that both engines score, of `n_texts` with `n_tokens` each."""
    return max(1, min(n_texts, GAP_TOKENS // max(1, n_tokens)))
