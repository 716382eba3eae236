"""Where do the two models part? The tokens before which their laws are furthest apart, in their context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from freerun.findings.special_tokens import Spellings
from freerun.findings.two_laws.evidence import ARM_WORDS, TwoModels
from freerun.records.distance import Texts
from freerun.results.distance import Parting, SeenToken
from freerun.results.finding import known
from freerun.results.predict import ProbableToken

MOST = 12
"""Places shown, one of a document at most."""
BEFORE, AFTER = 24, 8
"""Tokens shown around each."""
BEFORE_CHARACTERS = 200


def partings(models: TwoModels) -> tuple[Parting, ...]:
    """The tokens of largest KL(A‖B) on the text that single tokens are described on, the largest of each document; none where text was
    redacted."""
    arm = models.token_arm
    texts = models.texts(arm)
    if texts is None or texts.token_id is None:
        return ()
    kl = np.where(texts.inside, texts.laws.kl_pq, -1.0)
    order = np.argsort(-kl.max(axis=1), kind="stable")
    units: set[int] = set()
    out = []
    spell = spellings_of(models.records.manifest, models.plan.end_ids)
    for text in order.tolist():
        unit = int(texts.laws.unit[text])
        at = int(kl[text].argmax())
        if unit in units or kl[text, at] <= 0:
            continue
        units.add(unit)
        out.append(_parting(texts, text, at, arm, spell))
        if len(out) == MOST:
            break
    return tuple(out)


def spellings_of(manifest: Mapping[str, Any], end_ids: tuple[int, ...]) -> Spellings:
    """How the run's markers are spelled."""
    return Spellings(manifest["special_tokens"], list(end_ids))


def _parting(texts: Texts, text: int, at: int, arm: str, spell: Spellings) -> Parting:
    assert texts.prefix_text is not None
    assert texts.top_p_id is not None
    assert texts.top_q_id is not None
    assert texts.top_p_bytes is not None
    assert texts.top_q_bytes is not None
    assert texts.token_bytes is not None
    first, last = max(0, at - BEFORE), min(int(texts.laws.n_tokens[text]), at + 1 + AFTER)
    told = b"".join(texts.token_bytes[text][:first]).decode("utf-8", "replace")
    before = (texts.prefix_text[text] + told)[-BEFORE_CHARACTERS:]
    return Parting(
        document_id=texts.document_id[text],
        arm=ARM_WORDS[arm],
        position=at,
        at=at - first,
        before=before,
        tokens=tuple(_seen(texts, text, t, spell) for t in range(first, last)),
        top_a=ProbableToken(
            **_shown(texts.top_p_bytes[text][at], int(texts.top_p_id[text, at]), spell),
            log_prob_nats=float(texts.top_log_p_nats[text, at]),
        ),
        top_b=ProbableToken(
            **_shown(texts.top_q_bytes[text][at], int(texts.top_q_id[text, at]), spell),
            log_prob_nats=float(texts.top_log_q_nats[text, at]),
        ),
    )


def _seen(texts: Texts, text: int, t: int, spell: Spellings) -> SeenToken:
    assert texts.token_bytes is not None
    assert texts.token_id is not None
    laws = texts.laws
    return SeenToken(
        **_shown(texts.token_bytes[text][t], int(texts.token_id[text, t]), spell),
        kl_nats=known(laws.kl_pq[text, t]),
        log_p_nats=known(laws.log_p[text, t]),
        log_q_nats=known(laws.log_q[text, t]),
    )


def _shown(spelled: bytes, token_id: int, spell: Spellings) -> dict[str, Any]:
    """A token's text, its bytes where they are not characters by themselves, or its marker."""
    if not spelled:
        return {"id": token_id, "text": "", "marker": "special", "token": spell.of(token_id)}
    try:
        return {"id": token_id, "text": spelled.decode()}
    except UnicodeDecodeError:
        return {"id": token_id, "text": spelled.decode("utf-8", "replace"), "bytes_hex": spelled.hex()}
