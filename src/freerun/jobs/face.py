"""The verbs as a library has them: a model is a name or a predictor, settings are keywords, what comes back is a result.

`freerun.audit`, `compare` and `load` are the functions of their own rooms; those here put a name in the place of a predictor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freerun.jobs import certify as certificates
from freerun.jobs import predict as prediction
from freerun.jobs.grid.grid import run_grid
from freerun.jobs.grid.plan import read_grid
from freerun.jobs.power.cells import chosen_plan
from freerun.jobs.power.power import power as simulate
from freerun.jobs.source.file import Sources, read_sources
from freerun.jobs.source.question import SourceOptions
from freerun.jobs.source.source import source as ask
from freerun.predictors.base import Predictor
from freerun.results.certify import CertifyResult
from freerun.results.grid import GridResult
from freerun.results.power import PowerResult
from freerun.results.predict import PredictResult
from freerun.results.source import SourceResult
from freerun.runs.executors.named import executor_named
from freerun.runs.progress import Progress
from freerun.specs.spec import load_predictor


def predict(model: str | Predictor, text: str, *, top: int = 5) -> PredictResult:
    """What a model expected at every token of a text: surprisal in nats, rank, entropy, and the `top` most probable tokens.

    Raises:
        UsageError: no such model, or nothing to predict. BackendError: the model does not work.
    """
    return prediction.predict(_loaded(model), text, top=top)


def source(
    model: str | Predictor, text: str, sources: str | Sources | None = None, *, options: SourceOptions | None = None
) -> SourceResult:
    """Who could have written a text: the model's posterior over sources. `sources`: a file or a built-in name; a world has its own.

    Raises:
        UsageError: no such model or sources, or a setting out of range. DataError: a sources file that cannot be read.
    """
    return ask(
        _loaded(model), text, read_sources(sources) if isinstance(sources, str) else sources, options or SourceOptions()
    )


def certify(
    excess_nats: float,
    tokens: int,
    *,
    deltas: Sequence[float] = certificates.DELTAS,
    event_rate: certificates.Rate | None = None,
    observed: certificates.Rate | None = None,
) -> CertifyResult:
    """What an excess loss, in nats a token, guarantees about texts of so many tokens, and what it does not. No model.

    `deltas`: total variations to give horizons for. `event_rate`, `observed`: how many real texts, and how many generated ones,
    have some property.

    Raises:
        UsageError: a value out of range; an observed rate without a base rate.
    """
    return certificates.certify(excess_nats, tokens, deltas=deltas, event_rate=event_rate, observed=observed)


def grid(
    plan: str | Path,
    *,
    out: str | Path | None = None,
    executor: str = "local",
    parts: str = "",
    progress: Progress | None = None,
) -> GridResult:
    """Audit every model on every corpus at every setting of a plan (a TOML file), and compare them; it goes on where it stopped.

    `executor`: `local`, `pool:N` or `ray[:ADDRESS]`. `parts`: a URL for what workers make, if they do not see the folder.

    Raises:
        UsageError: no such name or value in the plan. DataError: the folder cannot be used.
    """
    chosen = executor_named(executor)
    return run_grid(
        read_grid(plan), out=out, name=Path(plan).stem, executor=chosen, parts=parts, progress=progress
    ).result


def power(
    *,
    full: bool = False,
    metrics: Sequence[str] | None = None,
    organisms: Sequence[str] | None = None,
    seed: int = 0,
    workers: int = 2,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> PowerResult:
    """Which metric notices which planted defect: size and power by simulation, over fresh texts in every rerun. No model.

    Raises:
        UsageError: no such metric or organism. DataError: the folder cannot be used.
    """
    chosen = (None if names is None else tuple(names) for names in (metrics, organisms))
    metric_names, organism_names = chosen
    plan = chosen_plan(full=full, metrics=metric_names, organisms=organism_names, seed=seed)
    return simulate(plan, out=out, workers=workers, progress=progress)[1]


def _loaded(model: str | Predictor) -> Predictor:
    return load_predictor(model) if isinstance(model, str) else model
