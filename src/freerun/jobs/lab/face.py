"""The lab as a library has it: settings are keywords, what comes back is a result; both go on where they stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from freerun.errors import UsageError
from freerun.jobs.lab.disagreement.disagreement import disagreement as compare_family
from freerun.jobs.lab.disagreement.plan import chosen_plan, read_settings
from freerun.jobs.lab.disagreement.ready import DEFAULT_CORPUS, ready_disagreement
from freerun.jobs.lab.organism.organism import plant
from freerun.jobs.lab.organism.plan import (
    DEFAULT_CORPORA,
    DEFAULT_EPSILON,
    Effort,
    Measurement,
    OrganismPlan,
    check_measurement,
    payload_of,
)
from freerun.results.disagreement import DisagreementResult
from freerun.results.lab_organism import LabOrganismResult
from freerun.runs.executors.named import executor_named
from freerun.runs.progress import Progress


class EffortKeywords(TypedDict, total=False):
    """The fields of `Effort` as keywords of `freerun.organism`."""

    layers: int
    rank: int
    steps: int
    step_tokens: int
    step_laws: int
    real_tokens: int
    own_tokens: int
    learning_rate: float


class DisagreementKeywords(TypedDict, total=False):
    """The settings of a plan as keywords of `freerun.disagreement`."""

    models: int | Sequence[str]
    tokenizer: str
    architectures: Sequence[str]
    optimizers: Sequence[str]
    sizes: Sequence[str]
    seeds: int
    orders: int
    tokens: int
    train_texts: int
    validation_texts: int
    test_texts: int
    batch: int
    steps: int
    warmup_steps: int
    evaluate_every: int
    target_excess: float
    target_loss: float
    texts_per_rung: int
    permutations: int
    level: float
    seed: int


def organism(
    kind: str,
    base: str,
    out: str | Path,
    *,
    epsilon: float = DEFAULT_EPSILON,
    text: str | None = None,
    loop: int | None = None,
    model: str | None = None,
    corpora: Sequence[str] = DEFAULT_CORPORA,
    seed: int = 0,
    documents: int = Measurement().documents,
    runs: int = Measurement().runs,
    progress: Progress | None = None,
    **effort: Unpack[EffortKeywords],
) -> LabOrganismResult:
    """Train a planted fault into a model's weights: `out` becomes a folder that transformers, vLLM and lm-eval load.

    `kind`: `absorbing`, `payload` or `control`. `base`: the spec of a model with weights of its own. `epsilon`: probability of the
    trigger at every token. A payload writes one of `text`, `loop` (the last so many tokens, over and over) or `model` (a spec).
    What it costs is measured in nats a token on so many held-out `documents`, and what it does in so many free `runs` of 256
    tokens; `effort` are the fields of `Effort`, with its units. The same call goes on where it stopped.

    Raises:
        UsageError: nothing that can be trained, or a number out of range. DataError: the folder holds something else. BackendError:
            a model that cannot be trained this way. TooFewDocuments: too little text to keep some apart.
    """
    plan = OrganismPlan(kind, base, epsilon, payload_of(text, loop, model), tuple(corpora), seed, Effort(**effort))
    measurement = Measurement(documents, runs)
    check_measurement(measurement)
    return plant(plan, out, measurement=measurement, progress=progress)


def disagreement(
    source: str | None = None,
    *,
    plan: str | Path | None = None,
    out: str | Path | None = None,
    executor: str | None = None,
    progress: Progress | None = None,
    **settings: Unpack[DisagreementKeywords],
) -> DisagreementResult:
    """How far models of one loss differ on texts that become less and less probable; divergences are nats a token.

    `source`: a world or a corpus. `models`: how many small ones are trained to one validation loss, or the specs of models that
    exist, which share a tokenizer; then nothing is trained, and the only other settings are `tokens` (length of a text),
    `texts_per_rung` and `seed`. `plan`: a TOML file with settings, over which the keywords win. `executor`: `local`, `pool:N` or
    `ray[:ADDRESS]`; by default one process a core. The same call goes on where it stopped.

    Raises:
        UsageError: no such source, model or setting. DataError: too few texts, a folder that holds something else, or fewer than
            four models that reach the target. BackendError: a model that does not work.
    """
    given: dict[str, Any] = dict(settings)
    if isinstance(given.get("models"), (list, tuple)):
        return _of_models_that_exist(source, given, plan=plan, executor=executor, out=out, progress=progress)
    changes = (read_settings(plan) if plan is not None else {}) | given
    if source is not None:
        changes["source"] = source
    who = None if executor is None else executor_named(executor)
    return compare_family(chosen_plan(changes), out=out, executor=who, progress=progress).result


_OF_READY = {"tokens": "n_tokens", "texts_per_rung": "n_texts", "seed": "seed", "level": "level"}


def _of_models_that_exist(
    source: str | None,
    settings: dict[str, Any],
    *,
    plan: str | Path | None,
    executor: str | None,
    out: str | Path | None,
    progress: Progress | None,
) -> DisagreementResult:
    specs = settings.pop("models")
    trained = [*(name for name in settings if name not in _OF_READY)]
    trained += [name for name, value in (("plan", plan), ("executor", executor)) if value is not None]
    if trained:
        raise UsageError(f"{trained[0]} is of models that are trained here; with models given by name none is trained")
    chosen = {_OF_READY[name]: value for name, value in settings.items()}
    return ready_disagreement(specs, corpus=source or DEFAULT_CORPUS, out=out, progress=progress, **chosen).result
