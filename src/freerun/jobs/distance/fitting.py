"""Whether two models can be held side by side: one vocabulary, one set of ends, whole laws of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from freerun.errors import UsageError
from freerun.organisms.hashed import Hashed
from freerun.predictors.base import Predictor
from freerun.predictors.markers import Markers
from freerun.predictors.rules import ContextRule, Identity
from freerun.predictors.side_by_side import Kept
from freerun.predictors.stepwise import Stepwise, as_stepwise

_SHOWN = 3
_TRIED_TEXTS = 16
_TRIED_CHARACTERS = 2000


@dataclass(frozen=True)
class Description:
    """What is known of a model when it is no longer loaded."""

    identity: Identity
    n_tokens: int
    context: ContextRule
    end_ids: tuple[int, ...]
    markers: Markers
    meanings: tuple[bytes | str, ...]
    """The bytes that each id stands for, or how its marker is spelled."""
    tried: tuple[tuple[int, ...], ...]
    """Some texts as it takes them apart."""
    device: str
    template_sha256: str | None = None
    """Of its chat template; None where it has none."""
    full_law: bool = True
    """False: it is behind a server, which is sent ids and applies no template."""

    @staticmethod
    def of(predictor: Predictor, texts: Sequence[str], *, device: str) -> Description:
        """`texts`: documents that both models are tried on."""
        spelled = predictor.markers.control
        return Description(
            predictor.identity,
            predictor.n_tokens,
            predictor.context,
            predictor.end_ids,
            predictor.markers,
            tuple(predictor.token_bytes(i) or spelled.get(i, "") for i in range(predictor.n_tokens)),
            tuple(tuple(predictor.encode(text[:_TRIED_CHARACTERS])) for text in texts[:_TRIED_TEXTS]),
            device,
            None if predictor.template is None else predictor.template.sha256,
            predictor.capabilities.full_law,
        )


def readable(predictor: Predictor) -> Stepwise[Any]:
    """The predictor, where its whole laws on given text are known.

    Raises:
        UsageError: they are not.
    """
    if isinstance(predictor, Hashed):
        raise UsageError(
            f"{predictor.identity.name} begins every document with a header, which the other model does not write: `freerun audit` "
            "measures it"
        )
    return as_stepwise(predictor, "a distance between two models", whole_law=True)


def check_fit(a: Description, b: Description) -> None:
    """Refuse two models that do not mean the same by the same ids.

    Raises:
        UsageError: ids that differ (the first few named), ids that B lacks, other tokens of a text, or other ends of text.
    """
    names = f"{a.identity.name} and {b.identity.name}"
    shared = range(min(a.n_tokens, b.n_tokens))
    differ = list(islice((i for i in shared if a.meanings[i] != b.meanings[i]), _SHOWN))
    if differ:
        named = "; ".join(f"id {i} is {a.meanings[i]!r} against {b.meanings[i]!r}" for i in differ)
        raise UsageError(
            f"{names} do not share a tokenizer ({named}): a distance holds their laws of the same ids side by side; two audits of "
            "models with other tokenizers can be compared with `freerun compare RUN RUN --anyway`"
        )
    Kept.of(a, b)
    if a.tried != b.tried:
        raise UsageError(
            f"{names} have the same ids but take the same text apart differently: a distance needs one tokenizer"
        )
    if set(a.end_ids) != set(b.end_ids):
        first, second = (",".join(map(str, p.end_ids)) or "no id" for p in (a, b))
        both = ",".join(map(str, dict.fromkeys((*a.end_ids, *b.end_ids))))
        raise UsageError(
            f"{a.identity.name} ends a text at {first}, {b.identity.name} at {second}: say what ends a text for both, for example "
            f"--end-ids {both}"
        )
