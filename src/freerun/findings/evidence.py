"""What the findings share: a run's records with the reference's weights fitted on the training split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from freerun.records.answers import Answers
from freerun.records.plan import AuditPlan, read_plan
from freerun.records.redact import LocalIds, is_redacted, local_ids, sealed
from freerun.records.schema import ArmName
from freerun.records.source_likelihoods import SourceRecords
from freerun.records.store import Records
from freerun.results.first_look import FirstLook
from freerun.results.requests import Requests
from freerun.results.served import LawServed
from freerun.stats.detection.likelihood_features import Stops, TokenColumns
from freerun.stats.interpolation import fit_interpolation, mix_log_probs

T = TypeVar("T")
MAX_PAIRS = 512
"""Most pairs that detectors read, half to train and half to test, in the order of their hash: 256 of them fix an AUC to about ±0.03,
and more would only take longer. Other findings read all."""
MIN_PAIRS = 16
"""Fewest whole pairs that a detector is fitted and judged on; a quarter of them at least on each side of the split."""
STATISTICS_SEED = 20261122
"""Seed of every bootstrap and permutation; committed, so that the same records give the same numbers."""

MAX_FITTED_TOKENS = 500_000
"""Most tokens that fix the weights of a reference."""
_BLOCK = 1 << 19
DEFAULT_COMPONENTS = ("ngram", "cache")
"""Components of the reference that always exists."""

ARM_LABELS = {"real": "real text", "free": "own text, t = 1", "tempered": "own text, control temperature"}


@dataclass(frozen=True, eq=False)
class Evidence:
    """Records and what is derived from them once. Text of a redacted run cannot be read: see `has_text`."""

    records: Records
    answers: Answers | None = None
    """What the model said when it was asked which text is its own."""
    sources: Sequence[SourceRecords] = ()
    """How likely every source finds the texts."""
    law_served: LawServed | None = None
    """What the verification of own text found that a server wrote."""
    requests: Requests | None = None
    """What became of the requests to servers."""
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", sealed(self.records))

    @property
    def has_text(self) -> bool:
        """Whether text, ids and what would tell them can be read; in a redacted run reading them raises `TextRedacted`."""
        return not is_redacted(self.records)

    def local_ids(self, column: LocalIds) -> Any:
        """A column of token ids that are compared inside one text only, as a redacted run has them too."""
        return local_ids(self.records, column)

    def once(self, make: Callable[[Evidence], T]) -> T:
        """What `make` derives from this evidence, derived once."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]  # type: ignore[no-any-return]

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the run says of itself."""
        return self.records.manifest

    @cached_property
    def plan(self) -> AuditPlan:
        """What was measured."""
        return read_plan(self.records.manifest["plan"])

    @property
    def first_look(self) -> FirstLook | None:
        """How many of the plan's documents there are records of, where that is a first look."""
        look: FirstLook | None = self.records.manifest.get("first_look")
        return look

    @property
    def n_documents(self) -> int:
        """Documents that there are records of."""
        return self.plan.documents if self.first_look is None else self.first_look.documents

    @property
    def has_every_document(self) -> bool:
        """Whether the plan is known to take every document of the corpus that is long enough; a world always has more."""
        if self.plan.redacted:  # what the corpus is was left out
            return False
        counts = self.records.manifest["counts"]
        usable = counts["documents_read"] - counts["too_short"] - counts.get("conversations_left_out", 0)
        return usable <= self.plan.documents and not self.plan.corpus.startswith("world/")

    @cached_property
    def whole_laws(self) -> bool:
        """Whether the whole law of every token is known; a server tells of a few probable ids at most."""
        tokens = self.records.tokens
        recorded = (tokens[c] for c in ("entropy_nats", "varentropy_nats2") if c in tokens)
        return not any(np.isnan(column).any() for column in recorded)

    @cached_property
    def own_lengths(self) -> bool:
        """Whether texts are responses to prompts, each of its own length on either side; else real text is cut from documents that go on."""
        return self.plan.prompts is not None

    @property
    def length(self) -> int:
        """Tokens of a whole continuation, or the most that a response is read of."""
        return self.plan.tokens

    @cached_property
    def units(self) -> Int[np.ndarray, " sequences"]:
        """The independent unit of each sequence, as a number."""
        names: np.ndarray = self.records.sequences["unit"].astype(str)
        index: np.ndarray = np.unique(names, return_inverse=True)[1].astype(np.int32)
        return index

    @cached_property
    def token_sequence(self) -> Int[np.ndarray, " tokens"]:
        return self.records.token_sequence_index()

    def tokens_of(self, arm: ArmName) -> Bool[np.ndarray, " tokens"]:
        """Which tokens belong to an arm."""
        mine: np.ndarray = (self.records.sequences["arm"] == arm)[self.token_sequence]
        return mine

    @property
    def has_impossible_tokens(self) -> bool:
        """Whether the law gives no mass to some real token."""
        return bool((self.tokens_of("real") & ~np.isfinite(self.records.tokens["log_prob_nats"])).any())

    @cached_property
    def n_units(self) -> int:
        return int(self.units.max()) + 1

    @cached_property
    def unit_names(self) -> list[str]:
        """Names of the independent units, in the order of sums over them."""
        return [str(u) for u in np.unique(self.records.sequences["unit"].astype(str))]

    def token_sums(
        self, values: Float[np.ndarray, " tokens"] | float, chosen: Bool[np.ndarray, " tokens"]
    ) -> Float[np.ndarray, " units"]:
        """Sums over the chosen tokens of each unit."""
        weights = np.broadcast_to(np.asarray(values, np.float64), chosen.shape)[chosen]
        return np.bincount(self.units[self.token_sequence[chosen]], weights, self.n_units)

    def sequence_sums(
        self, rows: Int[np.ndarray, " rows"], values: Float[np.ndarray, " rows"] | float
    ) -> Float[np.ndarray, " units"]:
        """Sums over some sequences of each unit."""
        return np.bincount(self.units[rows], np.broadcast_to(np.asarray(values, np.float64), rows.shape), self.n_units)

    @cached_property
    def bytes_of_text(self) -> Float[np.ndarray, " tokens"]:
        """Bytes of the document that each token accounts for: its own, but where the tokenizer changes the document's text.

        The bytes of a continuation are shared out evenly over its tokens there: only sums over whole texts mean something.
        """
        out = self.records.tokens["n_bytes"].astype(np.float64)
        known = (self.records.manifest.get("tokenizer") or {}).get("original_bytes_of") or {}
        for i in self.records.chosen(arm="real") if known else ():
            n = known.get(str(self.records.sequences["document_id"][i]))
            if n is not None:
                rows = self.records.rows(int(i))
                out[rows] = n / max(1, out[rows].size)
        return out

    @property
    def reference_names(self) -> tuple[str, ...]:
        return tuple(self.records.manifest["reference"]["components"])

    @cached_property
    def reference_weights(self) -> Float[np.ndarray, " components"]:
        """Weights of (own law, components…): fitted by EM on the real text of the training split, or all on the one given."""
        n = 1 + len(self.reference_names)
        if not self.records.manifest["reference"]["interpolated"]:
            return np.array([0.0] + [1.0] * (n - 1))
        return self._fitted(range(n))

    @cached_property
    def reference_log_prob(self) -> Float[np.ndarray, " tokens"]:
        """ln r of every token, nats; −inf where the reference gives it no mass."""
        if not self.records.manifest["reference"]["interpolated"]:
            return self._component(1, slice(None))
        return self._mixed(range(1 + len(self.reference_names)), self.reference_weights)

    @cached_property
    def references(self) -> dict[str, Float[np.ndarray, " tokens"]]:
        """ln r of every token under each reference that the records hold: the one in use first, then parts of it by themselves."""
        names = self.reference_names
        if not self.records.manifest["reference"]["interpolated"]:
            return {names[0]: self.reference_log_prob}
        found = {"all of them with its own law": self.reference_log_prob}
        default = [i for i, n in enumerate(names, start=1) if n in DEFAULT_COMPONENTS]
        alone = [i for i in range(1, 1 + len(names)) if i not in default]
        choices = {"its own law and the n-gram": [0, 1]} if names[:1] == DEFAULT_COMPONENTS[:1] else {}
        if alone and default:
            choices["its own law, n-gram and cache"] = [0, *default]
        for i in alone:
            choices[f"its own law and {names[i - 1]}"] = [0, i]
        for name, chosen in choices.items():
            found[name] = self._mixed(chosen, self._fitted(chosen))
        for i in alone:
            found[f"{names[i - 1]} as it is"] = self._component(i, slice(None))
        return found

    def _component(self, i: int, tokens: slice | Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """ln of component i (0: the model's own law) at some tokens."""
        if i == 0:
            return np.asarray(self.records.tokens["log_prob_nats"][tokens])
        return np.asarray(self.records.tokens["reference_log_probs_nats"][tokens, i - 1])

    def _fitted(self, chosen: Sequence[int]) -> Float[np.ndarray, " components"]:
        """Weights of some components on real training text; evenly spread tokens of it where there are very many."""
        train = np.flatnonzero(
            self.tokens_of("real") & (self.records.sequences["split"] == "train")[self.token_sequence]
        )
        train = train[:: -(-train.size // MAX_FITTED_TOKENS) or 1]
        log_probs = np.stack([self._component(i, train) for i in chosen])
        return fit_interpolation(log_probs[:, np.isfinite(log_probs).any(axis=0)])

    def _mixed(self, chosen: Sequence[int], weights: Float[np.ndarray, " components"]) -> Float[np.ndarray, " tokens"]:
        """ln of the mixture at every token, block by block."""
        out = np.empty(int(self.records.starts[-1]))
        for at in range(0, out.size, _BLOCK):
            block = slice(at, at + _BLOCK)
            out[block] = mix_log_probs(weights, np.stack([self._component(i, block) for i in chosen]))
        return out

    def take(
        self,
        values: Shaped[np.ndarray, " all_tokens"],
        sequences: Int[np.ndarray, "*some"],
        length: int,
        *,
        padding: float = 0.0,
    ) -> Shaped[np.ndarray, "*some length"]:
        """The values of a column of all tokens at the first `length` of some sequences; `padding` beyond the end of a text."""
        starts, place = self.records.starts, np.arange(length)
        if not self.own_lengths:
            return np.asarray(values[starts[sequences][..., None] + place])
        inside = place < np.diff(starts)[sequences][..., None]
        at = np.where(inside, starts[sequences][..., None] + place, 0)
        return np.where(inside, values[at], np.asarray(padding, values.dtype))

    # ---- pairs as rectangles ---------------------------------------------------------------------------------------

    @cached_property
    def panel(self) -> Panel:
        """One pair a unit, whole on every side that is compared, at the longest measured length that enough pairs reach.

        Where no length has enough, those that reach the last one: too few, as whoever needs them will say. Responses of their own
        length are all in it, at every length.
        """
        if self.own_lengths:
            return self.whole_panel
        for n in lengths_up_to(self.length)[:0:-1]:
            found = self.whole_panel if n == self.length else Panel(self, int(n))
            if found.enough:
                return found
        return self.whole_panel

    @cached_property
    def whole_panel(self) -> Panel:
        """Pairs that reach the last token."""
        return Panel(self, self.length)


class Panel:
    """Pairs that reach `length` tokens on the real and on every free side, one a unit, as arrays [pairs, tokens].

    Responses of their own length are taken as they are, stopped at `length` or at their end on either side: none is left out, and
    what stands in a row beyond a text is padding.

    `n_dropped` pairs were left out because a free continuation ended before, `n_beyond` because there were enough.
    """

    def __init__(self, evidence: Evidence, length: int) -> None:
        self.evidence, self.length = evidence, length
        records = evidence.records
        sequences = records.sequences
        n_free = evidence.plan.continuations
        lengths = np.diff(records.starts)
        whole = (lengths > length) | ((lengths == length) & (sequences["end_reason"] == "length"))
        if evidence.own_lengths:
            whole = lengths > 0
        by_document: dict[str, dict[tuple[str, int], int]] = {}
        for i in range(records.n_sequences):
            place = by_document.setdefault(sequences["document_id"][i], {})
            place[(sequences["arm"][i], int(sequences["replicate"][i]))] = i
        wanted = [("real", 0), *(("free", j) for j in range(n_free))]
        rows, tempered, seen_units, n_all = [], [], set(), 0
        room = {"train": MAX_PAIRS // 2, "test": MAX_PAIRS // 2}
        self.n_beyond = 0
        for places in by_document.values():
            real = places[("real", 0)]
            if evidence.units[real] in seen_units:
                continue
            side = str(sequences["split"][real])
            if not room[side]:
                self.n_beyond += 1
                continue
            n_all += 1
            if all(whole[places[w]] for w in wanted):
                room[side] -= 1
                seen_units.add(evidence.units[real])
                rows.append([places[w] for w in wanted])
                control = places.get(("tempered", 0))
                tempered.append(control if control is not None and whole[control] else -1)
        table = np.array(rows, np.int64).reshape(-1, 1 + n_free)
        self.real, self.free = table[:, 0], table[:, 1:]
        self.tempered = np.array(tempered, np.int64)
        self.train: Bool[np.ndarray, " pairs"] = (
            (sequences["split"][self.real] == "train") if len(table) else np.zeros(0, bool)
        )
        self.n_pairs, self.n_dropped = len(table), n_all - len(table)

    @property
    def enough(self) -> bool:
        """Whether a detector can be fitted on one side of the split and judged on the other."""
        return self.n_pairs >= MIN_PAIRS and min(self.train.sum(), (~self.train).sum()) >= MIN_PAIRS // 4

    def columns(self, sequences: Int[np.ndarray, " n"]) -> TokenColumns:
        """Token columns of some of its sequences, [n, tokens]."""
        tokens, whole_laws = self.evidence.records.tokens, self.evidence.whole_laws

        def take(values: np.ndarray, padding: float = 0.0) -> np.ndarray:
            return self.take(values, sequences, padding=padding)

        reference = take(self.evidence.reference_log_prob)
        return TokenColumns(
            log_prob=np.maximum(take(tokens["log_prob_nats"]), -1e3),
            entropy=take(tokens["entropy_nats"]) if whole_laws else None,
            varentropy=take(tokens["varentropy_nats2"]) if whole_laws else None,
            rank=take(tokens["rank"], 1) if whole_laws else None,
            ids=take(self.evidence.local_ids("token_id")),
            reference_log_prob=np.maximum(reference, -1e3) if np.isfinite(reference).any() else None,
            stops=self.stops(sequences) if self.evidence.own_lengths else None,
        )

    def stops(self, sequences: Int[np.ndarray, " n"]) -> Stops:
        """Where some of its sequences stop, at its length at the latest."""
        records = self.evidence.records
        n_tokens = np.diff(records.starts)[sequences]
        ended = (records.sequences["end_reason"][sequences] == "end_of_text") & (n_tokens <= self.length)
        return Stops(np.minimum(n_tokens, self.length), ended)

    def take(
        self, values: Shaped[np.ndarray, " all_tokens"], sequences: Int[np.ndarray, "*some"], *, padding: float = 0.0
    ) -> Shaped[np.ndarray, "*some tokens"]:
        """The values of a column of all tokens at those of some of its sequences; `padding` beyond the end of a text."""
        return self.evidence.take(values, sequences, self.length, padding=padding)


def lengths_up_to(n_tokens: int) -> Int[np.ndarray, " lengths"]:
    """1, 2, 4, … and the last length itself.

    >>> lengths_up_to(96).tolist()
    [1, 2, 4, 8, 16, 32, 64, 96]
    """
    powers = 2 ** np.arange(int(np.log2(n_tokens)) + 1)
    return np.unique(np.append(powers, n_tokens))


def statistics_rng(evidence: Evidence, name: str) -> np.random.Generator:
    """A generator for one statistic: depends on its name and the committed seed, not on what ran before."""
    return np.random.default_rng([STATISTICS_SEED, *name.encode()])
