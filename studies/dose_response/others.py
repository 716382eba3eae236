"""Points of the dose–response picture whose excess is known from below only: n-grams of a real corpus, and finished audits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError
from freerun.findings.evidence import Evidence
from freerun.jobs.audit.options import AuditOptions
from freerun.predictors.ngram import byte_ngram
from freerun.runs.run import open_run
from freerun.stats.paired import paired_difference
from freerun.text.corpora import read_corpus
from freerun.text.documents import Corpus, fingerprint
from studies.dose_response.models import Dose
from studies.dose_response.responses import Response, detected
from studies.measured import measured


def halves(corpus: Corpus) -> tuple[Corpus, Corpus]:
    """The corpus in two by a hash of the unit: what models are counted on, and what they are audited on."""
    counted = {
        d.unit for d in corpus.documents if int(hashlib.sha256(f"counted/{d.unit}".encode()).hexdigest(), 16) % 2
    }
    parts = []
    for name, inside in (("counted half", True), ("audited half", False)):
        documents = tuple(d for d in corpus.documents if (d.unit in counted) == inside)
        spec = f"{corpus.spec}, {name}"
        parts.append(replace(corpus, documents=documents, fingerprint=fingerprint(documents), spec=spec, name=spec))
    return parts[0], parts[1]


def ngram_responses(
    spec: str, options: AuditOptions, *, orders: Sequence[int] = (1, 2, 3, 4, 5, 6)
) -> tuple[Response, ...]:
    """Byte n-grams counted on one half of a corpus and audited on the other; excess over the best of them, a lower bound.

    The best one has no excess over itself and gives no point.
    """
    counted, audited = halves(read_corpus(spec))
    texts = [d.text for d in counted.documents]
    found: list[tuple[Response, Float[np.ndarray, "documents two"]]] = []
    for order in orders:
        dose = Dose("n-gram, python-docs", f"order {order}", f"ngram/{order}@{counted.spec}")
        with measured(byte_ngram(texts, order=order, name=dose.spec), audited, options) as evidence:
            found.append((detected(dose, evidence, audited.spec), _loss_sums(evidence)))
    best = min(found, key=lambda one: one[0].loss_nats)[1]
    out = []
    for point, sums in found:
        if sums is best:
            continue
        d = paired_difference(best[:, 0], best[:, 1], sums[:, 0], sums[:, 1])
        at = float(point.longest_tokens)
        out.append(replace(point, excess_nats=d.value, excess_low=d.low, excess_high=d.high, at_tokens=at))
    return tuple(out)


def _loss_sums(evidence: Evidence) -> Float[np.ndarray, "documents two"]:
    """Nats and tokens of every document's real text, documents in the order of their names."""
    records = evidence.records
    rows = sorted(records.chosen(arm="real"), key=lambda i: str(records.sequences["document_id"][i]))
    parts = [records.tokens["log_prob_nats"][records.rows(int(i))] for i in rows]
    return np.array([[-float(p.sum()), float(p.size)] for p in parts])


# ---- finished runs -----------------------------------------------------------------------------------------------------


def run_responses(paths: Sequence[str | Path]) -> tuple[Response, ...]:
    """Points from finished audits, from their result.json alone.

    Runs of the same texts and tokens are held against the one of least loss, which gives no point; a run that stands alone is held
    against its own reference. Both are lower bounds of the excess.

    Raises:
        DataError: no result there, or a run without a finite loss or a horizon.
    """
    held = [(open_run(p).result, str(p)) for p in paths]
    groups: dict[tuple[object, ...], list[tuple[Any, str]]] = {}
    for result, path in held:
        plan = result["plan"]
        key = (
            plan["corpus_fingerprint"],
            plan["prefix"],
            plan.get("cut"),
            plan["tokens"],
            result["model"]["vocabulary"],
        )
        groups.setdefault(key, []).append((result, path))
    out = []
    for members in groups.values():
        least = min(members, key=lambda m: _estimate(m, "loss", "loss_nats_per_token")["value"])
        for member in members:
            if len(members) > 1 and member is least:
                continue
            own = _estimate(member, "loss", "loss_nats_per_token")["value"]
            if len(members) > 1:
                excess = {
                    "value": own - _estimate(least, "loss", "loss_nats_per_token")["value"],
                    "low": None,
                    "high": None,
                }
            else:
                excess = _estimate(member, "loss", "excess_at_least_nats_per_token")
            out.append(_of_run(member, excess, own))
    return tuple(out)


def _of_run(member: tuple[Any, str], excess: dict[str, Any], loss: float) -> Response:
    result, _ = member
    plan, h = result["plan"], _estimate(member, "detectability", "h75")
    longest = int(plan["tokens"])
    return Response(
        "audited models",
        str(plan["model"]),
        str(plan["model"]),
        str(plan["corpus"]),
        "at least",
        float(excess["value"]),
        excess["low"],
        excess["high"],
        float(longest),
        h["value"],
        h["low"],
        h["high"],
        str(h["text"]).startswith(">"),
        longest,
        float(_estimate(member, "detectability", "auc_last")["value"]),
        loss,
        int(result["counts"]["pairs"]) - int(h["n"]),
        int(h["n"]),
    )


def _estimate(member: tuple[Any, str], finding: str, name: str) -> dict[str, Any]:
    result, path = member
    for f in result["findings"]:
        if f["name"] == finding:
            for e in f["estimates"]:
                if e["name"] == name and (e["value"] is not None or e["text"]):
                    return dict(e)
    raise DataError(f"{path}: no {name}; a point needs a finite loss and a horizon")
