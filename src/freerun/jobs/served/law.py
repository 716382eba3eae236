"""Does a server sample the law of a checkpoint that is here? What it drew is written to a file and verified like anybody's samples.

Two engines that compute one law do not compute the same numbers: a 4-bit model multiplies in 8 bits in one and in floats in the
other.
So some of the server's own texts are scored by the server and by the checkpoint, and their root mean square difference is
granted to
the draws as noise, up to a limit beyond which it is another law. What the server says while it draws is not used for that: it
may be of
a law that was cut.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from freerun.errors import BackendError, FreerunError, UsageError
from freerun.files import write_atomically
from freerun.findings.verification.cause import cause_words
from freerun.findings.verification.quantities import LOGPROB_GAP, MATCH_P
from freerun.jobs.served.load import GAP_TOKENS
from freerun.jobs.served.requests import served_in
from freerun.jobs.served.stated import own_rule
from freerun.jobs.verify.verify import verify
from freerun.predictors.base import Ids, Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.rules import SamplingRule
from freerun.records.plan import WriterPlan
from freerun.results.engine_gap import EngineGap
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.served import LawServed
from freerun.results.stated_rule import StatedRule
from freerun.results.verify import VerifyResult
from freerun.runs.progress import Progress
from freerun.samples.completion import Completion
from freerun.samples.writing import write_samples
from freerun.stats.verification.battery import ALPHA

SAMPLES = "samples.jsonl"
VERIFICATION = "verification"
GAP = "engine_gap.json"
SCORES_NONE = ("unusable answer", "HTTP 400", "HTTP 404", "HTTP 405", "HTTP 422", "HTTP 501")
"""How the scoring of a text fails on a server that scores none."""
MOST_FLOOR_NATS = 0.15
"""The most that is granted: a 4-bit model in 8-bit products (llama.cpp) and in floats differs by 0.07 to 0.09."""
FARTHEST_NATS = 50.0
"""A larger difference counts as this one: a token that one of the two holds impossible."""


def law_served(
    both: OwnTextFrom,
    plan: WriterPlan,
    drawn: Sequence[Completion],
    folder: Path,
    declared: SamplingRule,
    tell: Progress,
    *,
    key: str = "",
    gap: EngineGap | None = None,
) -> LawServed:
    """Verify what the writer drew against the reader's law; `folder` keeps the samples, the records and a page of their own.

    `gap`: how far apart the engines are, where that is known already.

    Raises:
        FreerunError: as `verify` does.
    """
    if not (folder / SAMPLES).exists():
        write_samples(folder / SAMPLES, drawn)
    gap = gap or recorded_gap(both, drawn, folder, key, tell)
    tell.say("are these draws from the law of the model that reads them?")
    found = _verified(both, folder / SAMPLES, folder / VERIFICATION, declared, gap, tell)
    stated = None
    if found.verdict.match == "differs":
        stated = stated_rule(both, folder / SAMPLES, folder / VERIFICATION, gap, tell)
    served = served_in(both)
    sent = plan.sent if served is None else served.sent_for(declared)
    return _said(plan, sent, found, gap, declared, stated)


def _verified(
    both: OwnTextFrom,
    samples: Path,
    out: Path,
    rule: SamplingRule,
    gap: EngineGap | None,
    tell: Progress,
    *,
    cause_tokens: int = 8192,
) -> VerifyResult:
    floor = None if gap is None else gap.floor_nats
    return verify(
        samples,
        both,
        out=out,
        progress=tell,
        declared=typed(rule),
        order="typed",
        ends="present",
        floor_nats=floor,
        cause_tokens=cause_tokens,
    )


def stated_rule(
    both: OwnTextFrom, samples: Path, verification: Path, gap: EngineGap | None, tell: Progress
) -> StatedRule | None:
    """Whether draws of a server to which nothing was sent fit the rule that it states, but for the engines' noise. None
    where every setting was sent, or the server states none. `verification`: the folder of the
    one that stands already; this one's records go beside it."""
    served = served_in(both)
    rule = None if served is None or served.sends_rule else own_rule(served)
    if rule is None or rule.is_model_law:
        return None
    tell.say(f"do they fit the server's own defaults, {rule.describe()}?")
    out = verification.with_name(f"{verification.name}-stated")
    found = _verified(both, samples, out, rule, gap, tell, cause_tokens=256)
    tests = found.tests
    assert tests is not None
    p = tests.p_beyond_floor
    return StatedRule(rule.describe(), p, tests.n_outside, tests.n_beyond_floor, p >= ALPHA)


