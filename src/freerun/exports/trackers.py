"""A run's numbers in an experiment tracker: Weights & Biases, MLflow, trackio. Each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from freerun.errors import UsageError


def tracked_numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Every known number of every finding as `finding/name`, with `_low` and `_high` where it has an interval."""
    out: dict[str, float] = {}
    for f in result["findings"]:
        for e in f["estimates"]:
            for end, value in (("", e["value"]), ("_low", e["low"]), ("_high", e["high"])):
                if value is not None:
                    out[f"{f['name']}/{e['name']}{end}"] = float(value)
    return out


def track(result: Mapping[str, Any], path: Path, *, to: str, project: str) -> str:
    """Log a run's numbers, plan and report to a tracker; returns where in words.

    Raises:
        UsageError: an unknown tracker, or one whose package is not installed.
    """
    if to not in TRACKERS:
        raise UsageError(f"no tracker is called {to!r}; there are {', '.join(TRACKERS)}")
    try:
        module = import_module(to)
    except ImportError as error:
        raise UsageError(f"--to {to} needs the package {to}; install it with: pip install 'freerun[{to}]'") from error
    TRACKERS[to](module, result, path, project)
    return f"{to}, project {project}, run {path.resolve().name}"


def _wandb(wandb: Any, result: Mapping[str, Any], path: Path, project: str) -> None:
    run = wandb.init(project=project, name=path.resolve().name, config=_plan(result), job_type=result["kind"])
    run.log(tracked_numbers(result))
    run.summary["verdict"] = result["verdict"]["sentence"]
    run.finish()


def _mlflow(mlflow: Any, result: Mapping[str, Any], path: Path, project: str) -> None:
    mlflow.set_experiment(project)
    with mlflow.start_run(run_name=path.resolve().name):
        mlflow.log_params({k: str(v)[:500] for k, v in _plan(result).items()})
        mlflow.log_metrics(tracked_numbers(result))
        mlflow.set_tag("verdict", result["verdict"]["sentence"])
        for name in ("result.json", "report.html"):
            if (path / name).exists():
                mlflow.log_artifact(str(path / name))


def _trackio(trackio: Any, result: Mapping[str, Any], path: Path, project: str) -> None:
    trackio.init(project=project, name=path.resolve().name, config=_plan(result))
    trackio.log(tracked_numbers(result))
    trackio.finish()


def _plan(result: Mapping[str, Any]) -> dict[str, Any]:
    return {"freerun_version": result["freerun_version"], "command": result["command"], **result["plan"]}


TRACKERS: dict[str, Callable[[Any, Mapping[str, Any], Path, str], None]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
