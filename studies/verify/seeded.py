"""How many tokens does the seeded audit need to find rounded weights? `python -m studies.verify.seeded` (a few minutes).

Tokens are drawn from the laws of rounded weights with uniforms that are known, and their uniforms are held against the cells of the
model itself: those that a scoring pass recorded, and those of a fresh pass over each text alone. The chance that a uniform falls
outside its token's cell is computed exactly from whole laws, context by context; the number of tokens is simulated. Writes
seeded.json beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from freerun.predictors.law import Dense
from freerun.predictors.observation import host
from freerun.runs.provenance import provenance
from freerun.specs.spec import load_predictor
from freerun.stats.intervals import Interval, clopper_pearson, cluster_ratio
from freerun.stats.recognition.seeded import Cells, seeded_draws
from freerun.stats.verification.battery import ALPHA
from studies.files import json_text, write_files
from studies.verify.laws import MODEL, PROMPT_TOKENS, TEXTS, TOKENS, Contexts, Name, contexts_at, logits_at

HERE = Path(__file__).parent
KEPT = Path("runs/verify/laws")
SIMULATED = 400
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""Of simulated files, as far as there are so many laws."""


@dataclass(frozen=True)
class Found:
    """Of files of so many tokens, those in which the audit rejects at 0.001; Clopper and Pearson's limits, 95%."""

    tokens: int
    files: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Rounded:
    """What the audit sees of a sampler: misses a token and total variation with intervals over texts, and rates of finding it."""

    sampler: str
    miss_share: float
    miss_low: float
    miss_high: float
    tv: float
    tokens_for_95: int | None
    """The fewest of `SIZES` at which 95% of the files are found."""
    found: tuple[Found, ...]


def cells(log_probs: Float[np.ndarray, "laws vocabulary"]) -> tuple[np.ndarray, np.ndarray]:
    """Mass below and up to every id."""
    mass = np.exp(log_probs)
    upto = np.cumsum(mass, axis=1)
    return upto - mass, upto


def misses(first: Float[np.ndarray, " vocabulary"], second: Float[np.ndarray, " vocabulary"]) -> float:
    """P(a uniform that draws x from the second law lies outside the cell of x in the first), by the overlap of all cells."""
    low, high = zip(cells(first[None]), cells(second[None]), strict=True)
    overlap = np.clip(np.minimum(high[0], high[1]) - np.maximum(low[0], low[1]), 0.0, None)
    return float(1.0 - overlap.sum())


def rows_of(
    contexts: Contexts, table: Float[np.ndarray, "laws vocabulary"]
) -> Iterator[Float[np.ndarray, " vocabulary"]]:
    for row in range(contexts.n_laws):
        yield Dense(np.asarray(table[row : row + 1])).log_probs()[0]


def fresh_logits(contexts: Contexts) -> Float[np.ndarray, "laws vocabulary"]:
    """The model's own laws again, each text read alone."""
    path = KEPT / f"alone-{len(contexts.prompts)}.npy"
    if not path.exists():
        model = load_predictor(MODEL).with_lead(())
        made = np.lib.format.open_memmap(
            path.with_suffix(".partial"), "w+", np.float32, (contexts.n_laws, model.n_tokens)
        )
        for i, (prompt, written) in enumerate(zip(contexts.prompts, contexts.written, strict=True)):
            for chunk in model.laws([np.concatenate([prompt, written])], first=PROMPT_TOKENS):
                assert isinstance(chunk.law, Dense)
                made[i * TOKENS + chunk.position - PROMPT_TOKENS] = host(chunk.law.logits)
        made.flush()
        path.with_suffix(".partial").rename(path)
    return np.load(path, mmap_mode="r")


@dataclass(frozen=True, eq=False)
class Drawn:
    """Uniforms of simulated draws at every kept law, and the cells that two passes of the model give the tokens."""

    u: Float[np.ndarray, "draws laws"]
    recorded: Cells
    fresh: Cells
    miss: Float[np.ndarray, " laws"]
    tv: Float[np.ndarray, " laws"]


def drawn_from(contexts: Contexts, name: Name, spec: str, rng: np.random.Generator) -> Drawn:
    shape = (SIMULATED, contexts.n_laws)
    u = rng.random(shape)
    edges = [np.empty(shape) for _ in range(4)]
    miss, tv = np.empty(contexts.n_laws), np.empty(contexts.n_laws)
    tables = (
        logits_at(KEPT / f"{name}.npy", contexts, name, spec),
        logits_at(KEPT / "model.npy", contexts, "model", MODEL),
    )
    for row, (other, own, again) in enumerate(
        zip(*(rows_of(contexts, t) for t in (*tables, fresh_logits(contexts))), strict=True)
    ):
        upto = np.cumsum(np.exp(other))
        ids: Int[np.ndarray, " draws"] = np.searchsorted(upto, u[:, row] * upto[-1], side="right")
        for pair, law in ((edges[:2], own), (edges[2:], again)):
            for edge, side in zip(pair, cells(law[None]), strict=True):
                edge[:, row] = side[0][ids]
        miss[row], tv[row] = misses(own, other), 0.5 * float(np.abs(np.exp(own) - np.exp(other)).sum())
    return Drawn(u, Cells(*edges[:2]), Cells(*edges[2:]), miss, tv)


def measured(contexts: Contexts, sampler: str, drawn: Drawn) -> Rounded:
    text = np.repeat(np.arange(len(contexts.prompts)), TOKENS)
    share: Interval = cluster_ratio(drawn.miss, np.ones(drawn.miss.size), text)
    found = tuple(_found(drawn, n) for n in SIZES if n <= drawn.miss.size)
    enough = next((f.tokens for f in found if f.rate >= 0.95), None)
    return Rounded(sampler, share.value, share.low, share.high, float(drawn.tv.mean()), enough, found)


def _found(drawn: Drawn, n: int) -> Found:
    """Each simulated file begins at another place of the kept laws and goes on from there."""
    seen = 0
    for i in range(SIMULATED):
        rows = (np.arange(n) + i * drawn.u.shape[1] // SIMULATED) % drawn.u.shape[1]
        own, fresh = (Cells(c.below[i, rows], c.upto[i, rows]) for c in (drawn.recorded, drawn.fresh))
        audit = seeded_draws(drawn.u[i, rows], own, np.ones(n, bool), fresh)
        seen += audit is not None and audit.p_value < ALPHA
    rate = clopper_pearson(seen, SIMULATED)
    return Found(n, SIMULATED, rate.value, rate.low, rate.high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=TEXTS)
    n_texts = parser.parse_args().texts
    whole = contexts_at(KEPT / "contexts.npz")
    contexts = Contexts(whole.prompts[:n_texts], whole.written[:n_texts])
    rows = []
    samplers: tuple[tuple[str, Name, str], ...] = (
        ("the model itself", "model", MODEL),
        ("weights in int8", "int8", f"{MODEL},round=int8"),
        ("weights in int4", "int4", f"{MODEL},round=int4"),
    )
    for number, (sampler, name, spec) in enumerate(samplers):
        rows.append(measured(contexts, sampler, drawn_from(contexts, name, spec, np.random.default_rng([9, number]))))
        print(rows[-1], flush=True)
    found = {"samplers": [asdict(r) for r in rows], "texts": n_texts, "laws": contexts.n_laws, "provenance": provenance()}
    write_files(HERE, {"seeded.json": json_text(found)})


if __name__ == "__main__":
    main()
