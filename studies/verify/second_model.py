"""How many tokens does a second model (`--or`) need to be told from the first? `python -m studies.verify.second_model`.

Tokens are drawn from kept laws of rounded weights, and for the size from the model's own; the likelihood ratio of the command
is summed along them. Writes second_model.json beside this file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from freerun.predictors.law import Dense
from freerun.runs.provenance import provenance
from freerun.stats.intervals import clopper_pearson
from freerun.stats.verification.battery import ALPHA
from freerun.stats.verification.tokens import MIXED_IN
from studies.files import json_text, write_files
from studies.verify.laws import TOKENS, Name

HERE = Path(__file__).parent
KEPT = Path("runs/verify/laws")
FILES = 1000
SIZES = (128, 256, 512, 768, 1024, 1536, 2048, 2560)


@dataclass(frozen=True)
class Seen:
    """Of files of so many tokens drawn by `drawn_by`, those in which the ratio of `second` to the model passes half of 0.001."""

    drawn_by: str
    second: str
    tokens: int
    files: int
    rate: float
    low: float
    high: float


def ratios(second: Name, drawn_by: Name) -> Float[np.ndarray, "files laws"]:
    """Log likelihood ratios of tokens drawn at every kept law, the declared law mixed in as the command does."""
    n_laws, n_ids = _shape()
    rng = np.random.default_rng([13, *drawn_by.encode()])
    out = np.empty((FILES, n_laws), np.float32)
    readers = {name: (KEPT / f"{name}.npy").open("rb") for name in ("model", second)}
    for reader in readers.values():
        np.lib.format.read_magic(reader)
        np.lib.format.read_array_header_1_0(reader)
    for row in range(n_laws):
        laws = {
            name: Dense(np.fromfile(reader, np.float32, n_ids)[None]).log_probs()[0] for name, reader in readers.items()
        }
        upto = np.cumsum(np.exp(laws[drawn_by]))
        ids = np.searchsorted(upto, rng.random(FILES) * upto[-1], side="right")
        gain = (laws[second] - laws["model"])[ids]
        out[:, row] = np.logaddexp(np.log1p(-MIXED_IN) + gain, np.log(MIXED_IN))
    return out


def _shape() -> tuple[int, int]:
    with (KEPT / "model.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return int(shape[0]), int(shape[1])


def seen(second: Name, drawn_by: Name) -> list[Seen]:
    """Files take their texts in an order of their own."""
    made = ratios(second, drawn_by)
    rng = np.random.default_rng(14)
    texts = made.reshape(FILES, -1, TOKENS)
    mixed = np.stack([t[rng.permutation(len(t))] for t in texts]).reshape(FILES, -1)
    total = np.cumsum(mixed, axis=1, dtype=np.float64)
    rates = []
    for n in SIZES:
        k = int((total[:, n - 1] > np.log(2 / ALPHA)).sum())
        share = clopper_pearson(k, FILES)
        rates.append(Seen(drawn_by, second, n, FILES, share.value, share.low, share.high))
    return rates


def main() -> None:
    pairs: tuple[tuple[Name, Name], ...] = (("int8", "int8"), ("int8", "model"), ("int4", "int4"), ("int4", "model"))
    rows = []
    for second, drawn_by in pairs:
        for row in seen(second, drawn_by):
            print(row, flush=True)
            rows.append(asdict(row))
        write_files(HERE, {"second_model.json": json_text({"rows": rows, "provenance": provenance()})})


if __name__ == "__main__":
    main()
