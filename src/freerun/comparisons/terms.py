"""May these runs be compared? What differs between them that is not the model, and what then no longer holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.findings.drift import OWN_LAW
from freerun.findings.evidence import Evidence

_SERVERS = ("vllm", "sglang", "llama-server", "openai")
_EXACT = ("world", "ngram")


@dataclass(frozen=True)
class Breach:
    """Something that two runs must share to be compared, and do not; `lost` says what no longer holds."""

    what: str
    first: str
    second: str
    lost: str

    def __str__(self) -> str:
        return f"{self.what} ({self.first} against {self.second})"


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
    rows_a, rows_b = _real_rows(first), _real_rows(second)
    shared = [d for d in rows_a if d in rows_b]
    at_a, at_b, units, position, other = [], [], [], [], 0
    names = {name: i for i, name in enumerate(np.unique(first.records.sequences["unit"].astype(str)))}
    for document in shared:
        a, b = rows_a[document], rows_b[document]
        slice_a, slice_b = first.records.rows(a), second.records.rows(b)
        n = min(slice_a.stop - slice_a.start, slice_b.stop - slice_b.start)
        here, there = (
            e.records.tokens["token_id"][s.start : s.start + n] for e, s in ((first, slice_a), (second, slice_b))
        )
        if not (_prefix_alike(first, a, second, b) and np.array_equal(here, there)):
            other += 1
            continue
        at_a.append(np.arange(slice_a.start, slice_a.start + n))
        at_b.append(np.arange(slice_b.start, slice_b.start + n))
        units.append(np.full(n, names[str(first.records.sequences["unit"][a])]))
        position.append(np.arange(n))

    def joined(parts: list[np.ndarray]) -> Int[np.ndarray, " tokens"]:
        return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)

    return Alignment(joined(at_a), joined(at_b), joined(units), joined(position), len(shared), other)


def _real_rows(evidence: Evidence) -> dict[str, int]:
    rows = evidence.records.chosen(arm="real")
    return {str(evidence.records.sequences["document_id"][i]): int(i) for i in rows}


def _prefix_alike(first: Evidence, a: int, second: Evidence, b: int) -> bool:
    """Prefixes of different lengths are another breach; only what both hold is compared, from the cut backwards."""
    one, two = (list(e.records.sequences["prefix_ids"][i]) for e, i in ((first, a), (second, b)))
    n = min(len(one), len(two))
    return n == 0 or one[-n:] == two[-n:]


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
    rows = [_rows_by_text(e) for e in (first, second)]
    alike: dict[str, list[bool]] = {"real": [], "free": []}
    for key, a in rows[0].items():
        if key in rows[1] and (all(alike[key[0]]) or not alike[key[0]]):
            alike[key[0]].append(_same_row(first, a, second, rows[1][key]))
    real, free = (bool(alike[arm]) and all(alike[arm]) for arm in ("real", "free"))
    return SameRecords(real, free, all_documents=rows[0].keys() == rows[1].keys())


def _rows_by_text(evidence: Evidence) -> dict[tuple[str, str, int], int]:
    s = evidence.records.sequences
    found = {}
    for arm in ("real", "free"):
        for i in evidence.records.chosen(arm=arm).tolist():
            found[arm, str(s["document_id"][i]), int(s["replicate"][i])] = i
    return found


def _same_row(first: Evidence, a: int, second: Evidence, b: int) -> bool:
    one, two = first.records, second.records
    if one.sequences["split"][a] != two.sequences["split"][b] or one.tokens.keys() != two.tokens.keys():
        return False
    here, there = one.rows(a), two.rows(b)
    columns = ((one.tokens[c][here], two.tokens[c][there]) for c in one.tokens)
    sums = ((one.sequences[c][a], two.sequences[c][b]) for c in ("observed_counts", "expected_counts"))
    return all(_same(x, y) for x, y in (*columns, *sums))


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    x, y = np.asarray(x), np.asarray(y)
    return x.shape == y.shape and bool(np.array_equal(x, y, equal_nan=np.issubdtype(x.dtype, np.floating)))


# ---- what must be shared ----------------------------------------------------------------------------------------------


def breaches(first: Evidence, second: Evidence, aligned: Alignment) -> tuple[Breach, ...]:
    """Everything that makes a comparison refuse; empty where the runs differ in what is compared alone."""
    a, b = first.records.manifest, second.records.manifest
    plan_a, plan_b = a["plan"], b["plan"]
    found = []
    if plan_a["corpus_fingerprint"] != plan_b["corpus_fingerprint"]:
        found.append(
            Breach(
                "corpora",
                plan_a["corpus"],
                plan_b["corpus"],
                "differences of loss, horizon and drift may be those of the texts, not of the models; documents are paired only "
                f"where both runs hold them ({aligned.n_documents} do), the others count as independent samples",
            )
        )
    if _engine(a) != _engine(b):
        found.append(
            Breach(
                "backends",
                _engine(a),
                _engine(b),
                "a difference may come from how the backend computes, truncates or rounds its laws, not from the weights",
            )
        )
    if not _same_tokenisation(a, b, aligned):
        found.append(
            Breach(
                "tokenisations",
                f"{a['model'].get('vocabulary', '?')} tokens",
                f"{b['model'].get('vocabulary', '?')} tokens",
                "nats a token, tokens and positions mean different amounts of text: of the losses only bits a byte compare, and only over "
                "the same bytes; horizons in tokens do not",
            )
        )
    for name, lost in (
        (
            "context_rule",
            "the two laws were given different contexts: each difference holds for model and rule together",
        ),
        ("prefix", "the models read different amounts of text before the cut, and continue from different places"),
        ("exemplars", "one model read other documents first: differences are those of the context, too"),
        (
            "tokens",
            "windows differ: the loss is compared on the positions that both have, the horizon up to the shorter length; what speaks of the "
            "second half or of the whole window speaks of different positions",
        ),
    ):
        if plan_a.get(name) != plan_b.get(name):
            words = {"context_rule": "context rules", "prefix": "prefixes", "tokens": "lengths"}.get(name, name)
            found.append(Breach(words, str(plan_a.get(name, 0)), str(plan_b.get(name, 0)), lost))
    return tuple(found)


def _engine(manifest: Mapping[str, Any]) -> str:
    """What computes the laws: a server by its kind, an exact process, or transformers."""
    head = str(manifest["plan"]["model"]).split("+")[0].split("/")[0]
    engine = head if head in (*_SERVERS, *_EXACT) else "transformers"
    device = str(manifest["plan"].get("device", "auto"))
    return f"{engine} on {device}" if device not in ("auto", "cpu") else engine


def _same_tokenisation(a: Mapping[str, Any], b: Mapping[str, Any], aligned: Alignment) -> bool:
    if aligned.n_documents:
        return aligned.same_tokens
    base_a, base_b = (str(m["plan"]["model"]).split("+")[0].split(",")[0] for m in (a, b))
    return base_a == base_b or a["model"].get("vocabulary") == b["model"].get("vocabulary")


# ---- what must be said ------------------------------------------------------------------------------------------------


def cautions(first: Evidence, second: Evidence, aligned: Alignment) -> tuple[str, ...]:
    """What differs beside the model and is no reason to refuse, but has to be known."""
    a, b = first.plan, second.plan
    said = []
    if a["sampling"] != b["sampling"]:
        said.append(
            f"Sampled by different rules ({a['sampling']} against {b['sampling']}): what speaks of own text compares rules as well as models. "
            "Losses do not depend on it."
        )
    elif a["sampling"] != OWN_LAW:
        said.append(f"Both runs sampled with {a['sampling']}, not from the models' own laws.")
    if a["dtype"] != b["dtype"]:
        said.append(f"Number formats differ ({a['dtype']} against {b['dtype']}): that is part of what is compared.")
    if a["seed"] != b["seed"]:
        said.append(
            f"Seeds differ ({a['seed']} against {b['seed']}): the split into training and test documents is another one, and own texts are "
            "paired by document alone, not by draw."
        )
    if a["continuations"] != b["continuations"]:
        said.append(f"{a['continuations']} against {b['continuations']} own texts a document.")
    if a["documents"] != b["documents"]:
        said.append(
            f"{a['documents']} against {b['documents']} documents: differences are taken on the {aligned.n_documents} that both have, horizons by "
            "detectors that were trained on different numbers of documents (more train a better one)."
        )
    if a["reference"] != b["reference"] or a["reference_fingerprint"] != b["reference_fingerprint"]:
        said.append("References differ: excess losses and likelihood ratios are against different references.")
    versions = [
        f"{name} {first.records.manifest['provenance'].get(name)} against {second.records.manifest['provenance'].get(name)}"
        for name in ("freerun", "torch", "transformers", "machine")
        if first.records.manifest["provenance"].get(name) != second.records.manifest["provenance"].get(name)
    ]
    if versions:
        said.append(
            f"Made with different software or machines ({'; '.join(versions)}): log-probs may differ by 2e-4 nats for that alone."
        )
    return tuple(said)


# ---- draws ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SharedDraws:
    """Own texts of two runs that were drawn with the same keys: how far the same uniforms gave the same tokens."""

    n: int
    same: int
    agreement_tokens: Float[np.ndarray, " texts"]
    """Tokens before the first that differs."""


def shared_draws(first: Evidence, second: Evidence) -> SharedDraws:
    """Pair own texts by document, replicate and key."""

    def keyed(evidence: Evidence) -> dict[tuple[str, int, int], int]:
        s = evidence.records.sequences
        rows = evidence.records.chosen(arm="free").tolist()
        return {(str(s["document_id"][i]), int(s["replicate"][i]), int(s["key"][i])): i for i in rows}

    a, b = keyed(first), keyed(second)
    same, agreement = 0, []
    for key in (k for k in a if k in b):
        one, two = (e.records.tokens["token_id"][e.records.rows(i)] for e, i in ((first, a[key]), (second, b[key])))
        n = min(one.size, two.size)
        differs = np.flatnonzero(one[:n] != two[:n])
        same += int(one.size == two.size and not differs.size)
        agreement.append(int(differs[0]) if differs.size else n)
    return SharedDraws(len(agreement), same, np.array(agreement, np.float64))
