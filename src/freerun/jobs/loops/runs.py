"""A finished audit as texts: what the model wrote, beside the real continuations of the same documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from freerun.errors import UsageError
from freerun.findings.evidence import Evidence
from freerun.findings.loops.evidence import loop_evidence
from freerun.findings.loops.texts_of_records import numeric_ids, texts_of_rows
from freerun.findings.plain_text import PlainText
from freerun.jobs.loops.reading import ReadTexts, Sides
from freerun.records.schema import ArmName
from freerun.results.loops import TextsRead
from freerun.runs.run import evidence_of, is_distance

RUN = "audit"


class RecordedTokens:
    """Tokens of a run, spelled as its records show them."""

    unit = "tokens"

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self.name: str | None = str(evidence.plan.model)
        self.end_ids = frozenset(int(i) for i in evidence.plan.end_ids)

    def encode(self, texts: object) -> None:
        return None

    def phrase(self, ids: Int[np.ndarray, " _tokens"]) -> str:
        if not self._evidence.has_text:
            return "not shown: the run was redacted"
        words = self._evidence.once(PlainText)
        return b"".join(words.spelling.get(int(i), f"⟨{i}⟩".encode()) for i in ids).decode("utf-8", "replace")

    def numbers(self, ids: Int[np.ndarray, " tokens"]) -> Bool[np.ndarray, " tokens"] | None:
        table = self._evidence.once(numeric_ids)
        return None if table is None else np.asarray(table[ids])


def is_run(path: str | Path) -> bool:
    """Whether a path is the folder of a run."""
    return (Path(path) / "manifest.json").is_file()


def gather_run(path: Path, *, history: bool) -> Sides:
    """The free arm of a finished audit and its real arm.

    Raises:
        UsageError: a distance between two models. DataError: no finished audit there.
    """
    if is_distance(path):
        raise UsageError(
            f"{path} is a distance between two models: the loops of both stand in {path / 'report.html'}; `freerun loops` takes a "
            "finished audit, or samples"
        )
    evidence = evidence_of(path)
    own, real = _side(evidence, path, "free", history), _side(evidence, path, "real", history)
    return Sides(own, real, str(evidence.plan.model), matched=True)


def _side(evidence: Evidence, path: Path, arm: ArmName, history: bool) -> ReadTexts:
    rows = evidence.once(loop_evidence).rows(arm)
    texts = texts_of_rows(evidence, rows, history=history)
    sequences = evidence.records.sequences
    names = tuple(
        f"{document}, {int(replicate) + 1}" if arm == "free" else str(document)
        for document, replicate in zip(sequences["document_id"][rows], sequences["replicate"][rows], strict=True)
    )
    ended = int(texts.ended.sum())
    facts = TextsRead(
        name=str(path),
        format=RUN,
        texts=texts.n,
        independent=int(np.unique(texts.groups).size),
        tokens=texts.n_tokens,
        longest_tokens=int(texts.lengths.max(initial=0)),
        prompt_tokens=int(texts.prompts.sum()),
        ended=ended,
        cut_off=texts.n - ended,
        end_unknown=0,
        copies=0,
        with_undrawn=0,
        without_prompt=0,
        left_out=(),
        notes=() if arm == "real" else (f"Own text was sampled with {evidence.plan.sampling.describe()}.",),
    )
    return ReadTexts(texts, names, facts, RecordedTokens(evidence))
