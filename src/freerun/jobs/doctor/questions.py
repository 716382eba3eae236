"""The questions that a backend is asked, in their order, with what either answer means for an audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freerun.errors import FreerunError
from freerun.results.doctor import Check, Outcome


@dataclass(frozen=True)
class Question:
    """One question. `decides`: a failure makes the backend unfit for an audit."""

    name: str
    question: str
    decides: bool
    if_passed: str
    if_failed: str
    unit: str = ""
    limit: float | None = None


@dataclass(frozen=True)
class Answer:
    """What was seen; `passed` is None where the question could not be put."""

    passed: bool | None
    seen: str
    value: float | None = None


NATS = "nats"
QUESTIONS: dict[str, Question] = {
    q.name: q
    for q in (
        Question(
            "scores",
            "Does it give the log-probability of every token that is sent?",
            True,
            "real text can be scored",
            "real text cannot be scored: no audit",
        ),
        Question(
            "writes",
            "Does it write, and say which ids it drew?",
            True,
            "own text can be drawn and scored",
            "own text cannot be measured: no audit",
        ),
        Question(
            "first_token",
            "Is the first token's log-probability known or left out?",
            True,
            "log-probabilities stand at their own tokens",
            "log-probabilities may stand one token off",
        ),
        Question(
            "put_first",
            "Is exactly what we send read, and nothing put first twice?",
            True,
            "contexts are what the records say",
            "another context is read than the records say",
        ),
        Question(
            "repeat",
            "Are two answers to one question the same?",
            True,
            "one law; differences up to this size are noise",
            "it has no one law: nothing can be concluded",
            NATS,
            0.1,
        ),
        Question(
            "batch",
            "Is a text scored alone as it is among others?",
            True,
            "batches may be of any size",
            "results depend on what else is being served",
            NATS,
            0.1,
        ),
        Question(
            "prefix_cache",
            "Is a text scored the same after its beginning was served before?",
            True,
            "its cache of prefixes does no harm",
            "results depend on the order of requests: switch the cache off",
            NATS,
            0.1,
        ),
        Question(
            "drawn",
            "Are tokens that it draws scored as it said when it drew them?",
            True,
            "sampler and scorer have one law",
            "it does not sample the law that it scores by: truncated, cooled, or another model",
            NATS,
            0.1,
        ),
        Question(
            "temperature",
            "Are log-probabilities of draws the model's own at another temperature?",
            False,
            "the control needs no second scoring",
            "the control's texts are scored a second time",
            NATS,
            0.05,
        ),
        Question(
            "tail",
            "Do draws at temperature 1 come again as often as its law says?",
            True,
            "nothing is cut or cooled that nobody asked for, as far as so many draws show",
            "it does not draw from the law that it scores by: something is cut or cooled that nobody asked for",
        ),
        Question(
            "half_character",
            "Is a token scored that ends within a UTF-8 character?",
            True,
            "text beyond ASCII has no holes",
            "text beyond ASCII cannot be scored",
        ),
        Question(
            "last_id",
            "Is the last id of the vocabulary scored?",
            False,
            "ids mean the same to it and to the tokenizer",
            "texts with such ids cannot be scored",
        ),
        Question(
            "end_ids",
            "Is it known what ends a text?",
            False,
            "ends are measured as such",
            "its texts go on to the last token; if the model has an end token, --end-ids names it",
        ),
        Question(
            "whole_law",
            "Does it give whole laws that sum to 1?",
            False,
            "entropy, calibration, drift and the sampler's audit are measured",
            "entropy, calibration, drift and the sampler's audit are not measured",
        ),
        Question(
            "most_probable",
            "How many of the most probable tokens does it name?",
            False,
            "no entropy follows from these, unless they are all",
            "the most probable token is not known",
        ),
        Question(
            "defaults",
            "Would it sample otherwise if nothing were sent?",
            False,
            "nothing of it is left: every setting is sent and recorded",
            "what it would do is not known; every setting is sent and recorded",
        ),
        Question(
            "window",
            "Does its context hold as many tokens as it says?",
            True,
            "longer texts are read in windows of this size",
            "long texts cannot be scored; add ,window=TOKENS",
        ),
    )
}


def ask(name: str, look: Callable[[], Answer]) -> Check:
    """The answer to a question; an error of the backend is a failure, with what it said."""
    question = QUESTIONS[name]
    try:
        answer = look()
    except FreerunError as error:
        answer = Answer(False, str(error))
    outcome: Outcome = "not_tested" if answer.passed is None else "passed" if answer.passed else "failed"
    meanings = {"passed": question.if_passed, "failed": question.if_failed, "not_tested": ""}
    return Check(
        name,
        question.question,
        outcome,
        question.decides,
        answer.value,
        question.unit,
        question.limit,
        answer.seen,
        meanings[outcome],
    )


def within(name: str, mean_nats: float, largest_nats: float, n: int) -> Answer:
    """Whether log-probabilities agree as far as the question asks: on average, so that one rounded tail token decides nothing."""
    limit = QUESTIONS[name].limit
    assert limit is not None
    return Answer(
        mean_nats <= limit,
        f"{n} tokens, mean difference {mean_nats:.2g} nats, largest {largest_nats:.2g}",
        mean_nats if mean_nats < float("inf") else None,
    )
