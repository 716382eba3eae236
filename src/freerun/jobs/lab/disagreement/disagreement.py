"""Train a family of small models to one loss, and see how far their laws differ on texts of which the loss says nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import freerun
from freerun.counted import counted
from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.jobs.lab.disagreement.answer import (
    belief_finding,
    budget_finding,
    matched_finding,
    null_finding,
    parting_texts,
)
from freerun.jobs.lab.disagreement.beliefs import has_posterior, read_beliefs
from freerun.jobs.lab.disagreement.blocks import Network
from freerun.jobs.lab.disagreement.causes import cause_finding, factor_effects, regions_of, shuffled_rate
from freerun.jobs.lab.disagreement.expected import BUDGET, CAUSES, GROWS
from freerun.jobs.lab.disagreement.kept import read_network, train_all
from freerun.jobs.lab.disagreement.ladders import Rung, text_rungs, written_rungs, written_tokens
from freerun.jobs.lab.disagreement.plan import DisagreementPlan, chosen_members, stream
from freerun.jobs.lab.disagreement.points import with_words
from freerun.jobs.lab.disagreement.rise import rise_finding, rung_results
from freerun.jobs.lab.disagreement.scored import score_kept
from freerun.jobs.lab.disagreement.scoring import Family, score_rung, score_tokens
from freerun.jobs.lab.disagreement.texts import Texts, ngram_laws, ngram_of, target_of, texts_of, true_laws
from freerun.jobs.lab.disagreement.tokens import FILE, FastTokens
from freerun.jobs.lab.disagreement.training import log_laws
from freerun.records.schema import SCHEMA_VERSION as RECORD_VERSION
from freerun.records.store import RunFolder
from freerun.report.pages.disagreement import render_disagreement
from freerun.results.disagreement import DISAGREEMENT_VERSION, DisagreementResult, TrainedMember
from freerun.results.finding import Finding, to_json
from freerun.runs.executors.job import Executor
from freerun.runs.executors.named import pool_of
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import cores, provenance

_MOST_PROBED = 8
FEWEST = 4
"""Models that must reach the target for anything to be said."""


@dataclass(frozen=True)
class Disagreement:
    """A finished run: its folder and its result."""

    path: Path
    result: DisagreementResult

    @property
    def report(self) -> Path:
        return self.path / "report.html"


def disagreement(
    plan: DisagreementPlan,
    *,
    out: str | Path | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Disagreement:
    """Train the members of a plan, or go on with a run that was interrupted, and compare those that reach the target.

    Raises:
        UsageError: a source that cannot be trained on. DataError: too few texts; the folder holds something else or cannot be
        written to; fewer than four models reach the target. BackendError: a member failed three times; all others are kept.
    """
    progress = progress or Silent()
    folder = RunFolder(Path(out) if out is not None else Path("runs") / f"disagreement-{plan.hash[:8]}")
    progress.say(f"reading or writing the texts of {plan.source}")
    texts, target = texts_of(plan), target_of(plan)
    folder.open(_manifest(plan, command or f"freerun lab disagreement -o {folder.path}"))
    if isinstance(texts.tokens, FastTokens):
        write_atomically(folder.path / FILE, texts.tokens.to_json())
    for number, expectation in enumerate((GROWS, BUDGET, CAUSES), 1):
        progress.say(f"expected {number}: {expectation}")
    members = chosen_members(plan)
    who = executor or pool_of(min(cores(), len(members)), len(members))
    progress.begin(plan.tokens_of_member * len(members) + _compared_tokens(plan, texts, len(members)))
    try:
        records = train_all(plan, members, target, folder.path, who, progress)
        _check_enough(plan, records, target)
        result = _measured(plan, texts, target, records, folder, progress)
    finally:
        progress.end()
    write_atomically(folder.path / "result.json", json.dumps(to_json(result), indent=1, allow_nan=False) + "\n")
    write_atomically(folder.path / "report.html", render_disagreement(to_json(result)))
    return Disagreement(folder.path, result)


def _check_enough(plan: DisagreementPlan, records: Sequence[TrainedMember], target: float) -> None:
    reached = sum(r.reached for r in records)
    if reached < FEWEST:
        raise DataError(
            f"only {reached} of {counted(len(records), 'model')} reached {target:.4f} nats a token within {plan.steps} "
            f"steps; {FEWEST} are needed. "
            "Take more --steps, or a higher --target-loss, in a new folder"
        )


def _compared_tokens(plan: DisagreementPlan, texts: Texts, models: int) -> int:
    """Tokens that so many models read together when they are compared."""
    without = text_rungs(texts.test, texts.units, plan.texts_per_rung, texts.n_tokens, seed=plan.seed)
    return models * (
        texts.test.size + sum(r.ids.size for r in without) + written_tokens(models, plan.texts_per_rung, plan.tokens)
    )


def _manifest(plan: DisagreementPlan, command: str) -> dict[str, object]:
    return {
        "schema_version": RECORD_VERSION,
        "kind": "disagreement",
        "plan": to_json(plan),
        "plan_hash": plan.hash,
        "command": command,
        "provenance": provenance(),
    }


def _measured(
    plan: DisagreementPlan,
    texts: Texts,
    target: float,
    records: list[TrainedMember],
    folder: RunFolder,
    progress: Progress,
) -> DisagreementResult:
    torch.set_num_threads(1)
    reached = [r for r in records if r.reached]
    members = [r.member for r in reached]
    networks = [read_network(plan, r, folder.path) for r in reached]
    family = family_of(plan, texts, members=[m.name for m in members], networks=networks)
    progress.phase("own text")
    progress.say(f"{counted(len(reached), 'model is', 'models are')} compared; their own texts are drawn")
    rungs = [
        *text_rungs(texts.test, texts.units, plan.texts_per_rung, texts.n_tokens, seed=plan.seed),
        *written_rungs(networks, plan.texts_per_rung, plan.tokens, seed=plan.seed),
    ]
    nobody = np.full(len(texts.test), -1)
    every = Rung("test", "all test texts", texts.test, 0, plan.tokens, texts.units, nobody)
    progress.phase("comparing")
    # models that did not meet the target read nothing
    progress.advance(_compared_tokens(plan, texts, len(records)) - _compared_tokens(plan, texts, len(networks)))
    key = "/".join((plan.hash, *(r.weights_sha256 for r in reached)))
    scored = score_kept(
        folder.path, key, rungs, partial(score_rung, family), lambda n: progress.advance(n * len(networks))
    )
    on_test, tokens = score_rung(family, every), score_tokens(family, texts.test)
    progress.advance(texts.test.size * len(networks))
    results = rung_results(scored, plan.level)
    losses = -on_test.scores.mean(1)
    truth = None
    if texts.world is not None:
        truth = float(-np.concatenate(texts.world.log_probs(list(texts.test))).mean())
    regions = regions_of(scored)
    effects = factor_effects(regions, members, losses, plan)
    findings = [
        matched_finding(records, on_test.scores, texts.units, target, truth_nats=truth, level=plan.level),
        rise_finding(scored, results, plan.level),
        budget_finding(tokens, texts.units, stream(plan.seed, "budget"), plan.level),
        cause_finding(regions, effects, members, plan),
        null_finding(family, scored, shuffled_rate(regions, members, plan)),
        *_beliefs(plan, texts, reached, networks, progress),
    ]
    result = DisagreementResult(
        schema_version=DISAGREEMENT_VERSION,
        kind="disagreement",
        freerun_version=freerun.__version__,
        title=f"{counted(len(reached), 'model')} of one loss on {plan.source}",
        command=str(folder.manifest()["command"]),
        plan_hash=plan.hash,
        plan=plan,
        sentence="",
        status="neutral" if all(f.status != "bad" for f in findings) else "bad",
        predictions=(),
        members=tuple(records),
        models=family.names,
        left_out=tuple(r.member.name for r in records if not r.reached),
        target_nats=target,
        rungs=results,
        factors=effects,
        findings=tuple(findings),
        parting=parting_texts(scored, family.names, texts.spelled),
        provenance=dict(folder.manifest()["provenance"]),
    )
    return with_words(result)


def family_of(plan: DisagreementPlan, texts: Texts, *, members: list[str], networks: list[Network]) -> Family:
    """Trained networks as a family, beside the truth and an n-gram."""
    return Family(
        tuple(members),
        tuple(partial(log_laws, network) for network in networks),
        texts.n_tokens,
        None if texts.world is None else partial(true_laws, texts.world),
        partial(ngram_laws, ngram_of(plan)),
    )


def _beliefs(
    plan: DisagreementPlan, texts: Texts, records: list[TrainedMember], networks: list[Network], progress: Progress
) -> list[Finding]:
    probed = [i for i, r in enumerate(records) if r.member.architecture == "transformer"][:_MOST_PROBED]
    if not has_posterior(texts.world) or not probed:
        return []
    progress.phase("belief states")
    progress.say(f"reading belief states off {counted(len(probed), 'transformer')}")
    found = read_beliefs(plan, texts, [records[i].member for i in probed], [networks[i] for i in probed])
    return [belief_finding(found, plan.level)]
