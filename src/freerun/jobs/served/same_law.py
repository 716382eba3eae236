"""Does a run's server still have the law that the run began with?

A server that was restarted with other weights under the same name says nothing of it, and a run that goes on would be of two
models. So a few tokens are scored when a run begins, whenever it goes on, by every process that has a part in it, and once when
all is measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from freerun.errors import BackendError, DataError
from freerun.files import write_atomically
from freerun.jobs.served.law import log_probs_by
from freerun.jobs.served.requests import served_in
from freerun.predictors.base import Predictor
from freerun.predictors.servers.predictor import ServedModel
from freerun.predictors.servers.trial import MEAN_NATS, Gap, trial_ids
from freerun.records.requests import SERVED_LAW


class SameLaw:
    """The servers of a run, held against what its folder says of them."""

    def __init__(self, folder: Path, predictors: tuple[Predictor, ...]) -> None:
        found = (served_in(p) for p in predictors)
        self.servers = [s for s in found if s is not None and s.dialect.scores_texts]
        self.path = folder / SERVED_LAW

    def begin(self) -> None:
        """Record what the servers say of some tokens, or hold it against what was recorded.

        Raises:
            BackendError: a server has another law than the run began with, or had one at its end. DataError: a damaged file.
        """
        self.check_unchanged()
        held = self._held()
        for server in self.servers:
            self._check(server, held)
        for seen in held.values():
            seen["open"] = True
        self._write(held)

    @property
    def is_open(self) -> bool:
        """Whether parts were measured since the servers were last seen to have the run's law.

        Raises:
            DataError: a damaged file.
        """
        return any(seen.get("open") for seen in self._held().values())

    def check_unchanged(self) -> None:
        """Nothing is asked for this: it is in the folder.

        Raises:
            BackendError: a server's law changed while the run went on. DataError: a damaged file.
        """
        held = self._held()
        for server in self.servers:
            if held.get(server.identity.name, {}).get("changed"):
                raise BackendError(
                    f"{server.identity.name}: its law changed while {self.path.parent} was measured, which may hold texts of two "
                    "models; choose another folder with -o, or remove it"
                )

    def end(self) -> None:
        """Hold it against that once more.

        Raises:
            BackendError: a server's law changed while the run went on. It is noted, and the run cannot be gone on with.
        """
        held = self._held()
        for server in self.servers:
            if not self._has_law_of(server, held):
                held[server.identity.name]["changed"] = True
        for seen in held.values():
            seen["open"] = False
        self._write(held)
        self.check_unchanged()

    def _check(self, server: ServedModel, held: dict[str, Any]) -> None:
        name = server.identity.name
        if name not in held:
            nats = _asked(server)
            if nats is not None:
                held[name] = {"log_probs_nats": nats.tolist(), "changed": False}
        elif not self._has_law_of(server, held):
            raise BackendError(
                f"{name} serves another law than the one that {self.path.parent} was begun with, under the same name; "
                "have the former model served again, or choose another folder with -o"
            )

    def _has_law_of(self, server: ServedModel, held: dict[str, Any]) -> bool:
        if server.identity.name not in held:
            return True
        before, now = np.asarray(held[server.identity.name]["log_probs_nats"]), _asked(server)
        return now is not None and len(now) == len(before) and Gap.between(before, now).mean_nats <= MEAN_NATS

    def _held(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            held = json.loads(self.path.read_text())
            for seen in held.values():
                _ = seen["changed"], np.asarray(seen["log_probs_nats"], np.float64)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DataError(f"{self.path} is damaged; choose another folder with -o") from None
        return dict(held)

    def _write(self, held: dict[str, Any]) -> None:
        if held:
            write_atomically(self.path, json.dumps(held, allow_nan=False) + "\n")


def _asked(server: ServedModel) -> np.ndarray | None:
    """Log-probabilities of a few tokens, nats; None where it scores no text, which whatever needs that says."""
    ids = trial_ids(server)
    found = log_probs_by(server, [ids], [1])
    return None if found is None else found[0]
