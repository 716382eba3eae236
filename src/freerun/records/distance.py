"""What two models said along the same texts: `two_laws/NAME.parquet` of a run's folder, one row a text.

Columns of lists hold one entry a token. A's law is p, B's is q; all logarithms are natural, −inf and +inf stand as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from freerun.predictors.divergence import Divergence
from freerun.predictors.rules import ContextRule
from freerun.records.plan import PromptPlan
from freerun.records.side_car import SideCar
from freerun.records.store import RunFolder
from freerun.results.finding import LEFT_OUT, to_json
from freerun.results.json import from_json
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.two_laws.texts import TwoLaws

KIND = "distance"
Arm = Literal["real", "a", "b", "floor_real", "floor_a", "floor_real_b", "floor_b"]
"""real: the documents' own continuations. a, b: own text of A and of B. floor_…: one model's laws beside the same laws, computed at
another batch width: A's on real and on its own text, B's likewise."""
OWN_ARMS: tuple[Arm, ...] = ("a", "b")
ARMS: tuple[Arm, ...] = ("real", *OWN_ARMS)
Protocol = Literal["pairs", "llama.cpp"]
"""pairs: a prefix and what follows it. llama.cpp: disjoint windows over the whole text, the second half of each."""


@dataclass(frozen=True)
class Side:
    """One of the two models, as far as it decides what is measured."""

    model: str
    fingerprint: str
    context_rule: ContextRule
    vocabulary: int


@dataclass(frozen=True)
class DistancePlan:
    """All that decides what is measured; its hash names the run."""

    a: Side
    b: Side
    end_ids: tuple[int, ...]
    corpus: str
    corpus_fingerprint: str
    documents: int
    prefix: int
    tokens: int
    batch: int
    continuations: int
    seed: int
    arms: tuple[Arm, ...]
    protocol: Protocol
    loop_rule: LoopRule
    dtype: str
    device: str
    threads: int
    floor_texts: int
    """Texts of each kind whose laws a model computes again at another batch width."""
    redacted: bool = False
    skip_bad_rows: bool = False
    prompts: PromptPlan | None = None
    """How prompts are put to both models. None: documents are cut at so many tokens. Else `prefix` is the longest prompt, and every
    text stops at its own end."""
    plan_version: int = 2
    """Before 2, B's laws were not computed again."""
    token_log_probs_only: bool | None = field(default=None, metadata=LEFT_OUT)
    """True: one of the two is behind a server and tells no whole laws. None: both tell them."""

    @property
    def hash(self) -> str:
        """Over values alone: no sentence is in it."""
        return hashlib.sha256(json.dumps(to_json(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class TextRow:
    """One text on its way into the records. `drawn_log_prob_nats`: under the law that it was drawn from, as recorded then."""

    arm: Arm
    document_id: str
    unit: str
    replicate: int
    key: int
    ended: bool
    prefix_ids: Int[np.ndarray, " prefix"]
    divergence: Divergence
    padding_mass: Float[np.ndarray, " tokens"]
    drawn_log_prob_nats: Float[np.ndarray, " tokens"] | None = None


_REALS = ("log_p_nats", "log_q_nats", "kl_pq_nats", "kl_qp_nats", "tv")
_NARROW = ("entropy_p_nats", "entropy_q_nats", "top_log_p_nats", "top_log_q_nats", "added_mass")
_IDS = ("token_id", "top_p_id", "top_q_id")
_SPELLED = {"token_id": "token_bytes", "top_p_id": "top_p_bytes", "top_q_id": "top_q_bytes"}
"""The bytes that ids stand for, none for markers; so that a page can be made where no model is."""
TWO_LAWS = SideCar(
    "two_laws",
    pa.schema(
        [
            pa.field("arm", pa.string(), False),
            pa.field("document_id", pa.string(), False),
            pa.field("unit", pa.string(), False),
            pa.field("replicate", pa.int32(), False),
            pa.field("key", pa.uint64(), False),
            pa.field("ended", pa.bool_(), False),
            pa.field("prefix_ids", pa.list_(pa.int32())),
            *(pa.field(name, pa.list_(pa.int32())) for name in _IDS),
            pa.field("prefix_text", pa.string()),
            *(pa.field(name, pa.list_(pa.binary())) for name in _SPELLED.values()),
            pa.field("same_top", pa.list_(pa.bool_()), False),
            *(pa.field(name, pa.list_(pa.float64()), False) for name in _REALS),
            *(pa.field(name, pa.list_(pa.float32()), False) for name in _NARROW),
            pa.field("padding_mass", pa.list_(pa.float32()), False),
            pa.field("drawn_log_prob_nats", pa.list_(pa.float64())),
        ]
    ),
    version=1,
    version_key="two_laws_version",
    again="remove it and run the same command again, which makes it anew",
)


def write_texts(
    folder: RunFolder,
    name: str,
    rows: Sequence[TextRow],
    *,
    unit_key: str,
    plan_hash: str,
    spell: Callable[[int], bytes] | None,
) -> None:
    """Record one unit of work, whole or not at all. `spell`: the bytes of an id; None: redacted, without ids and text.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    table = pa.Table.from_pylist([_row(row, spell) for row in rows], schema=TWO_LAWS.schema)
    TWO_LAWS.write(folder, name, table, unit_key=unit_key, plan_hash=plan_hash, notes={})


def _row(row: TextRow, spell: Callable[[int], bytes] | None) -> dict[str, Any]:
    seen = row.divergence
    ids: dict[str, Any] = dict.fromkeys((*_IDS, *_SPELLED.values(), "prefix_ids", "prefix_text"))
    if spell is not None:
        ids |= {name: getattr(seen, name) for name in _IDS}
        ids |= {there: [spell(int(i)) for i in getattr(seen, name)] for name, there in _SPELLED.items()}
        ids["prefix_ids"] = row.prefix_ids.astype(np.int32)
        ids["prefix_text"] = b"".join(spell(int(i)) for i in row.prefix_ids).decode("utf-8", "replace")
    return {
        "arm": row.arm,
        "document_id": row.document_id,
        "unit": row.unit,
        "replicate": row.replicate,
        "key": row.key,
        "ended": row.ended,
        **ids,
        "same_top": seen.same_top,
        **{name: getattr(seen, name) for name in (*_REALS, *_NARROW)},
        "padding_mass": row.padding_mass,
        "drawn_log_prob_nats": row.drawn_log_prob_nats,
    }


# ---- as findings read them ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of one arm. Rectangles are texts × tokens, NaN or −1 past a text's own tokens; ids are None in a redacted run."""

    laws: TwoLaws
    """In own text the law that wrote it is the one recorded when it was drawn."""
    document_id: tuple[str, ...]
    unit_names: tuple[str, ...]
    """Name of each unit's number."""
    prefix_ids: tuple[Int[np.ndarray, " prefix"], ...] | None
    prefix_text: tuple[str, ...] | None
    token_bytes: tuple[tuple[bytes, ...], ...] | None
    """Of each text's own tokens."""
    top_p_bytes: tuple[tuple[bytes, ...], ...] | None
    top_q_bytes: tuple[tuple[bytes, ...], ...] | None
    token_id: Int[np.ndarray, "texts tokens"] | None
    top_p_id: Int[np.ndarray, "texts tokens"] | None
    top_q_id: Int[np.ndarray, "texts tokens"] | None
    entropy_p_nats: Float[np.ndarray, "texts tokens"]
    entropy_q_nats: Float[np.ndarray, "texts tokens"]
    top_log_p_nats: Float[np.ndarray, "texts tokens"]
    top_log_q_nats: Float[np.ndarray, "texts tokens"]
    added_mass: Float[np.ndarray, "texts tokens"]
    padding_mass: Float[np.ndarray, "texts tokens"]
    drawn_gap_nats: Float[np.ndarray, "texts tokens"] | None
    """ln of the law that the text was drawn from, as recorded then, minus the same by the scoring pass; None in real text."""

    @property
    def n(self) -> int:
        return len(self.document_id)

    @property
    def inside(self) -> Bool[np.ndarray, "texts tokens"]:
        return self.laws.inside

    def ids(self, text: int) -> Int[np.ndarray, " tokens"]:
        """Prefix and text as one row of ids."""
        assert self.token_id is not None
        assert self.prefix_ids is not None
        return np.concatenate([self.prefix_ids[text], self.token_id[text, : self.laws.n_tokens[text]]])


@dataclass(frozen=True)
class DistanceRecords:
    """A finished run's manifest, plan and texts by arm."""

    manifest: Mapping[str, Any]
    plan: DistancePlan
    texts: Mapping[str, Texts]


def read_distance(folder: RunFolder) -> DistanceRecords:
    """All that was recorded.

    Raises:
        DataError: no run of this kind there, or a damaged part (named).
    """
    manifest = folder.manifest()
    tables = [table for _, table in TWO_LAWS.read(folder, lambda table, _: table)]
    whole = pa.concat_tables(tables)
    units = list(dict.fromkeys(whole["unit"].to_pylist()))
    arm_of = np.array(whole["arm"].to_pylist())
    return DistanceRecords(
        manifest,
        from_json(DistancePlan, manifest["plan"]),
        {arm: _texts(whole.take(np.flatnonzero(arm_of == arm)), arm, units) for arm in map(str, np.unique(arm_of))},
    )


def _texts(table: pa.Table, arm: str, units: list[str]) -> Texts:
    n_tokens = np.array([len(x) for x in table["tv"]], np.int64)
    columns = {name: _rectangle(table[name], n_tokens) for name in (*_REALS, *_NARROW, "padding_mass")}
    ids = {name: None if table[name].null_count else _rectangle(table[name], n_tokens, empty=-1) for name in _IDS}
    drawn = None if table["drawn_log_prob_nats"].null_count else _rectangle(table["drawn_log_prob_nats"], n_tokens)
    gap = None
    if drawn is not None:
        own = "log_q_nats" if arm == "b" else "log_p_nats"
        gap, columns[own] = drawn - columns[own], drawn
    number = {name: i for i, name in enumerate(units)}
    return Texts(
        laws=TwoLaws(
            unit=np.array([number[u] for u in table["unit"].to_pylist()], np.int64),
            n_tokens=n_tokens,
            ended=np.array(table["ended"].to_pylist(), bool),
            log_p=columns["log_p_nats"],
            log_q=columns["log_q_nats"],
            kl_pq=columns["kl_pq_nats"],
            kl_qp=columns["kl_qp_nats"],
            tv=columns["tv"],
            same_top=_rectangle(table["same_top"], n_tokens, empty=False),
        ),
        document_id=tuple(table["document_id"].to_pylist()),
        unit_names=tuple(units),
        prefix_ids=None
        if table["prefix_ids"].null_count
        else tuple(np.array(x, np.int64) for x in table["prefix_ids"].to_pylist()),
        prefix_text=None if table["prefix_text"].null_count else tuple(table["prefix_text"].to_pylist()),
        drawn_gap_nats=gap,
        token_bytes=_spelled(table["token_bytes"]),
        top_p_bytes=_spelled(table["top_p_bytes"]),
        top_q_bytes=_spelled(table["top_q_bytes"]),
        token_id=ids["token_id"],
        top_p_id=ids["top_p_id"],
        top_q_id=ids["top_q_id"],
        entropy_p_nats=columns["entropy_p_nats"],
        entropy_q_nats=columns["entropy_q_nats"],
        top_log_p_nats=columns["top_log_p_nats"],
        top_log_q_nats=columns["top_log_q_nats"],
        added_mass=columns["added_mass"],
        padding_mass=columns["padding_mass"],
    )


def _rectangle(column: pa.ChunkedArray, n_tokens: Int[np.ndarray, " texts"], empty: Any = np.nan) -> np.ndarray:
    """Texts × tokens from a column of lists."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    out = np.full((len(n_tokens), int(n_tokens.max(initial=0))), empty, np.asarray(flat).dtype)
    out[np.arange(out.shape[1])[None, :] < n_tokens[:, None]] = flat
    return out.astype(np.float64) if out.dtype == np.float32 else out


def _spelled(column: pa.ChunkedArray) -> tuple[tuple[bytes, ...], ...] | None:
    return None if column.null_count else tuple(tuple(text) for text in column.to_pylist())
