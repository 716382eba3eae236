"""May these runs be compared? What differs between them that is not the model, and what then no longer holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int

from freerun.findings.evidence import Evidence
from freerun.records.plan import AuditPlan, ContextRule, PromptPlan
from freerun.records.schema import ArmName
from freerun.results.compare import Breach, SharedDraws
from freerun.results.first_look import FirstLook

_SERVERS = ("vllm", "sglang", "llama-server", "openai")
_EXACT = ("world", "ngram")


class Planned(Protocol):
    """A run as its plan and its manifest have it."""

    @property
    def plan(self) -> AuditPlan: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...
    @property
    def first_look(self) -> FirstLook | None: ...
    @property
    def n_documents(self) -> int: ...


class SharedDocuments(Protocol):
    """What two runs have in common."""

    @property
    def n_documents(self) -> int: ...
    @property
    def same_tokens(self) -> bool: ...


@dataclass(frozen=True)
class Alignment:
    """Real tokens that two runs scored alike: indices into each run's tokens, the unit of each, and the position from the cut.

    `n_documents` are shared, `n_other_tokens` of them are other tokens in the two runs.
    """

    first: Int[np.ndarray, " tokens"]
    second: Int[np.ndarray, " tokens"]
    units: Int[np.ndarray, " tokens"]
    position: Int[np.ndarray, " tokens"]
    n_documents: int
    n_other_tokens: int

    @property
    def same_tokens(self) -> bool:
        """Whether every shared document is the same tokens in both runs."""
        return self.n_other_tokens == 0


def align(first: Evidence, second: Evidence) -> Alignment:
    """Pair the real tokens of two runs by document and position; documents that are other tokens are left out."""
    names = {name: i for i, name in enumerate(np.unique(first.records.sequences["unit"].astype(str)))}
    pairs = list(_shared_texts(first, second, "real", "document_id"))
    aligned: list[Int[np.ndarray, "4 tokens"]] = [np.zeros((4, 0), np.int64)]
    for a, b in pairs:
        here, there = first.records.rows(a), second.records.rows(b)
        n = min(here.stop - here.start, there.stop - there.start)
        ids = [e.local_ids("token_id")[at.start : at.start + n] for e, at in ((first, here), (second, there))]
        if _prefix_alike(first, a, second, b) and np.array_equal(ids[0], ids[1]):
            unit = np.full(n, names[str(first.records.sequences["unit"][a])])
            aligned.append(np.stack([here.start + np.arange(n), there.start + np.arange(n), unit, np.arange(n)]))
    at_first, at_second, units, position = np.concatenate(aligned, axis=1)
    return Alignment(at_first, at_second, units, position, len(pairs), len(pairs) - (len(aligned) - 1))


def _shared_texts(first: Evidence, second: Evidence, arm: ArmName, *columns: str) -> Iterator[tuple[int, int]]:
    """Sequences of an arm that both runs have, by what these columns say, in the order of the first run."""
    rows = [_rows_by(e, arm, columns) for e in (first, second)]
    yield from ((row, rows[1][key]) for key, row in rows[0].items() if key in rows[1])


def _rows_by(evidence: Evidence, arm: ArmName, columns: Sequence[str]) -> dict[tuple[str, ...], int]:
    at = evidence.records.chosen(arm=arm)
    return dict(
        zip(
            zip(*(evidence.records.sequences[c][at].astype(str) for c in columns), strict=True),
            at.tolist(),
            strict=True,
        )
    )


def _prefix_alike(first: Evidence, a: int, second: Evidence, b: int) -> bool:
    """Prefixes of different lengths are another breach; only what both hold is compared, from the cut backwards."""
    before = [list(e.local_ids("prefix_ids")[i]) for e, i in ((first, a), (second, b))]
    n = min(map(len, before))
    return n == 0 or before[0][-n:] == before[1][-n:]


@dataclass(frozen=True)
class SameRecords:
    """Whether two runs hold the same records, bit for bit, of the documents that both have: of real text, and of own text.

    `all_documents`: they also have the same documents, split alike.
    """

    real: bool
    free: bool
    all_documents: bool

    def of(self, *, own_text: bool, detectors: bool) -> bool:
        """Whether the same records feed a quantity; detectors are trained on all documents, and read both kinds of text."""
        return self.real and (self.free or not own_text) and (self.all_documents or not detectors)


def same_records(first: Evidence, second: Evidence) -> SameRecords:
    """Compare every column of every token of the texts that both runs have; runs that share no text are not the same."""
    key = ("document_id", "replicate")
    alike, everything = {}, True
    for arm in ("real", "free"):
        shared = list(_shared_texts(first, second, arm, *key))
        alike[arm] = bool(shared) and all(_same_row(first, a, second, b) for a, b in shared)
        everything &= _rows_by(first, arm, key).keys() == _rows_by(second, arm, key).keys()
    return SameRecords(**alike, all_documents=everything)


def _same_row(first: Evidence, a: int, second: Evidence, b: int) -> bool:
    x, y = first.records, second.records
    if x.sequences["split"][a] != y.sequences["split"][b] or x.tokens.keys() != y.tokens.keys():
        return False
    tokens = ((x.tokens[c][x.rows(a)], y.tokens[c][y.rows(b)]) for c in x.tokens)
    sums = ((x.sequences[c][a], y.sequences[c][b]) for c in ("observed_counts", "expected_counts"))
    return all(_same(*columns) for columns in (*tokens, *sums))


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    x, y = np.asarray(x), np.asarray(y)
    return x.shape == y.shape and bool(np.array_equal(x, y, equal_nan=np.issubdtype(x.dtype, np.floating)))


# ---- what must be shared ----------------------------------------------------------------------------------------------


_PLANNED = {
    "context_rule": (
        "context rules",
        "the two laws were given different contexts: each difference holds for model and rule together",
    ),
    "prompting": (
        "ways to put prompts",
        "the models read different tokens around the same words: each difference holds for model and prompting together",
    ),
    "prefix": (
        "prefixes",
        "the models read different amounts of text before the cut, and continue from different places",
    ),
    "exemplars": ("exemplars", "one model read other documents first: differences are those of the context, too"),
    "tokens": (
        "lengths",
        "windows differ: the loss is compared on the positions that both have, the horizon up to the shorter length; what speaks of the "
        "second half or of the whole window speaks of different positions",
    ),
}
"""What must be the same in both plans: in words, and what no longer holds where it is not."""


def breaches(first: Planned, second: Planned, aligned: SharedDocuments, *, run: str) -> tuple[Breach, ...]:
    """Everything that makes a comparison with `run`, the second, refuse; empty where the runs differ in what is compared alone."""
    a, b = first.manifest, second.manifest
    plans = first.plan, second.plan
    out = []
    if plans[0].corpus_fingerprint != plans[1].corpus_fingerprint:
        lost = (
            "differences of loss, horizon and drift may be those of the texts, not of the models; documents are paired only "
            f"where both runs hold them ({aligned.n_documents} do), the others count as independent samples"
        )
        out.append(Breach(run, "corpora", plans[0].corpus, plans[1].corpus, lost))
    if _engine(a) != _engine(b):
        lost = "a difference may come from how the backend computes, truncates or rounds its laws, not from the weights"
        out.append(Breach(run, "backends", _engine(a), _engine(b), lost))
    if not _same_tokenisation(a, b, aligned):
        sizes = [f"{m['model'].get('vocabulary', '?')} tokens" for m in (a, b)]
        lost = (
            "nats a token, tokens and positions mean different amounts of text: of the losses only bits a byte compare, and only over "
            "the same bytes; horizons in tokens do not"
        )
        out.append(Breach(run, "tokenisations", sizes[0], sizes[1], lost))
    for name, (what, lost) in _PLANNED.items():
        mine, theirs = (getattr(plan, name) for plan in plans)
        if name == "prefix" and all(plan.prompts is not None for plan in plans):
            continue  # the longest prompt, which the prompting has changed
        if mine != theirs:
            out.append(Breach(run, what, _in_words(mine), _in_words(theirs), lost))
    return tuple(out)


def _in_words(value: Any) -> str:
    if isinstance(value, ContextRule | PromptPlan):
        return value.describe()
    return "documents are cut" if value is None else str(value)


def _engine(manifest: Mapping[str, Any]) -> str:
    """What computes the laws: a server by its kind, an exact process, or transformers."""
    head = str(manifest["plan"]["model"]).split("+")[0].split("/")[0]
    engine = head if head in (*_SERVERS, *_EXACT) else "transformers"
    device = str(manifest["plan"].get("device", "auto"))
    return f"{engine} on {device}" if device not in ("auto", "cpu") else engine


def _same_tokenisation(a: Mapping[str, Any], b: Mapping[str, Any], aligned: SharedDocuments) -> bool:
    if aligned.n_documents:
        return aligned.same_tokens
    base_a, base_b = (str(m["plan"]["model"]).split("+")[0].split(",")[0] for m in (a, b))
    return base_a == base_b or a["model"].get("vocabulary") == b["model"].get("vocabulary")


def same_reference(first: Planned, second: Planned) -> bool:
    """Whether both runs were held against a reference that was counted on the same documents."""
    a, b = first.plan, second.plan
    fields = ("reference", "corpus_fingerprint", "documents", "seed", "prefix", "tokens")
    return all(getattr(a, f) == getattr(b, f) for f in fields)


# ---- what must be said ------------------------------------------------------------------------------------------------


def cautions(first: Planned, second: Planned, aligned: SharedDocuments) -> tuple[str, ...]:
    """What differs beside the model and is not a reason to refuse, but has to be known."""
    a, b = first.plan, second.plan
    notes = [
        f"{e.plan.model}: {e.first_look.describe()}, which is not the whole run; go on with: {e.manifest['command']}"
        for e in (first, second)
        if e.first_look is not None
    ]
    rules = a.sampling, b.sampling
    if rules[0] != rules[1]:
        notes.append(
            f"Sampled by different rules ({rules[0].describe()} against {rules[1].describe()}): what speaks of own text compares rules as well as models. "
            "Losses do not depend on it."
        )
    elif not rules[0].is_model_law:
        notes.append(f"Both runs sampled with {rules[0].describe()}, not from the models' own laws.")
    if a.dtype != b.dtype:
        notes.append(f"Number formats differ ({a.dtype} against {b.dtype}): that is part of what is compared.")
    if a.seed != b.seed:
        notes.append(
            f"Seeds differ ({a.seed} against {b.seed}): the split into training and test documents is another one, and own texts are "
            "paired by document alone, not by draw."
        )
    if a.continuations != b.continuations:
        notes.append(f"{a.continuations} against {b.continuations} own texts a document.")
    if first.n_documents != second.n_documents:
        notes.append(
            f"{first.n_documents} against {second.n_documents} documents: differences are taken on the {aligned.n_documents} that both have, horizons by "
            "detectors that were trained on different numbers of documents (more train a better one)."
        )
    if not same_reference(first, second):
        notes.append(
            "The runs were held against references of their own, counted on different documents or in different ways: excess losses and likelihood "
            "ratios are not tested, since a difference would be one of references, too."
        )
    versions = [
        f"{name} {first.manifest['provenance'].get(name)} against {second.manifest['provenance'].get(name)}"
        for name in ("freerun", "torch", "transformers", "machine")
        if first.manifest["provenance"].get(name) != second.manifest["provenance"].get(name)
    ]
    if versions:
        notes.append(
            f"Made with different software or machines ({'; '.join(versions)}): log-probs may differ by 2e-4 nats for that alone."
        )
    return tuple(notes)


# ---- draws ------------------------------------------------------------------------------------------------------------


def shared_draws(first: Evidence, second: Evidence) -> SharedDraws:
    """Pair own texts by document, replicate and key."""
    same, agreement = 0, []
    for a, b in _shared_texts(first, second, "free", "document_id", "replicate", "key"):
        here, there = (e.local_ids("token_id")[e.records.rows(i)] for e, i in ((first, a), (second, b)))
        n = min(here.size, there.size)
        differs = np.flatnonzero(here[:n] != there[:n])
        same += int(here.size == there.size and not differs.size)
        agreement.append(int(differs[0]) if differs.size else n)
    return SharedDraws(len(agreement), same, float(np.mean(agreement)) if agreement else None)
