"""What a verification works with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from freerun.errors import UsageError
from freerun.jobs.verify.options import VerifyOptions
from freerun.jobs.verify.reading import Reading
from freerun.jobs.verify.texts import Survey, Text, texts_of
from freerun.predictors.base import Predictor
from freerun.predictors.token_laws import Declared
from freerun.records.sample_scores import ScoreFolder
from freerun.runs.progress import Progress
from freerun.samples.reading import SampleFile
from freerun.specs.spec import LoadOptions, load_predictor


@dataclass(frozen=True, eq=False)
class Job:
    """What a verification works with."""

    samples: SampleFile
    reading: Reading
    """Its predictor is the model as it is: of a prompt that is text it puts its lead first."""
    predictor: Predictor
    """The model with nothing put first: ids hold all that stood before."""
    options: VerifyOptions
    found: Survey
    declared: Declared
    folder: ScoreFolder
    plan: dict[str, Any]
    plan_hash: str
    load: LoadOptions
    tell: Progress

    @cached_property
    def second(self) -> Predictor | None:
        """The model of `--or`, loaded once.

        Raises:
            UsageError: it has another tokenizer, or is the model itself.
        """
        if self.options.other is None:
            return None
        other = load_predictor(self.options.other, self.load, tell=self.tell.say)
        if other.identity.fingerprint == self.predictor.identity.fingerprint:
            raise UsageError(f"--or {self.options.other} is the model itself: name another checkpoint, or leave it out")
        _check_same_tokens(self.predictor, other)
        return other.with_lead(())


def texts_in_order(job: Job) -> Iterator[Text]:
    return (t for t in texts_of(job.samples, job.reading) if isinstance(t, Text))


def numbered(job: Job, wanted: list[int]) -> list[Text]:
    """The texts of these numbers, read again from the file."""
    chosen = set(wanted)
    return [t for number, t in enumerate(texts_in_order(job)) if number in chosen]


def _check_same_tokens(first: Predictor, second: Predictor) -> None:
    """Raises UsageError where an id stands for other bytes in the second model."""
    n = min(first.n_tokens, second.n_tokens)
    unlike = [i for i in range(n) if first.token_bytes(i) != second.token_bytes(i)]
    if unlike or second.n_tokens < first.n_tokens:
        what = f"id {unlike[0]} stands for other bytes" if unlike else f"it has {second.n_tokens:,} ids only"
        raise UsageError(
            f"--or {second.identity.name} has another tokenizer than {first.identity.name}: {what}; ids mean nothing there"
        )