def _said(
    plan: WriterPlan,
    sent: str,
    found: VerifyResult,
    gap: EngineGap | None,
    declared: SamplingRule,
    stated: StatedRule | None,
) -> LawServed:
    tests = found.tests
    assert tests is not None
    kept = (MATCH_P.finding, "cause", LOGPROB_GAP.finding)
    return LawServed(
        writer=plan.model,
        sends_rule=plan.sends_rule,
        sent=sent,
        declared=declared.describe(),
        n_texts=found.samples.n_completions,
        n_tokens=found.samples.n_drawn_tokens,
        match=found.verdict.match,
        p_value=tests.p_value,
        cause=found.cause,
        floor_nats=tests.floor_nats,
        gap=gap,
        stated=stated,
        sentence=found.verdict.sentence,
        cause_sentence=cause_words(found.cause, stated),
        findings=tuple(f for f in found.findings if f.name in kept),
    )


def typed(rule: SamplingRule) -> str:
    """A rule as it is typed, its steps in their order.

    >>> typed(SamplingRule.of(temperature=0.7, top_k=40)), typed(SamplingRule())
    ('temperature=0.7,top_k=40', 't=1')
    """
    return ",".join(f"{name}={value:g}" for step in rule.steps for name, value in vars(step).items()) or "t=1"


# ---- the engines' arithmetic -------------------------------------------------------------------------------------------


def recorded_gap(
    both: OwnTextFrom, drawn: Sequence[Completion], folder: Path, key: str, tell: Progress
) -> EngineGap | None:
    """Measured once and recorded."""
    path = folder / GAP
    try:
        held = json.loads(path.read_text())
        if held["key"] == key:
            return None if held["gap"] is None else from_json(EngineGap, held["gap"])
    except (OSError, ValueError, KeyError, TypeError, FreerunError):
        pass
    tell.say("scoring some of its text by both engines")
    gap = engine_gap(both, [(c.prompt_ids, c.completion_ids) for c in drawn if c.completion_ids is not None])  # type: ignore[misc]
    write_atomically(path, json.dumps({"key": key, "gap": to_json(gap)}, allow_nan=False) + "\n")
    return gap


def engine_gap(both: OwnTextFrom, texts: Sequence[tuple[Ids, Ids]]) -> EngineGap | None:
    """Some texts (prompt with lead, completion), evenly over all, under both laws; None where the writer scores no text."""
    lead = len(both.context.lead)
    chosen = _spread([len(text) for _, text in texts], GAP_TOKENS)
    sequences = [np.concatenate(texts[i])[lead:].astype(np.int64) for i in chosen]
    firsts = [len(texts[i][0]) - lead for i in chosen]
    writer = log_probs_by(both.writer, sequences, firsts)
    if writer is None:
        return None
    reader = log_probs_by(both.reader, sequences, firsts)
    assert reader is not None
    return gap_between(np.concatenate(writer), np.concatenate(reader))


def log_probs_by(model: Predictor, texts: Sequence[Ids], firsts: Sequence[int]) -> list[np.ndarray] | None:
    """Log-probabilities, nats, of each text from its first token on; None from a server that scores no text.

    Raises:
        BackendError: it scores texts, and failed.
    """
    try:
        return model.log_probs_after(texts, np.asarray(firsts, np.int64))
    except UsageError:
        return None
    except BackendError:
        served = served_in(model)
        if served is not None and served.client.tally.failed[-1].kind in SCORES_NONE:
            return None
        raise


def gap_between(one: Float[np.ndarray, " tokens"], two: Float[np.ndarray, " tokens"]) -> EngineGap:
    """Log-probabilities of the same tokens under two computations of one law."""
    with np.errstate(invalid="ignore"):
        apart = np.where(one == two, 0.0, np.abs(one - two))
    largest = float(apart.max())
    bounded = np.minimum(np.nan_to_num(apart, nan=FARTHEST_NATS), FARTHEST_NATS)
    return EngineGap(
        n_tokens=len(apart),
        mean_absolute_nats=float(bounded.mean()),
        root_mean_square_nats=float(np.sqrt(np.square(bounded).mean())),
        largest_nats=largest if np.isfinite(largest) else None,
        most_nats=MOST_FLOOR_NATS,
    )


def _spread(lengths: Sequence[int], most: int) -> list[int]:
    """Numbers of texts, evenly over all, with about so many tokens together; one at least."""
    n = len(lengths)
    wanted = max(1, min(n, int(most / max(1.0, sum(lengths) / n))))
    return list(dict.fromkeys(int((j + 0.5) * n / wanted) for j in range(wanted)))


# ---- samples -----------------------------------------------------------------------------------------------------------


def completion(
    row: int, prompt: Ids, ids: Ids, told_nats: Float[np.ndarray, " tokens"], *, group: str, ended: bool, sent: str
) -> Completion:
    """A drawn text as a sample; `prompt` with all that stood before, lead and exemplars included."""
    return Completion(
        row,
        prompt_ids=prompt.astype(np.int64),
        completion_ids=ids.astype(np.int64),
        log_probs_nats=told_nats,
        group=group,
        finish_reason="stop" if ended else "length",
        sampling=dict(json.loads(sent)),
    )
