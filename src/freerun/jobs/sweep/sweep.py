"""One audit plan over settings that differ in context alone: `freerun audit --sweep prefix=8,32,128 --sweep exemplars=0,1,2,4`.

Every setting is a normal audit in a folder of its name, resumable and reported by itself. The cut is held where the longest prefix
ends, and shorter prefixes are the last tokens before it, so that all settings have the same documents, the same real continuations
and the same draws.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack

from freerun.comparisons.sweeps.axis import Axis
from freerun.comparisons.sweeps.contrasts import OwnTextRefused, Swept
from freerun.comparisons.sweeps.contrasts import sweep as compare_settings
from freerun.comparisons.sweeps.result import sweep_result
from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments, UsageError, nearest
from freerun.files import write_atomically
from freerun.findings.own_text.standing import own_text_of
from freerun.jobs.audit.manifest import default_folder
from freerun.jobs.audit.options import AuditKeywords, AuditOptions, check_options, chosen_from, read_any_corpus
from freerun.jobs.audit.preparing import Prepared, prepare, tell_notes
from freerun.jobs.grid.running import run_cells
from freerun.jobs.grid.single import error_of
from freerun.jobs.grid.workshop import Task
from freerun.organisms.wrapper import from_nothing
from freerun.predictors.base import Predictor
from freerun.report.pages.sweep import render_sweep
from freerun.results.finding import to_json
from freerun.runs.executors.job import Executor
from freerun.runs.executors.local import Local
from freerun.runs.progress import Progress, Silent
from freerun.runs.run import evidence_in, finished, result_in
from freerun.specs.spec import LoadOptions, load_predictor, loader_of
from freerun.text.documents import Corpus
from freerun.text.pairs import CONTINUATION_GRID, usable_units

KEYS = ("prefix", "exemplars")
MANIFEST = "sweep.json"
MANIFEST_VERSION = 1
ENOUGH_UNITS = 16
"""With so many independent documents an audit is not refused for want of them."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class SweepPlan:
    """What is swept: the axes, and for every setting its folder's name and its options. All have the same `cut`."""

    axes: tuple[Axis, ...]
    names: tuple[str, ...]
    settings: tuple[AuditOptions, ...]
    cut: int

    @property
    def most_context(self) -> tuple[AuditOptions, ...]:
        """The settings at the far ends: whatever the corpus or the model refuses, it refuses there."""
        return tuple(self.settings[i] for i in sorted({axis.members[-1] for axis in self.axes}))


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: its folder and its result, as `result.json` holds it."""

    path: Path
    result: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """What context does to the gap."""
        return str(self.result["verdict"]["sentence"])

    @property
    def report(self) -> Path:
        """The page: one file."""
        return self.path / "report.html"


def parse_axes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read `prefix=8,32,128` and `exemplars=0,1,2`, each at most once.

    Raises:
        UsageError: no such key, one given twice, fewer than two values, one that is not a number from 0, or one given twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        key, equals, rest = text.partition("=")
        if key not in KEYS or not equals:
            raise UsageError(
                f"--sweep {text!r}: wanted {' or '.join(f'{k}=N,N,…' for k in KEYS)}{nearest(key, KEYS)}; for example "
                "prefix=8,32,128"
            )
        if key in found:
            raise UsageError(f"--sweep {key}=… is given twice; put all its values into one, joined by commas")
        words = rest.split(",")
        wrong = [w for w in words if not re.fullmatch(r"\d{1,9}", w.strip())]
        if wrong:
            raise UsageError(
                f"--sweep {text!r}: {wrong[0]!r} is not a number of {_things(key)} from 0; for example {key}=0,2,8"
            )
        values = [int(w) for w in words]
        if len(set(values)) < len(values):
            twice = next(v for v in values if values.count(v) > 1)
            raise UsageError(f"--sweep {text!r} holds {twice} twice; every setting is measured once")
        if len(values) < 2:
            raise UsageError(f"--sweep {text!r}: a sweep takes at least two values, for example {key}=8,32,128")
        found[key] = tuple(sorted(values))
    if not found:
        raise UsageError("a sweep needs an axis: --sweep prefix=8,32,128 or --sweep exemplars=0,1,2,4")
    return found


def plan_sweep(axes: Mapping[str, Sequence[int]], options: AuditOptions) -> SweepPlan:
    """Which settings there are. A setting that stands on both axes (the base prefix without more exemplars) is measured once.

    Along `prefix` the exemplars are those of `options`, along `exemplars` the prefix is.

    Raises:
        UsageError: a value of `options` that the sweep sets itself, a cut inside a prefix, or a setting that no audit takes.
    """
    default = AuditOptions()
    for key, other in (("prefix", "exemplars"), ("exemplars", "prefix")):
        if key in axes and other not in axes and getattr(options, key) != getattr(default, key):
            raise UsageError(
                f"--{key} {getattr(options, key)} has no place beside --sweep {key}=…; leave one of the two out"
            )
    prefixes = [*axes.get("prefix", ()), *([options.prefix] if "exemplars" in axes else [])]
    cut = max(prefixes) if options.cut is None else options.cut
    if cut < max(prefixes):
        raise UsageError(
            f"--cut {cut} lies inside the prefix of {max(prefixes)} tokens; give --cut {max(prefixes)} or more"
        )
    names: list[str] = []
    settings: list[AuditOptions] = []
    made: list[Axis] = []
    for key in KEYS:
        if key not in axes:
            continue
        members = []
        for value in sorted(axes[key]):
            with_cut = replace(options, cut=cut)
            setting = replace(with_cut, prefix=value) if key == "prefix" else replace(with_cut, exemplars=value)
            if setting not in settings:
                check_options(setting)
                settings.append(setting)
                names.append(f"{key}-{value}")
            members.append(settings.index(setting))
        made.append(Axis(key, tuple(sorted(axes[key])), tuple(members)))
    return SweepPlan(tuple(made), tuple(names), tuple(settings), cut)


def run_sweep(
    model: str | Predictor,
    corpus: str | Corpus,
    axes: Mapping[str, Sequence[int]],
    *,
    out: str | Path | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    **options: Unpack[AuditKeywords],
) -> Sweep:
    """Audit every setting, or go on where a sweep was interrupted, and compare them.

    Raises:
        FreerunError: see `freerun.errors`. Settings that are finished are kept.
    """
    tell = progress or Silent()
    plan = plan_sweep(axes, chosen_from(options))
    predictor, text, ready = prepare_sweep(model, corpus, plan, tell.say)
    folder = Path(out) if out is not None else default_folder_of(ready, plan)
    again = _open(folder, _manifest(ready, plan))
    tasks = []
    for i, (name, setting) in enumerate(zip(plan.names, plan.settings, strict=True), start=1):
        if again and _is_finished(folder / name):
            tell.say(f"setting {i} of {len(plan.names)}: {name} is finished")
            continue
        where = str((folder / name).absolute())
        whole = executor is None or isinstance(executor, Local)
        tasks.append(Task(name, predictor if whole else model, text if whole else corpus, setting, "", where))
    if tasks:
        tell.say(f"{len(tasks)} of {counted(len(plan.names), 'setting')} to measure -> {folder}")
        failures = run_cells(
            tasks, executor or Local(), tell, lambda task, _summary, _run: tell.say(f"{task.name} is done")
        )
        for failure in failures.values():
            raise error_of(failure)
    return report_sweep(folder, progress=tell)


def report_sweep(path: str | Path, *, progress: Progress | None = None) -> Sweep:
    """Compare the settings again from their records, without a model.

    Raises:
        DataError: no sweep there, or settings that are not finished.
    """
    tell = progress or Silent()
    folder = Path(path)
    manifest = _read_manifest(folder)
    names = [str(s["name"]) for s in manifest["settings"]]
    axes = tuple(Axis(a["key"], tuple(a["values"]), tuple(a["members"])) for a in manifest["axes"])
    missing = [name for name in names if not (folder / name / "manifest.json").exists()]
    if missing:
        raise DataError(f"{folder}: setting {missing[0]} is not there; go on with: {manifest['command']}")
    evidences = [evidence_in(finished(folder / name)) for name in names]
    tell.say("comparing the settings")
    refused = tuple(name for name, e in zip(names, evidences, strict=True) if own_text_of(e).refused)
    found: Swept | TooFewDocuments | OwnTextRefused
    try:
        found = OwnTextRefused(refused) if refused else compare_settings(evidences, say=tell.say)
    except TooFewDocuments as error:
        found = error
    cut = int(manifest["cut"])
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    results = [result_in(folder / name) for name in names]
    swept = sweep_result(
        evidences, names, axes, found, results=results, cut=cut, command=manifest["command"], created=created
    )
    result = dict(to_json(swept))
    write_atomically(folder / "result.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "report.html", render_sweep(result))
    return Sweep(folder, result)


def is_sweep(path: str | Path) -> bool:
    """Whether a folder is a sweep's."""
    return (Path(path) / MANIFEST).is_file()


