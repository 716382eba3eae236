"""Who writes while another model reads: a server, or any other model with the same tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from freerun.errors import UsageError
from freerun.jobs.served.requests import served_in
from freerun.predictors.base import Predictor
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.records.plan import WriterPlan
from freerun.specs.providers import PROVIDERS, LoadOptions
from freerun.specs.spec import load_predictor

Say = Callable[[str], None]


def read_by(reader: Predictor, writer: str | Predictor, load: LoadOptions, say: Say) -> OwnTextFrom:
    """The reader's laws on what the writer writes. A server that brings no tokenizer is taken to have the reader's, and tried on
    it.

    Raises:
        UsageError: no such model, other tokens, or a reader without whole laws. BackendError: no such server.
    """
    if not reader.capabilities.full_law:
        raise UsageError(
            f"{reader.identity.name} gives no whole laws, and it is to read what {_name(writer)} writes: name a model "
            f"whose weights are "
            "here (hf/./folder, gguf/FILE, or a name of the catalogue)"
        )
    return OwnTextFrom(reader, _loaded(writer, reader, load, say) if isinstance(writer, str) else writer)


def writer_plan(predictor: Predictor) -> WriterPlan | None:
    """Who writes for a predictor that reads; None where it writes itself."""
    if not isinstance(predictor, OwnTextFrom):
        return None
    own = predictor.writer.identity
    served = served_in(predictor)
    if served is None:
        return WriterPlan(own.name, own.fingerprint, True, json.dumps({}))
    return WriterPlan(own.name, own.fingerprint, served.sends_rule, own.facts["sent for a draw at temperature 1"])


def check_rule_is_sent(predictor: Predictor) -> None:
    """Refuse a server that samples by a rule of its own where text at temperature 1 is meant.

    Raises:
        UsageError: sampling=server.
    """
    served = served_in(predictor)
    if served is not None and not served.sends_rule and not isinstance(predictor, OwnTextFrom):
        raise UsageError(
            f"{predictor.identity.name}: sampling=server lets the server sample as it does by itself, which is not the law that is "
            "measured; it goes with `freerun audit MODEL --own-text-from …` and `freerun verify --from …`, which say what it is"
        )


def is_served_name(spec: str) -> bool:
    """Whether a name is that of a model behind a server."""
    provider = spec.partition("/")[0]
    return provider in PROVIDERS and PROVIDERS[provider].extra == "servers"


def load_served_beside(spec: str, like: Predictor, load: LoadOptions, say: Say, *, trial: bool = True) -> Predictor:
    """A served model; one that brings no tokenizer is taken to have that of a model that is here, and tried on it.

    Raises:
        BackendError: no such server, other tokens, or (`trial`) answers that cannot be believed.
    """
    provider, _, name = spec.partition("/")
    PROVIDERS[provider].check_installed()
    from freerun.predictors.servers.address import read_address
    from freerun.predictors.servers.loading import load_served

    model = load_served(read_address(provider, name), tell=say, end_ids=load.end_ids, trial=trial, like=like)
    if not trial:
        model.raw_at_any_temperature = True  # what it says of cooled draws is not used: the reader says it
    return model


def _loaded(spec: str, reader: Predictor, load: LoadOptions, say: Say) -> Predictor:
    alone = replace(load, end_ids=None, chat=False)
    if not is_served_name(spec):
        return load_predictor(spec, alone, tell=say)
    return load_served_beside(spec, reader, alone, say, trial=False)


def _name(model: str | Predictor) -> str:
    return model if isinstance(model, str) else model.identity.name
