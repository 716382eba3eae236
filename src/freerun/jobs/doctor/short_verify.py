"""A short verification of a server against a checkpoint: its law when every setting is sent, and when none is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from freerun.jobs.doctor.texts import TEXTS, first_tokens
from freerun.jobs.served.law import completion, law_served
from freerun.jobs.served.writers import read_by, writer_plan
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.rules import MODEL_LAW
from freerun.predictors.servers.predictor import ServedModel
from freerun.records.plan import WriterPlan
from freerun.results.engine_gap import EngineGap
from freerun.results.served import LawServed
from freerun.runs.progress import Silent
from freerun.samples.completion import Completion
from freerun.specs.spec import LoadOptions

TEXTS_EACH = 4
TOKENS = 32
PROMPT_TOKENS = 16


def laws_served(
    model: ServedModel, other: Predictor, gap: EngineGap, say: Callable[[str], None]
) -> tuple[LawServed, ...]:
    """Held against the other model's law: draws with every setting sent, and draws with none."""
    out = []
    for writer in (model, model.by_itself()):
        both = read_by(other, writer, LoadOptions(), say)
        plan = writer_plan(both)
        assert plan is not None
        say(
            f"drawing and verifying {len(TEXTS) * TEXTS_EACH} texts, {'every setting' if plan.sends_rule else 'nothing'} sent"
        )
        drawn = list(_drawn(both, plan))
        with tempfile.TemporaryDirectory() as folder:
            out.append(law_served(both, plan, drawn, Path(folder), MODEL_LAW, Silent(), gap=gap))
    return tuple(out)


def _drawn(both: OwnTextFrom, plan: WriterPlan) -> Iterator[Completion]:
    prompts = [first_tokens(both, i, PROMPT_TOKENS) for i in range(len(TEXTS))]
    keys = np.arange(1, len(prompts) * TEXTS_EACH + 1, dtype=np.uint64).reshape(len(prompts), TEXTS_EACH)
    lead = np.array(both.context.lead, np.int64)
    todo = Continuations(prompts, keys, TOKENS, seed=3)
    for sample in sorted(both.written(todo), key=lambda s: s.row):
        number = sample.row // TEXTS_EACH
        yield completion(
            sample.row,
            np.concatenate([lead, prompts[number]]),
            sample.observation.token_id,
            sample.observation.log_prob_nats,
            group=str(number),
            ended=sample.end_reason == "end_of_text",
            sent=plan.sent,
        )