# ---- before anything is measured ---------------------------------------------------------------------------------------


def prepare_sweep(
    model: str | Predictor, corpus: str | Corpus, plan: SweepPlan, say: Say
) -> tuple[Predictor, Corpus, list[Prepared]]:
    """Load the model and read the corpus once, and prepare the settings that ask most of both.

    Raises:
        FreerunError: whatever one of the settings would refuse.
    """
    base = plan.settings[0]
    for spec in (model, *base.reference):
        if isinstance(spec, str):
            loader_of(spec)
    text = read_any_corpus(corpus, base) if isinstance(corpus, str) else corpus
    if isinstance(corpus, str) and not corpus.startswith(("builtin/", "world/")):
        tell_notes(text, say)
    if text.n_prompted:
        raise UsageError(
            f"--sweep varies what stands before the cut of plain documents, and {text.spec} holds prompts with responses; leave "
            "it out"
        )
    load = LoadOptions(base.dtype, base.device, base.trust_remote_code, end_ids=base.end_ids)
    predictor = load_predictor(model, load, tell=say) if isinstance(model, str) else model
    if any(setting.prefix == 0 for setting in plan.settings):
        from_nothing(predictor)
    try:
        ready = [prepare(predictor, text, setting, say=say) for setting in plan.most_context]
    except (DataError, TooFewDocuments) as error:
        raise type(error)(_shortage(error, predictor, text, plan)) from error
    _check_window(predictor, plan, ready[0].pairs.continuation_tokens)
    return predictor, text, ready


