"""Loops in any text, without a model: how often texts loop, and what stop rules would cost and save."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import freerun
from freerun.counted import counted
from freerun.errors import DataError, UsageError
from freerun.files import write_atomically
from freerun.findings.loops.points import loops_next, loops_points
from freerun.findings.loops.repetition import DIFFER, STOP_RULES
from freerun.jobs.loops.judging import RULE, judge_loops
from freerun.jobs.loops.reading import ReadTexts, Sides, gather_corpus, gather_samples
from freerun.jobs.loops.runs import gather_run, is_run
from freerun.jobs.loops.spelling import ByTokenizer, InWords, Spelling
from freerun.report.pages.loops import render_loops
from freerun.results.finding import to_json
from freerun.results.loops import LoopDefinition, LoopsResult
from freerun.samples.completion import Completion
from freerun.samples.reading import open_samples
from freerun.specs.spec import loader_of
from freerun.specs.tokenizers import load_tokenizer
from freerun.stats.loops.stop_rules import StopRule, read_stop_rule
from freerun.text.corpora import read_corpus

SCHEMA_VERSION = 1
PAGE = "loops.html"
Say = Callable[[str], None]


def loops(
    texts: str | Path,
    *,
    real: str | None = None,
    tokenizer: str | None = None,
    stop_rules: Sequence[str | StopRule] = (),
    words: bool = False,
    prompts_count: bool = True,
    format: str | None = None,
    requests: str | Path | None = None,
    out: str | Path | None = None,
    say: Say = lambda _: None,
) -> LoopsResult:
    """How often generated texts loop, how they leave loops, and what stop rules would cost in real text and save. No model.

    `texts`: a file of samples, a file or folder of texts, or the folder of a finished audit, whose real continuations then stand
    beside its own. `real`: a corpus of real text. `tokenizer`: the model whose tokens texts without ids are counted in; without one
    they are counted in words, as they are with `words`. `prompts_count`: loops may begin in the prompt. `out`: a folder for a page.

    Raises:
        UsageError: something that does not go together, or no such tokenizer. DataError: nothing there that can be used.
    """
    rules = tuple(read_stop_rule(r) if isinstance(r, str) else r for r in stop_rules) or STOP_RULES
    if words and tokenizer is not None:
        raise UsageError("--words counts words and --tokenizer counts tokens; give one of them")
    sides = _read(texts, real, tokenizer, words=words, history=prompts_count, format=format, requests=requests, say=say)
    own, base, spelling = sides.own, sides.real, sides.own.spelling
    begin = time.perf_counter()
    judged = judge_loops(sides, rules)
    finding = judged.finding
    n = own.texts.ids.size + (0 if base is None else base.texts.ids.size)
    say(f"looked for loops in {counted(n, spelling.unit.rstrip('s'))}: {time.perf_counter() - begin:.1f} s")
    definition = LoopDefinition(RULE.max_period, RULE.copies, RULE.min_tokens, DIFFER, prompts_count)
    real_facts = None if base is None else base.facts
    result = LoopsResult(
        schema_version=SCHEMA_VERSION,
        kind="loops",
        title=sides.title,
        unit=spelling.unit,
        tokenizer=spelling.name,
        definition=definition,
        own=own.facts,
        real=real_facts,
        finding=finding,
        stop_rules=judged.outcomes,
        first_loops=judged.first,
        command=_command(texts, real, tokenizer, rules if stop_rules else (), words, prompts_count, format, requests),
        freerun_version=freerun.__version__,
        points=loops_points(
            definition, own.facts, real_facts, judged.outcomes, spelling.unit, known=finding.status != "unknown"
        ),
        next_step=loops_next(real_facts, known=finding.status != "unknown"),
    )
    if out is not None:
        write_atomically(Path(out) / PAGE, render_loops(to_json(result)))
    return result


def _read(
    texts: str | Path,
    real: str | None,
    tokenizer: str | None,
    *,
    words: bool,
    history: bool,
    format: str | None,
    requests: str | Path | None,
    say: Say,
) -> Sides:
    """Own and real texts in one unit, and what they are called."""
    if is_run(texts):
        if format is not None or requests is not None or words:
            raise UsageError(
                f"{texts} is a run, which has its tokens; --format, --requests and --words are about files"
            )
        return _read_run(Path(texts), real, tokenizer, history=history, say=say)
    _check_is_no_model(str(texts))
    spelling: Spelling | None = InWords() if words else None
    if tokenizer is not None:
        say(f"loading the tokenizer of {tokenizer}")
        spelling = ByTokenizer(load_tokenizer(tokenizer, tell=say))
    begin = time.perf_counter()
    own = _read_own(str(texts), spelling, history=history, format=format, requests=requests)
    base = None if real is None else gather_corpus(read_corpus(real, single_ok=True), own.spelling)
    n = own.facts.tokens + own.facts.prompt_tokens + (0 if base is None else base.facts.tokens)
    say(f"read {counted(n, own.spelling.unit.rstrip('s'))}: {time.perf_counter() - begin:.1f} s")
    return Sides(own, base, Path(texts).name)


def _check_is_no_model(texts: str) -> None:
    """Refuse the name of a model, which writes nothing here."""
    if not Path(texts).exists() and _is_model(texts):
        raise UsageError(
            f"{texts} is a model, and `freerun loops` reads texts that are there already: let it write some with "
            f"`freerun audit {texts}`, and give the folder of that run"
        )


def _is_model(name: str) -> bool:
    try:
        loader_of(name)
    except UsageError:
        return False
    return True


def _read_run(path: Path, real: str | None, tokenizer: str | None, *, history: bool, say: Say) -> Sides:
    """A run's own text beside its real continuations, or beside a corpus in the tokens of its model."""
    run = gather_run(path, history=history)
    if real is None:
        return run
    spec = tokenizer or run.title
    say(f"loading the tokenizer of {spec}")
    base = gather_corpus(read_corpus(real, single_ok=True), ByTokenizer(load_tokenizer(spec, tell=say)))
    return Sides(run.own, base, run.title)


def _read_own(
    path: str, spelling: Spelling | None, *, history: bool, format: str | None, requests: str | Path | None
) -> ReadTexts:
    """A file of samples, or else documents."""
    try:
        samples = open_samples(path, format=format, requests=requests)
    except DataError as error:
        if format is not None or requests is not None:
            raise
        try:
            corpus = read_corpus(path, single_ok=True)
        except DataError:
            raise error from None
        rows = (Completion(i, completion=d.text, group=d.unit) for i, d in enumerate(corpus.documents))
        return gather_samples(rows, name=path, format="documents", spelling=spelling, history=history)
    return gather_samples(samples, name=path, format=samples.format, spelling=spelling, history=history)


def _command(
    texts: str | Path,
    real: str | None,
    tokenizer: str | None,
    rules: Sequence[StopRule],
    words: bool,
    prompts_count: bool,
    format: str | None,
    requests: str | Path | None,
) -> str:
    said = ["freerun", "loops", str(texts)]
    for flag, value in (("--real", real), ("--tokenizer", tokenizer), ("--format", format), ("--requests", requests)):
        said += [flag, str(value)] if value is not None else []
    for rule in rules:
        said += ["--stop-rule", str(rule)]
    said += ["--words"] if words else []
    return shlex.join([*said, *([] if prompts_count else ["--without-prompts"])])
