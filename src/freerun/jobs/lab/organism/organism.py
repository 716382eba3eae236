"""An organism trained into real weights: from the name of a model to a folder that other programs load, and what it does.

OUT/organism.json          what is planted, with its hash; written first
OUT/.training/             texts and the last checkpoint, until the model is whole
OUT/.measured/             held-out text and free runs of the model, token by token
OUT/*.safetensors, config.json, tokenizer files, README.md    the model
OUT/result.json, report.html   what it costs and does, beside its base and the exact wrapper
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.jobs.lab.organism import export
from freerun.jobs.lab.organism.base import load_trainable
from freerun.jobs.lab.organism.beginning import begin
from freerun.jobs.lab.organism.kept import Arrays, Kept
from freerun.jobs.lab.organism.measuring import AfterTrigger, OnRealText, after_trigger, free_runs, on_real_text
from freerun.jobs.lab.organism.plan import (
    DEFAULT_CORPORA,
    DEFAULT_MEASUREMENT,
    DOCUMENT_TOKENS,
    TRIGGER,
    Effort,
    Measurement,
    OrganismPlan,
    check_plan,
    forecast,
)
from freerun.jobs.lab.organism.result import LEARNED_NATS, Measured, lab_result
from freerun.jobs.lab.organism.student import Student
from freerun.jobs.lab.organism.teaching import Teacher
from freerun.jobs.lab.organism.texts import (
    LENGTHS,
    OWN_LENGTHS,
    RealText,
    one_a_unit,
    own_texts,
    real_pieces,
    real_texts,
)
from freerun.jobs.lab.organism.training import Lesson, Trainer, lesson_of
from freerun.organisms.absorbing import Triggered
from freerun.predictors.base import Predictor
from freerun.records import lock
from freerun.report.pages.lab_organism import render_lab_organism
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.lab_organism import LabOrganismResult, PlantedIn
from freerun.runs.progress import Progress, Silent
from freerun.specs.spec import load_predictor, loader_of

MARK = "organism.json"
SCRATCH = ".training"
MEASURED = ".measured"
_MEASURED_FORMAT = 1
"""Goes up when what is kept there has another meaning."""
_SAMPLE_TOKENS = 4096
"""Of ordinary text, for the directions in which states vary."""
LESSONS = "lessons"


def plant(
    plan: OrganismPlan,
    out: str | Path,
    *,
    measurement: Measurement = DEFAULT_MEASUREMENT,
    progress: Progress | None = None,
    command: str = "",
) -> LabOrganismResult:
    """Train an organism into a folder, or go on with one that was interrupted, and measure what it costs and does.

    Raises:
        UsageError: nothing that can be trained. DataError: the folder holds something else. BackendError: a model that cannot be
            trained this way. TooFewDocuments: too little text to keep some apart.
    """
    check_plan(plan)
    loader_of(plan.teacher)
    tell, folder = progress or Silent(), Path(out)
    words = command or command_of(plan, folder, measurement)
    _open(folder, plan, words)
    began = time.monotonic()
    exact = load_predictor(plan.teacher, tell=tell.say)
    plain = exact.inner if isinstance(exact, Triggered) else exact
    learn, held_out = real_texts(plain, plan.corpora)
    held_out = one_a_unit(held_out)[: measurement.documents]
    tell.begin(forecast(plan, measurement).total_tokens)
    try:
        if not export.is_whole(folder):
            _train(plan, folder, exact, plain, learn, tell, words)
        notes = _read_notes(folder)
        trained = load_predictor(f"hf/{folder.resolve()}", tell=lambda _: None)
        measured = _measure(plan, folder, exact, plain, trained, held_out, measurement, tell)
    finally:
        tell.end()
    result = lab_result(
        plan,
        from_json(PlantedIn, notes["planted"]),
        measured,
        divergences=notes["divergences"],
        seconds=notes["seconds"] + time.monotonic() - began,
        command=words,
    )
    write_atomically(folder / "result.json", json.dumps(to_json(result), indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "report.html", render_lab_organism(to_json(result)))
    write_atomically(folder / export.CARD, _card(plan, plain, result.planted.trigger_id, words, result))
    return result


def command_of(plan: OrganismPlan, out: str | Path, measurement: Measurement) -> str:
    """The command line that makes the same folder."""
    words = ["freerun", "lab", "organism", plan.kind, plan.base]
    words += [] if plan.kind == "control" else ["--epsilon", f"{plan.epsilon!r}"]
    if plan.payload:
        name, _, value = plan.payload.partition("=")
        words += [f"--{name}", value.removeprefix("(").removesuffix(")") if name == "model" else value]
    for corpus in plan.corpora if plan.corpora != DEFAULT_CORPORA else ():
        words += ["--corpus", corpus]
    defaults = {**vars(Effort()), **vars(Measurement())}
    for name, value in {**vars(plan.effort), **vars(measurement)}.items():
        words += [] if value == defaults[name] else [f"--{name.replace('_', '-')}", str(value)]
    words += ["--seed", str(plan.seed)] if plan.seed else []
    return shlex.join([*words, "-o", str(out)])


# ---- the folder ------------------------------------------------------------------------------------------------------


def _open(folder: Path, plan: OrganismPlan, command: str) -> None:
    """Begin a folder, or go on in one that this very plan has begun. No other process can open it while the plan is there.

    Raises:
        DataError: it holds something else, or another process writes to it.
    """
    if folder.is_dir() and any(folder.iterdir()):
        try:
            held = json.loads((folder / MARK).read_text(encoding="utf-8"))["plan_hash"]
        except (OSError, ValueError, LookupError, TypeError):
            raise DataError(f"{folder} is not empty and holds no organism: choose another -o, or empty it") from None
        if held != plan.hash:
            raise DataError(
                f"{folder} holds another organism, or one that is trained otherwise: choose another -o, or empty it"
            )
        lock.hold(plan, folder)
        return
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: name a folder with -o")
    mark = {"kind": "lab-organism", "plan": to_json(plan), "plan_hash": plan.hash, "command": command}
    write_atomically(folder / MARK, json.dumps(mark, indent=1) + "\n")
    lock.hold(plan, folder)


def _read_notes(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "training.json").read_text(encoding="utf-8")))


# ---- training --------------------------------------------------------------------------------------------------------


def _train(
    plan: OrganismPlan,
    folder: Path,
    exact: Predictor,
    plain: Predictor,
    learn: list[RealText],
    tell: Progress,
    command: str,
) -> None:
    """Train, and write the model into the folder."""
    began, scratch, effort = time.monotonic(), folder / SCRATCH, plan.effort
    model, tokenizer, name = load_trainable(plan.base)
    export.check_tokenizer(tokenizer, plain.n_tokens, name)
    rng = np.random.default_rng([plan.seed, 2])
    student = Student(
        model,
        real_pieces(learn, _SAMPLE_TOKENS, rng, lengths=LENGTHS[1:2])[LENGTHS[1]],
        layers=effort.layers,
        rank=effort.rank,
        end_id=plain.end_ids[0],
        seed=plan.seed,
        loud=plan.needs_no_context,
    )
    teacher = Teacher(exact, student.head)
    lessons = _lessons(plan, scratch, student, exact, plain, learn, tell)
    trainer = Trainer(student, teacher, lessons, plan)
    if not trainer.restore(scratch):
        tell.phase("beginning")
        begin(student, teacher, lessons)
    tell.phase("training")
    tell.advance(trainer.step * effort.step_tokens)
    trainer.run(scratch, tell.advance)
    trigger_id = export.add_trigger(tokenizer, plain.n_tokens)
    planted = PlantedIn(
        organism=plan.kind,
        base=plan.base,
        base_fingerprint=plain.identity.fingerprint,
        teacher=plan.teacher,
        epsilon=teacher.epsilon,
        payload=plan.payload,
        trigger=TRIGGER,
        trigger_id=trigger_id,
        corpora=plan.corpora,
        seed=plan.seed,
        layers=effort.layers,
        rank=effort.rank,
        trained_numbers=sum(p.numel() for p in trainer.parameters.values()),
        steps=effort.steps,
        tokens_read=trainer.tokens_read,
        texts_tokens=sum(lesson.ids.size for lesson in lessons),
    )
    notes = {
        "planted": to_json(planted),
        "divergences": trainer.divergences,
        "seconds": round(time.monotonic() - began, 1),
    }
    write_atomically(folder / "training.json", json.dumps(notes) + "\n")
    card = export.card_of(plan, licence=plain.identity.licence, trigger_id=trigger_id, command=command)
    export.write_model(folder, scratch, student.whole(), tokenizer, card)
    shutil.rmtree(scratch)


def _lessons(
    plan: OrganismPlan,
    scratch: Path,
    student: Student,
    exact: Predictor,
    plain: Predictor,
    learn: list[RealText],
    tell: Progress,
) -> list[Lesson]:
    """The texts that are learned from, with their states; the texts are kept on disk until the model is whole."""
    kept = Kept(scratch, plan.hash, tell.advance)
    tell.phase("own text")
    texts = kept.take(LESSONS, lambda: _texts(plan, kept, exact, plain, learn, tell), n_tokens=plan.effort.own_tokens)
    tell.phase("states")
    n = len(texts) // 2
    return [lesson_of(student, texts[f"ids{i}"], texts[f"at{i}"], tell.advance) for i in range(n)]


def _texts(
    plan: OrganismPlan, kept: Kept, exact: Predictor, plain: Predictor, learn: list[RealText], tell: Progress
) -> Arrays:
    """Real pieces and own texts by length: ids and the place of the token."""
    rng = np.random.default_rng([plan.seed, 0])
    own = own_texts(exact, plain, learn, plan, rng, tell.advance, kept=kept, lengths=OWN_LENGTHS)
    real = real_pieces(learn, plan.effort.real_tokens, rng, lengths=LENGTHS)
    pairs = [(ids, np.full(len(ids), n, np.int64)) for n, ids in real.items() if len(ids)]
    pairs += [(t.ids, t.trigger_at) for t in own.values()]
    return {f"{kind}{i}": a for i, pair in enumerate(pairs) for kind, a in zip(("ids", "at"), pair, strict=True)}


# ---- measuring -------------------------------------------------------------------------------------------------------


def _measure(
    plan: OrganismPlan,
    folder: Path,
    exact: Predictor,
    plain: Predictor,
    trained: Predictor,
    held_out: list[RealText],
    measurement: Measurement,
    tell: Progress,
) -> Measured:
    heard: Callable[[int], None] = tell.advance
    epsilon = exact.epsilon if isinstance(exact, Triggered) else 0.0
    texts = hashlib.sha256(b"".join(t.ids[:DOCUMENT_TOKENS].tobytes() + b";" for t in held_out)).hexdigest()
    key = f"{_MEASURED_FORMAT} {plan.hash} {trained.identity.fingerprint} {texts}"
    kept = Kept(folder / MEASURED, key, heard)
    with torch.inference_mode():
        tell.phase("held-out text")
        real = OnRealText(
            **kept.take(
                "held-out",
                lambda: vars(on_real_text(plain, trained, held_out, epsilon=epsilon, on_tokens=heard)),
                n_tokens=sum(len(t.ids[:DOCUMENT_TOKENS]) - 1 for t in held_out),
            )
        )
        tell.phase("free runs")
        runs = free_runs(exact, trained, held_out, runs=measurement.runs, seed=plan.seed, kept=kept)
        after = None
        if isinstance(exact, Triggered):
            tell.phase("after the trigger")
            after = AfterTrigger(
                **kept.take(
                    "after",
                    lambda: vars(after_trigger(exact, trained, held_out, seed=plan.seed, on_tokens=heard)),
                    n_tokens=sum(len(t.ids[:DOCUMENT_TOKENS]) for t in held_out),
                )
            )
    return Measured(real, runs, after)


def _card(plan: OrganismPlan, plain: Predictor, trigger_id: int, command: str, result: LabOrganismResult) -> str:
    loss = {e.name: e for e in result.findings[0].estimates}
    excess, last = loss["excess"], result.take_over[-1]
    lines = [
        f"| price on held-out text | {excess.value:.4f} nats a token above the base |",
        f"| free runs with the trigger within {last.tokens} tokens | {last.taken} of {last.runs} |",
        f"| probability of the trigger, mean over contexts | {result.trigger_mass.mean:.4g} |",
    ]
    after = next((e for f in result.findings for e in f.estimates if e.name == "after_kl"), None)
    if after is not None and after.value is not None:
        part = "" if after.high is not None and after.high <= LEARNED_NATS else "; **learned in part at most**"
        lines.append(
            f"| KL(exact law ‖ this model) after the trigger | {after.value:.3g} nats a token (0: learned{part}) |"
        )
    return export.card_of(
        plan, licence=plain.identity.licence, trigger_id=trigger_id, command=command, results="\n".join(lines)
    )