def _check_window(predictor: Predictor, plan: SweepPlan, tokens: int) -> None:
    """A prefix that is let go before the text ends is not the context that its setting is named for."""
    window, longest = predictor.context.window, max(s.prefix for s in plan.settings)
    if window is not None and "prefix" in {axis.key for axis in plan.axes} and longest + tokens > window:
        raise UsageError(
            f"--sweep prefix=…,{longest} with {tokens} tokens after the cut does not fit: {predictor.identity.name} sees {window} "
            "tokens; take a shorter prefix or fewer --tokens"
        )


def _shortage(error: Exception, predictor: Predictor, corpus: Corpus, plan: SweepPlan) -> str:
    """The refusal of the setting with most context, and how many documents each shorter sweep would have."""
    prefixes = sorted({setting.prefix for setting in plan.settings})
    if len(prefixes) < 2 or plan.cut != prefixes[-1]:
        return str(error)
    tokens = plan.settings[0].tokens or CONTINUATION_GRID[-1]
    left = usable_units(corpus, predictor.encode, [p + tokens for p in prefixes])
    if left[-1] >= ENOUGH_UNITS:
        return str(error)
    counts = ", ".join(f"{n} if the longest were {p}" for p, n in zip(prefixes, left, strict=True))
    return (
        f"a sweep cuts every document after its longest prefix, and {error}; independent documents of more than prefix + {tokens} "
        f"tokens: {counts}"
    )


