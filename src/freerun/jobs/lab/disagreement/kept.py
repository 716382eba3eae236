"""Trained members in a run's folder: whole or not there, each with its checksum.

RUN/manifest.json           the plan with its hash; written first
RUN/models/NAME.safetensors the weights of a member
RUN/models/NAME.json        its record, written after the weights
RUN/rungs/*.npz             what all of them give the texts of a rung (scored.py)
RUN/result.json, RUN/report.html   made from these
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from freerun.counted import counted
from freerun.errors import DataError
from freerun.files import sha256_of, write_atomically
from freerun.jobs.lab.disagreement.blocks import Network
from freerun.jobs.lab.disagreement.plan import DisagreementPlan
from freerun.jobs.lab.disagreement.training import Trained, loaded, train_member
from freerun.results.disagreement import Member, TrainedMember
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.runs.executors.job import Calls, Done, Executor, Poisoned, refuse_poisoned
from freerun.runs.progress import Progress

FOLDER = "models"


def train_all(
    plan: DisagreementPlan,
    members: Sequence[Member],
    target_nats: float,
    run: Path,
    executor: Executor,
    progress: Progress,
) -> list[TrainedMember]:
    """Train all members that the folder does not hold yet; each is kept as soon as it is done. `progress` has begun.

    Raises:
        BackendError: a member failed three times; all others are kept.
    """
    for leftover in (run / FOLDER).glob(".*-*"):
        leftover.unlink(missing_ok=True)
    records = {m: record for m in members if (record := _read(plan, m, run)) is not None}
    missing = [m for m in members if m not in records]
    if missing:
        progress.say(
            f"{len(missing)} of {counted(len(members), 'model')} to train to {target_nats:.4f} nats a token -> {run}"
        )
    progress.phase("training")
    progress.advance(plan.tokens_of_member * len(records))
    poisoned: list[Poisoned[Member]] = []
    for outcome in executor.map(Calls(partial(train_member, plan, target_nats)), missing) if missing else ():
        if not isinstance(outcome, Done):
            poisoned.append(outcome)
            continue
        _keep(plan, outcome.value, run)
        records[outcome.unit] = outcome.value.record
        progress.advance(plan.tokens_of_member)
    refuse_poisoned(poisoned)
    return [records[m] for m in members]


def read_network(plan: DisagreementPlan, record: TrainedMember, run: Path) -> Network:
    """A trained member from its file.

    Raises:
        DataError: the file cannot be read.
    """
    path = run / FOLDER / f"{record.member.name}.safetensors"
    try:
        return loaded(plan, record.member, path.read_bytes())
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"cannot read {path}: {error}; the same command trains it again once it is removed") from error


def _keep(plan: DisagreementPlan, trained: Trained, run: Path) -> None:
    name = trained.record.member.name
    write_atomically(run / FOLDER / f"{name}.safetensors", trained.weights)
    stored = {"plan_hash": plan.hash, "record": to_json(trained.record), "sha256": _digest(trained.record)}
    write_atomically(run / FOLDER / f"{name}.json", json.dumps(stored, indent=1, allow_nan=False) + "\n")


def _read(plan: DisagreementPlan, member: Member, run: Path) -> TrainedMember | None:
    """A member's record; None where it is not there, damaged, or of another plan: it is trained again then."""
    stem = run / FOLDER / member.name
    try:
        stored = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        record = from_json(TrainedMember, stored["record"])
        weights = sha256_of(stem.with_suffix(".safetensors"))
    except (OSError, ValueError, RecursionError, LookupError, TypeError, DataError):
        return None
    whole = stored.get("sha256") == _digest(record) and stored.get("plan_hash") == plan.hash
    return record if whole and weights == record.weights_sha256 and record.member == member else None


def _digest(record: TrainedMember) -> str:
    return hashlib.sha256(json.dumps(to_json(record), sort_keys=True).encode()).hexdigest()
