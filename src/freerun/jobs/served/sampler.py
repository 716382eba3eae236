"""The sampler's audit of own text that another model wrote: verified token by token against the law of the model that reads it."""

from __future__ import annotations

import json

import numpy as np

from freerun.files import write_atomically
from freerun.jobs.served.law import completion, law_served
from freerun.jobs.served.requests import served_in
from freerun.predictors.base import Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.records.plan import AuditPlan
from freerun.records.requests import LAW_SERVED
from freerun.records.store import Records, RunFolder, load_records
from freerun.results.finding import to_json
from freerun.runs.progress import Progress
from freerun.samples.completion import Completion
from freerun.text.pairs import Pair

FOLDER = "served"


def verify_own_text(
    predictor: Predictor, pairs: tuple[Pair, ...], plan: AuditPlan, folder: RunFolder, tell: Progress
) -> None:
    """Hold the recorded own text against the law that it is read with, once; nothing where the model wrote it itself."""
    path = folder.path / LAW_SERVED
    if plan.own_text_from is None or not isinstance(predictor, OwnTextFrom) or path.exists():
        return
    drawn = _samples(predictor, pairs, plan, load_records(folder))
    found = law_served(predictor, plan.own_text_from, drawn, folder.path / FOLDER, plan.sampling, tell, key=plan.hash)
    write_atomically(path, json.dumps(to_json(found), allow_nan=False) + "\n")


def _samples(both: OwnTextFrom, pairs: tuple[Pair, ...], plan: AuditPlan, records: Records) -> list[Completion]:
    """Own texts of the records in their order, each after all that stood before it."""
    assert plan.own_text_from is not None
    lead = np.array(both.context.lead, np.int64)
    sequences, tokens = records.sequences, records.tokens
    served = served_in(both)
    sent = plan.own_text_from.sent if served is None else served.sent_for(plan.sampling)
    out: list[Completion] = []
    for row in records.chosen(arm="free").tolist():
        pair = pairs[int(sequences["sequence"][row]) // plan.measured.stride]
        at = records.rows(row)
        out.append(
            completion(
                len(out),
                np.concatenate([lead, pair.context.astype(np.int64)]),
                tokens["token_id"][at],
                tokens["sample_log_prob_nats"][at],
                group=str(sequences["document_id"][row]),
                ended=str(sequences["end_reason"][row]) == "end_of_text",
                sent=sent,
            )
        )
    return out
