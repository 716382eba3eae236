"""A finished run, small enough to keep when its records are gone, and whole enough to compare it with others.

What is compared is kept document by document: the sums of every quantity, the AUC by length with what each document contributes,
and digests that tell whether two runs read the same tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from freerun.comparisons.differences import Values, values_of
from freerun.comparisons.terms import SameRecords
from freerun.errors import DataError
from freerun.findings.detectability.comparison import Comparison, compared
from freerun.findings.evidence import Evidence
from freerun.findings.own_text.standing import own_text_of
from freerun.records.plan import AuditPlan, read_plan
from freerun.results.audit import AuditResult, OwnText
from freerun.results.finding import to_json
from freerun.results.first_look import FirstLook
from freerun.results.json import from_json
from freerun.results.quantity import Sums
from freerun.results.verdict import Measured, Status
from freerun.stats.detection.curve import AucCurve

SUMMARY_VERSION = 1


@dataclass(frozen=True)
class Document:
    """One real text as a run scored it. `tokens`: digest of the prefix's and the continuation's ids; `records`: of all that was
    recorded of it, and of the own texts of the same document (`own`)."""

    id: str
    unit: str
    split: str
    tokens: str
    records: str
    own: tuple[str, ...]
    loss_nats: float
    """Over the tokens that the run holds possible."""
    n_possible: int
    n_impossible: int


@dataclass(frozen=True, eq=False)
class RunDigest:
    """What is kept of a run."""

    summary_version: int
    manifest: dict[str, Any]
    """The plan, the model's vocabulary and what the run was made with."""
    sentence: str
    status: Status
    outcome: Measured
    own_text: OwnText
    unit_names: tuple[str, ...]
    sums: tuple[Sums, ...]
    curve: AucCurve | None
    why_no_curve: str
    documents: tuple[Document, ...]
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of what was written of the run beside its records."""
    first_look: FirstLook | None = None
    """How many of the plan's documents it rests on, where that is a first look."""

    @property
    def n_documents(self) -> int:
        """Documents that it rests on."""
        return self.plan.documents if self.first_look is None else self.first_look.documents

    @cached_property
    def plan(self) -> AuditPlan:
        """What was measured."""
        return read_plan(self.manifest["plan"])

    @property
    def has_impossible_tokens(self) -> bool:
        """Whether the law gives no mass to some real token."""
        return self.n_impossible > 0

    @property
    def n_impossible(self) -> int:
        """Real tokens to which the law gives no mass."""
        return sum(d.n_impossible for d in self.documents)

    @cached_property
    def values(self) -> Values:
        """The quantities by finding and name."""
        return {(s.quantity.finding, s.quantity.name): s for s in self.sums}

    @cached_property
    def by_id(self) -> dict[str, Document]:
        """The documents by their ids."""
        return {d.id: d for d in self.documents}


@dataclass(frozen=True)
class SharedTexts:
    """The real texts that two runs have: how many, and in how many of them they read other tokens."""

    n_documents: int
    n_other_tokens: int
    pairs: tuple[tuple[Document, Document], ...]
    """Those of the same tokens."""

    @property
    def same_tokens(self) -> bool:
        return self.n_other_tokens == 0

    @classmethod
    def of(cls, first: RunDigest, second: RunDigest) -> SharedTexts:
        """Of two runs, in the order of the first."""
        shared = [(d, second.by_id[d.id]) for d in first.documents if d.id in second.by_id]
        same = tuple((a, b) for a, b in shared if a.tokens == b.tokens)
        return cls(len(shared), len(shared) - len(same), same)


def same_records(first: RunDigest, second: RunDigest) -> SameRecords:
    """Whether two runs recorded the same, by their digests."""
    shared = [(d, second.by_id[d.id]) for d in first.documents if d.id in second.by_id]
    return SameRecords(
        real=bool(shared) and all((a.records, a.split) == (b.records, b.split) for a, b in shared),
        free=bool(shared) and all(a.own == b.own for a, b in shared),
        all_documents=first.by_id.keys() == second.by_id.keys(),
    )


