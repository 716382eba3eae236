"""What a backend really does, or what this installation has."""

from __future__ import annotations

import freerun
from freerun.jobs.doctor.installation import installation
from freerun.predictors.base import Predictor
from freerun.results.doctor import Against, Check, DoctorResult
from freerun.results.requests import Requests
from freerun.runs.progress import Progress, Silent
from freerun.specs.spec import LoadOptions, load_predictor, loader_of

RESULT_VERSION = 1
LAW_SERVED = "law_served"
"""Among `unfit_because`: what the server draws is not of the other model's law."""


def doctor(
    model: str | Predictor | None = None,
    *,
    against: str | Predictor | None = None,
    options: LoadOptions | None = None,
    progress: Progress | None = None,
) -> DoctorResult:
    """Put every question to a model, and hold it beside another one (`against`); without a model, examine the installation.

    Raises:
        UsageError: no such model, or `against` without a model or with other tokens. BackendError: a model cannot be loaded.
    """
    from freerun.errors import UsageError

    tell = progress or Silent()
    if model is None:
        if against is not None:
            raise UsageError("--against compares two models: name the one to examine first")
        return _result(None, {"freerun": freerun.__version__}, installation())
    from dataclasses import replace

    load = replace(options or LoadOptions(), trial=False)
    for spec in (model, against):
        if isinstance(spec, str):
            loader_of(spec)
    predictor = load_predictor(model, load, tell=tell.say) if isinstance(model, str) else model
    from freerun.jobs.doctor.model import examine

    tell.say("putting the questions")
    checks = examine(predictor)
    apart = None
    if against is not None:
        from freerun.jobs.doctor.against import compare

        other = (
            load_predictor(against, replace(load, end_ids=None), tell=tell.say) if isinstance(against, str) else against
        )
        tell.say("scoring the same tokens under both")
        apart = compare(predictor, other, tell.say)
    own = predictor.identity
    facts = {"nature": own.nature.describe(), "fingerprint": own.fingerprint, **own.facts}
    return _result(own.name, facts, checks, apart, _requests(predictor))


def _requests(predictor: Predictor) -> Requests | None:
    from freerun.jobs.served.requests import requests_of

    return requests_of(predictor)


def _result(
    model: str | None,
    facts: dict[str, str],
    checks: tuple[Check, ...],
    against: Against | None = None,
    requests: Requests | None = None,
) -> DoctorResult:
    unfit = tuple(c.name for c in checks if c.decides and c.outcome == "failed")
    if against is not None and any(law.sends_rule and law.match == "differs" for law in against.laws_served):
        unfit += (LAW_SERVED,)
    return DoctorResult(RESULT_VERSION, "doctor", model, facts, checks, against, requests, not unfit, unfit)