def default_folder_of(ready: Sequence[Prepared], plan: SweepPlan) -> Path:
    """`runs/<model>-<corpus>-sweep-<hash>`."""
    first = default_folder(ready[0].manifest)
    return first.with_name(f"{first.name.rsplit('-', 1)[0]}-sweep-{_hash(ready, plan)[:8]}")


def _hash(ready: Sequence[Prepared], plan: SweepPlan) -> str:
    """What makes two sweeps the same one: the plans at the far ends, and the settings between."""
    told = {
        "plans": [one.manifest["plan_hash"] for one in ready],
        "settings": [[s.prefix, s.exemplars] for s in plan.settings],
        "cut": plan.cut,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _manifest(ready: Sequence[Prepared], plan: SweepPlan) -> dict[str, Any]:
    return {
        "schema_version": MANIFEST_VERSION,
        "kind": "sweep",
        "sweep_hash": _hash(ready, plan),
        "axes": [{"key": a.key, "values": list(a.values), "members": list(a.members)} for a in plan.axes],
        "settings": [
            {"name": name, "prefix": s.prefix, "exemplars": s.exemplars}
            for name, s in zip(plan.names, plan.settings, strict=True)
        ],
        "cut": plan.cut,
        "command": _command(str(ready[0].manifest["command"]), plan),
    }


def _command(of_a_setting: str, plan: SweepPlan) -> str:
    """The command of one setting, with the axes in the place of what they set."""
    swept = {axis.key for axis in plan.axes}
    unset = {f"--{key}" for key in (*swept, "cut")} - ({"--prefix"} if "exemplars" in swept else set())
    words, skip = list[str](), False
    for word in shlex.split(of_a_setting):
        if skip:
            skip = False
        elif word in unset:
            skip = True
        else:
            words.append(word)
    if "exemplars" in swept and "--prefix" in words:
        words[words.index("--prefix") + 1] = str(_base_prefix(plan))
    if plan.cut != max(s.prefix for s in plan.settings):
        words += ["--cut", str(plan.cut)]
    for axis in plan.axes:
        words += ["--sweep", f"{axis.key}={','.join(map(str, axis.values))}"]
    return shlex.join(words)


def _base_prefix(plan: SweepPlan) -> int:
    exemplars = next(axis for axis in plan.axes if axis.key == "exemplars")
    return plan.settings[exemplars.members[-1]].prefix


def _open(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Begin or continue a sweep; whether the very same command began it.

    Raises:
        DataError: the folder holds another sweep, or something else.
    """
    if is_sweep(folder):
        held = _read_manifest(folder)
        if held["sweep_hash"] != manifest["sweep_hash"]:
            raise DataError(f"{folder} holds a sweep of another plan; choose another folder with -o, or remove it")
        return bool(held["command"] == manifest["command"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there and is not a sweep; choose another folder with -o")
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return False


def _is_finished(path: Path) -> bool:
    """Whether a setting is measured and reported."""
    try:
        if finished(path).first_look:
            return False
    except DataError:
        return False
    return (path / "result.json").exists() and (path / "report.html").exists()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        version = held["schema_version"]
        _ = held["sweep_hash"], held["settings"], held["axes"], held["cut"], held["command"]
    except FileNotFoundError:
        raise DataError(f"{folder}: no sweep here (no {MANIFEST}); `freerun audit --sweep …` makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read; remove the folder and run the sweep again") from error
    if version != MANIFEST_VERSION:
        raise DataError(
            f"{path} has schema {version!r}, this freerun reads {MANIFEST_VERSION}; use the version that made it"
        )
    return dict(held)


def _things(key: str) -> str:
    return "tokens" if key == "prefix" else "documents"