def digest_of(evidence: Evidence, result: AuditResult, files: dict[str, str]) -> RunDigest:
    """What is kept of a run whose result was derived from this evidence; `files`: checksums of its result and page."""
    manifest, own_text = evidence.manifest, evidence.once(own_text_of)
    outcome = None if own_text.refused else evidence.once(compared)
    kept = {
        "plan": manifest["plan"],
        "plan_hash": manifest["plan_hash"],
        "command": manifest["command"],
        "model": {"vocabulary": manifest["model"].get("vocabulary"), "nature": manifest["model"].get("nature")},
        "provenance": {k: v for k, v in manifest["provenance"].items() if k != "created"},
    }
    return RunDigest(
        SUMMARY_VERSION,
        kept,
        result.verdict.sentence,
        result.verdict.status,
        result.verdict.outcome,
        own_text,
        tuple(evidence.unit_names),
        tuple(values_of(evidence, refused=own_text.refused).values()),
        outcome.main.aucs if isinstance(outcome, Comparison) else None,
        "its own text is refused as evidence"
        if outcome is None
        else ""
        if isinstance(outcome, Comparison)
        else str(outcome),
        tuple(_documents(evidence)),
        files,
        evidence.first_look,
    )


def written(digest: RunDigest, key: str) -> str:
    """As the file of a summary, with its checksum and the key of what was asked for."""
    body = {"key": key, **to_json(digest)}
    return json.dumps({"sha256": _checksum(body), "summary": body}, allow_nan=False) + "\n"


def read(text: str) -> tuple[str, RunDigest]:
    """Key and digest from the file of a summary.

    Raises:
        DataError: it is damaged, or of another version.
    """
    try:
        stored = json.loads(text)
        body = stored["summary"]
        if stored["sha256"] != _checksum(body):
            raise DataError("it does not fit its checksum")
        version, key = body["summary_version"], str(body["key"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"it is not a summary ({error})") from error
    if version != SUMMARY_VERSION:
        raise DataError(f"it has version {version!r}, this freerun reads {SUMMARY_VERSION}")
    return key, from_json(RunDigest, body)


def _checksum(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


# ---- documents ---------------------------------------------------------------------------------------------------------


def _documents(evidence: Evidence) -> list[Document]:
    records = evidence.records
    log_probs = records.tokens["log_prob_nats"]
    own: dict[str, list[str]] = {}
    for i in records.chosen(arm="free").tolist():
        own.setdefault(str(records.sequences["document_id"][i]), []).append(_recorded(evidence, i))
    out = []
    for i in records.chosen(arm="real").tolist():
        mine = log_probs[records.rows(i)]
        possible: Bool[np.ndarray, " tokens"] = np.isfinite(mine)
        name = str(records.sequences["document_id"][i])
        out.append(
            Document(
                name,
                str(records.sequences["unit"][i]),
                str(records.sequences["split"][i]),
                _tokens(evidence, i),
                _recorded(evidence, i),
                tuple(own.get(name, ())),
                float(-mine[possible].sum()),
                int(possible.sum()),
                int((~possible).sum()),
            )
        )
    return out


def _tokens(evidence: Evidence, i: int) -> str:
    before = list(evidence.local_ids("prefix_ids")[i])
    after = evidence.local_ids("token_id")[evidence.records.rows(i)]
    return _hashed([np.asarray(before, np.int64), np.asarray(after, np.int64)])


def _recorded(evidence: Evidence, i: int) -> str:
    """Of every column of every token of a text, and its calibration counts."""
    records = evidence.records
    columns = [np.asarray(records.tokens[c][records.rows(i)]) for c in sorted(records.tokens)]
    counts = (np.asarray(records.sequences[c][i], np.float64) for c in ("observed_counts", "expected_counts"))
    return _hashed([*columns, *counts])


def _hashed(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes() if array.dtype != object else repr(array.tolist()).encode())
    return digest.hexdigest()[:32]
