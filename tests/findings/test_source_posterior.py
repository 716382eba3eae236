"""The source finding on hand-made likelihoods: entropies, switches, ends, and what is said where little can be."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from freerun.errors import DataError
from freerun.findings.evidence import Evidence
from freerun.findings.sources.evidence import source_evidence
from freerun.findings.sources.finding import source
from freerun.predictors.rules import SamplingRule
from freerun.records.source_likelihoods import ScoredText, SourceRecords, SourcesAsked
from freerun.records.store import Records
from freerun.results.finding import Cell, Finding, to_json
from tests.plans import plan_json

ASKED = SourcesAsked("who", ("ada", "ben", "other"), (0.4, 0.4, 0.2), (2, 2, 1), "Who", "who.toml", "0" * 16, 8)


def made(
    real: list[np.ndarray],
    own: list[np.ndarray],
    *,
    asked: SourcesAsked = ASKED,
    recorded: list[int] | None = None,
    prefix: float = 0.5,
    **plan: Any,
) -> tuple[Evidence, SourceRecords]:
    """Documents from the probabilities of each token under ada, ben and other, [sources, tokens]; `prefix`: of it under ben.

    Each template says the same. The law that wrote every token gave it ½; `recorded`: tokens in the records, where they are more.
    """
    rows, texts = [], []
    for d, sides in enumerate(zip(real, own, strict=True)):
        for k, (arm, table) in enumerate(zip(("real", "free"), sides, strict=True)):
            n = table.shape[1]
            more = recorded[d] if recorded is not None and arm == "free" else n
            rows.append((4 * d + k, f"d{d}", arm, more))
            with np.errstate(divide="ignore"):
                logs = [np.tile(np.log(table[s]), (asked.templates[s], 1)) for s in range(3)]
                before = tuple(np.full(asked.templates[s], np.log(x)) for s, x in enumerate((1.0, prefix, 1.0)))
            texts.append(ScoredText(4 * d + k, before, tuple(logs)))
    sequences = {
        "sequence": np.array([r[0] for r in rows]),
        "document_id": np.array([r[1] for r in rows], object),
        "unit": np.array([r[1] for r in rows], object),
        "arm": np.array([r[2] for r in rows], object),
        "replicate": np.zeros(len(rows), int),
    }
    starts = np.concatenate([[0], np.cumsum([r[3] for r in rows])])
    settings = plan_json(tokens=4, **plan)
    tokens = {"log_prob_nats": np.full(int(starts[-1]), np.log(0.5))}
    return Evidence(Records({"plan": settings}, sequences, tokens, starts)), SourceRecords(asked, tuple(texts))


def flat(p: float, q: float, n: int = 4, other: float = 0.5) -> np.ndarray:
    return np.tile([[p], [q], [other]], (1, n))


def told(finding: Finding) -> dict[str, Any]:
    return {e.name: e for e in finding.estimates}


def bits(*p: float) -> float:
    weights = np.array(p) / sum(p)
    return float(-(weights * np.log2(weights)).sum())


def test_entropies_and_switches_by_hand() -> None:
    """Prior .4 .4 .2 and a prefix half as likely by ben: (.4, .2, .2) at the cut. Real tokens twice as likely by ben: he leads from
    the second on; own ones say nothing."""
    evidence, records = made([flat(0.25, 0.5)] * 8, [flat(0.5, 0.5)] * 8)
    finding = source(evidence, [records])
    seen = told(finding)
    cut, real = bits(0.4, 0.2, 0.2), bits(0.4 * 0.25**4, 0.2 * 0.5**4, 0.2 * 0.5**4)
    assert seen["who_entropy_cut_bits"].value == pytest.approx(cut)
    assert seen["who_entropy_own_bits"].value == pytest.approx(cut)
    assert seen["who_entropy_real_bits"].value == pytest.approx(real)
    assert seen["who_entropy_gap_bits"].value == pytest.approx(cut - real)
    assert (seen["who_switch_real"].value, seen["who_switch_own"].value) == (1.0, 0.0)
    assert seen["who_switch_own"].high == pytest.approx(1 - 0.025 ** (1 / 8))
    assert "changes after the cut in 0% of its own and 100% of the real texts" in finding.sentence
    # ada leads among the named with 2/3; along real text she ends with 2/3·¼⁴ against 1/3·½⁴: 1/9
    assert seen["who_lead_change_real"].value == pytest.approx(1 / 9 - 2 / 3)
    assert seen["who_lead_change_own"].value == pytest.approx(0.0)
    one = source_evidence(evidence, records)
    assert one is not None
    np.testing.assert_allclose(one.all.start[0], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(one.named.start[0], [2 / 3, 1 / 3, 0], atol=1e-12)
    # the mixture gives every token ½, as the law that wrote them: it costs nothing more
    assert seen["who_mixture_excess_nats_per_token"].value == pytest.approx(0.0)


def test_what_own_text_costs_more_under_the_mixture_by_hand() -> None:
    """⅔ and ⅓ at the cut; ada gives every own token ¼ and ben ¾, 2 tokens: ln ½² − ln(⅔·¼² + ⅓·¾²), half of it a token."""
    evidence, records = made([flat(0.5, 0.5)] * 8, [flat(0.25, 0.75, 2)] * 8)
    excess = told(source(evidence, [records]))["who_mixture_excess_nats_per_token"]
    assert excess.value == pytest.approx((2 * np.log(0.5) - np.log(2 / 3 / 16 + 1 / 3 * 9 / 16)) / 2)
    impossible = flat(0.25, 0.75, 2)
    impossible[:2, 1] = 0.0
    evidence, records = made([flat(0.5, 0.5)] * 8, [impossible, *[flat(0.25, 0.75, 2)] * 7])
    excess = told(source(evidence, [records]))["who_mixture_excess_nats_per_token"]
    assert excess.value is None
    assert "infinite: 1 text is" in excess.text
    one = source_evidence(evidence, records)
    assert one is not None
    np.testing.assert_allclose(one.named.own[0][2], one.named.own[0][1])  # no source can write on: belief stays


def test_texts_that_end_keep_their_belief_and_are_compared_where_both_are() -> None:
    own = [flat(0.5, 0.25, 2)] * 4 + [flat(0.5, 0.25, 4)] * 4
    evidence, records = made([flat(0.25, 0.5)] * 8, own)
    one = source_evidence(evidence, records)
    assert one is not None
    assert (one.n_ended, one.texts.n_cut, one.length) == (4, 0, 4)
    np.testing.assert_allclose(one.all.at("own", 4)[0], one.all.at("own", 2)[0])
    expected = [
        bits(0.4 * 0.5**t, 0.2 * 0.25**t, 0.2 * 0.5**t) - bits(0.4 * 0.25**t, 0.2 * 0.5**t, 0.2 * 0.5**t)
        for t in (2, 4)
    ]
    assert one.entropy["gap"].value == pytest.approx(np.mean(expected))
    assert any("4 own texts end by themselves" in n for n in source(evidence, [records]).notes)


def test_a_drift_is_said_with_the_source_that_moves() -> None:
    rng = np.random.default_rng(1)
    own = [flat(0.3, 0.5 + 0.1 * rng.random()) for _ in range(24)]
    asked = replace(ASKED, documents=24)
    finding = source(*_listed(made([flat(0.5, 0.5)] * 24, own, asked=asked)))
    drift = told(finding)["who_drift_own"]
    assert drift.value is not None
    assert abs(drift.value) > 0.4
    assert "told nothing, it is not this mixture of sources" in finding.sentence
    assert told(finding)["who_drift_p_exact"].value < 0.001
    rows = finding.tables[0].rows
    assert [r[0] for r in rows] == ["ada", "ben", "the who that leads at the cut"]
    moved = rows[0][3]
    assert isinstance(moved, Cell)
    assert moved.text.startswith("−")
    assert [moved.value, moved.low, moved.high] == [drift.value, drift.low, drift.high]
    deployed = source(*_listed(made([flat(0.5, 0.5)] * 24, own, asked=asked, sampling=SamplingRule.of(top_k=50))))
    assert "what was sampled, which is not its own law" in deployed.sentence
    assert "who_mixture_excess_nats_per_token" not in told(deployed)


def _listed(pair: tuple[Evidence, SourceRecords]) -> tuple[Evidence, list[SourceRecords]]:
    return pair[0], [pair[1]]


def test_with_other_and_without_it_are_both_said() -> None:
    own = [flat(0.5, 0.5, other=0.9)] * 40
    asked = replace(ASKED, documents=40)
    finding = source(*_listed(made([flat(0.5, 0.5)] * 40, own, asked=asked)))
    assert "No drift of mean belief" in finding.sentence
    (note,) = [n for n in finding.notes if n.startswith("With other counted as one more source")]
    assert "< 0.0001 (none of these: 25% to" in note
    alone = replace(asked, prior=(0.5, 0.5, 0.0))
    plain = source(*_listed(made([flat(0.5, 0.5)] * 40, own, asked=alone)))
    assert not [n for n in plain.notes if n.startswith("With other")]


def test_too_little_is_unknown() -> None:
    evidence, records = made([flat(0.5, 0.5)] * 5, [flat(0.5, 0.5)] * 5, asked=replace(ASKED, documents=5))
    few = source(evidence, [records])
    assert few.status == "unknown"
    assert "only 5 documents; at least 6" in few.sentence
    unfinished = source(evidence, [replace(records, asked=replace(ASKED, documents=9))])
    assert "recorded for 5 of 9 documents" in unfinished.sentence
    assert source(evidence, []).status == "unknown"
    certain = source(*_listed(made([flat(0.5, 0.5)] * 8, [flat(0.5, 0.5)] * 8, prefix=1e-9)))
    assert "8 documents can judge no drift" in certain.sentence
    assert told(certain)["who_drift_own"].value is None


def test_what_cannot_be_written_or_known_is_counted() -> None:
    everything = made([flat(0.5, 0.5)] * 8, [flat(0.5, 0.5, 2)] * 8, recorded=[2, 2, 2, 2, 2, 4, 4, 4])
    finding = source(*_listed(everything))
    assert not [n for n in finding.notes if "end of text), as documents do" in n]
    begun = replace(everything[1], asked=replace(ASKED, begins=(0,)))
    assert any("begins with id 0 (end of text), as documents do" in n for n in source(everything[0], [begun]).notes)
    assert any("3 own texts are read up to the first token that no source knows" in n for n in finding.notes)
    evidence, records = everything
    hidden = [
        replace(t, prefix_nats=tuple(np.full_like(p, -np.inf) for p in t.prefix_nats)) if t.sequence // 4 == 0 else t
        for t in records.texts
    ]
    one = source_evidence(evidence, replace(records, texts=tuple(hidden)))
    assert one is not None
    assert (one.n, one.texts.n_unwritable) == (7, 1)


def test_foreign_sequences_are_refused() -> None:
    evidence, records = made([flat(0.5, 0.5)] * 8, [flat(0.5, 0.5)] * 8)
    for spoiled in (
        replace(records.texts[0], sequence=99),
        replace(records.texts[0], token_nats=(np.zeros((2, 9)),) * 3),
    ):
        with pytest.raises(DataError, match="which this run does not have so"):
            source(evidence, [replace(records, texts=(spoiled, *records.texts[1:]))])


def test_one_document_a_unit() -> None:
    evidence, records = made([flat(0.5, 0.5)] * 8, [flat(0.5, 0.5)] * 8)
    evidence.records.sequences["unit"][:4] = "d0"
    one = source_evidence(evidence, records)
    assert one is not None
    assert one.n == 7


def test_two_latents_and_plain_json() -> None:
    evidence, records = made([flat(0.25, 0.5)] * 8, [flat(0.5, 0.5)] * 8)
    when = replace(records, asked=replace(ASKED, latent="when"))
    finding = source(evidence, [records, when])
    plain = to_json(finding)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    names = [e.name for e in finding.estimates]
    assert len(set(names)) == len(names)
    assert {c.name for c in finding.charts} == {
        f"{x}_{y}" for x in ("who", "when") for y in ("entropy", "belief_1", "belief_2", "belief_3")
    }
