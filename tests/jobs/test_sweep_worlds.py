"""Sweeps held against exact mixture worlds: what a perfect predictor is told from, and what is left of a bad one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.comparisons.curves import run_curve
from freerun.comparisons.sweeps.contrasts import Swept, sweep
from freerun.findings.evidence import Evidence
from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.jobs.audit.preparing import prepare
from freerun.predictors.base import Continuations
from freerun.records.measure import measure
from freerun.records.store import load_records
from freerun.stats.detection.auc import auc
from freerun.worlds.catalogue import load_world
from freerun.worlds.mixture import MixtureWorld
from studies.source_gap.gap import SourceGap, source_gap

SOURCE = {"publication": "onion"}
PREFIXES = (0, 6, 64)
TOKENS, DOCUMENTS = 16, 192
LENGTHS = (1, 2, 4, 8, 16)
X = np.log2(1 + np.array(PREFIXES))


def swept(
    model: str, folder: Path, prefixes: tuple[int, ...] = PREFIXES, n: int = DOCUMENTS
) -> tuple[Swept, list[Evidence]]:
    """The settings of `--sweep prefix=0,6,64`, without the reports of each."""
    evidences = []
    base = AuditOptions(documents=n, tokens=TOKENS, cut=PREFIXES[-1], prefix=0)
    corpus = read_any_corpus("world/authors,publication=onion", base)
    for prefix in prefixes:
        options = AuditOptions(documents=n, tokens=TOKENS, cut=PREFIXES[-1], prefix=prefix)
        ready = prepare(model, corpus, options, out=folder / str(prefix))
        ready.folder.open(ready.manifest)
        measure(
            ready.predictor,
            ready.pairs.pairs,
            plan=ready.plan,
            plan_hash=ready.manifest["plan_hash"],
            folder=ready.folder,
            reference=ready.reference(),
        )
        evidences.append(Evidence(load_records(ready.folder)))
    return sweep(evidences), evidences


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> tuple[Swept, list[Evidence]]:
    return swept("world/authors", tmp_path_factory.mktemp("perfect"))


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Swept, list[Evidence]]:
    """The mixture again, and too cold besides: an error of its own."""
    return swept("world/authors+temperature,t=0.6", tmp_path_factory.mktemp("cold"), PREFIXES[1:], 64)


def exact(evidence: Evidence) -> tuple[SourceGap, SourceGap]:
    """ln P_s/M along real and own texts of a setting, from the last tokens before the cut alone."""
    world = load_world("authors")
    assert isinstance(world, MixtureWorld)
    records, first = evidence.records, int(evidence.plan.prefix)

    def gap(**chosen: Any) -> SourceGap:
        texts = [
            np.concatenate([records.sequences["prefix_ids"][i], records.tokens["token_id"][records.rows(i)]])
            for i in records.chosen(**chosen)
        ]
        return source_gap(world, SOURCE, [t.astype(np.int64) for t in texts], first=first)

    return gap(arm="real"), gap(arm="free", replicate=0)


ERROR = np.sqrt(0.75 * 0.25 * 2 / DOCUMENTS)
"""Standard error of an AUC of at most about ¾ on so many texts a side, from above."""


def test_a_perfect_predictor_of_the_mixture_levels_off_where_the_posterior_says(
    perfect: tuple[Swept, list[Evidence]],
) -> None:
    """The likelihood ratio itself stays below 1 − ½E[min(π₀, π₀′)] in every setting, which is ¾ from nothing.

    Bands of 4 standard errors: false alarms 3e-5 a check, 3 settings × 5 lengths, in all below 0.001.
    """
    ceilings = []
    for evidence, prefix in zip(perfect[1], PREFIXES, strict=True):
        real, free = exact(evidence)
        curve = [auc(real.log_ratio_nats[:, t], free.log_ratio_nats[:, t]) for t in LENGTHS]
        assert max(curve) <= real.auc_at_most + 4 * ERROR
        ceilings.append(real.auc_at_most)
        if prefix == 0:
            assert real.auc_at_most == pytest.approx(0.75)
    assert ceilings == sorted(ceilings, reverse=True)
    assert ceilings[-1] < 0.53


def test_measured_curves_stay_below_the_ceiling_and_fall_with_the_prefix(perfect: tuple[Swept, list[Evidence]]) -> None:
    """No trained detector beats the ceiling of its setting (4 standard errors of the test half), and the slope is told from zero;
    after 64 tokens the ceiling is below 0.53, and chance is inside the interval."""
    found, evidences = perfect
    for curve, evidence in zip(found.curves, evidences, strict=True):
        ceiling = exact(evidence)[0].auc_at_most
        assert max(d.auc.value for d in curve.curve.detections) <= ceiling + 4 * ERROR * np.sqrt(2)
    slope = found.slope((0, 1, 2), X)
    assert slope.value < 0
    assert slope.p_value <= 0.05
    assert found.curves[2].curve.detections[-1].auc.low < 0.5


def test_the_best_detector_falls_as_it_does_on_fresh_texts(perfect: tuple[Swept, list[Evidence]]) -> None:
    """Mean AUC of the likelihood ratio by setting against that of 800 fresh documents: within 4 standard errors each."""
    world = load_world("authors")
    assert isinstance(world, MixtureWorld)
    part = world.given(SOURCE)
    documents = [np.array(d.ids) for d in part.corpus(800, PREFIXES[-1] + TOKENS, seed=99).documents]
    for evidence, prefix in zip(perfect[1][:2], PREFIXES[:2], strict=True):
        seen = [d[PREFIXES[-1] - prefix :] for d in documents]
        keys = np.arange(len(seen), dtype=np.uint64)[:, None]
        runs = sorted(
            world.generate(Continuations([d[:prefix] for d in seen], keys, TOKENS, seed=5)), key=lambda s: s.row
        )
        free = [
            np.concatenate([d[:prefix], s.observation.token_id]).astype(np.int64)
            for d, s in zip(seen, runs, strict=True)
        ]
        many = [source_gap(world, SOURCE, texts, first=prefix).log_ratio_nats for texts in (seen, free)]
        few = [side.log_ratio_nats for side in exact(evidence)]
        if prefix == 0:  # at 16 letters nearly all of the ceiling is reached
            assert auc(many[0][:, -1], many[1][:, -1]) > 0.75 - 0.02 - 4 * np.sqrt(0.75 * 0.25 * 2 / 800)
        truth, measured = (float(np.mean([auc(r[:, t], f[:, t]) for t in LENGTHS])) for r, f in (many, few))
        assert abs(truth - measured) < 4 * ERROR


def test_curves_are_those_of_each_settings_own_report(perfect: tuple[Swept, list[Evidence]]) -> None:
    """All pairs are whole here, so the detectors are fitted on the same documents with the same draws."""
    found, evidences = perfect
    assert [curve.n_dropped for curve in found.curves] == [0, 0, 0]
    assert found.curves[1].curve.aucs.aucs.tolist() == run_curve(evidences[1], found.lengths).aucs.aucs.tolist()


def test_an_error_of_its_own_is_left_over(cold: tuple[Swept, list[Evidence]]) -> None:
    """A colder law is told from text after any prefix: at 64 tokens of prefix the ceiling of the source part is below 0.53, and the
    measured AUC lies above it with its whole interval."""
    found, evidences = cold
    last = found.curves[1].curve.detections[-1].auc
    assert exact(evidences[1])[0].auc_at_most < 0.53 < last.low
    assert found.curves[1].mean_auc > 0.55
