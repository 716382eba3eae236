"""Source uncertainty, predicted from the posterior and measured by audits: `python -m studies.source_gap.run` (about 3 minutes).

A perfect predictor of a mixture of sources is audited against one of them, after nothing and after 16 tokens of it, and against
the mixture itself. Writes result.json, gap.svg and posterior.svg beside this file. Fails if a
measured AUC lies above what the posterior allows, or if the mixture is told from itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import freerun
from freerun.predictors.base import Continuations
from freerun.predictors.draws import sequence_key
from freerun.report.charts.picture import standing_alone
from freerun.results.finding import Chart, Series, to_json
from freerun.runs.provenance import provenance
from freerun.stats.detection.auc import auc
from freerun.worlds.catalogue import load_world
from freerun.worlds.mixture import MixtureWorld
from studies.files import json_text, write_files
from studies.source_gap.gap import source_gap

HERE = Path(__file__).parent
WORLD, SOURCE = "authors", {"publication": "onion"}


def optimum(world: MixtureWorld, prefix: int, tokens: int, lengths: list[int], n: int) -> dict[str, Any]:
    """AUC of the best detector there is, ln P_s/M = ln π_T − ln π_0, on n documents of each side; its ceiling; KL and TV."""
    real = [np.array(d.ids, np.int64) for d in world.given(SOURCE).corpus(n, prefix + tokens, seed=91).documents]
    keys = np.array([[sequence_key("optimum", i)] for i in range(n)], np.uint64)
    runs = sorted(world.generate(Continuations([d[:prefix] for d in real], keys, tokens, seed=17)), key=lambda s: s.row)
    free = [
        np.concatenate([d[:prefix], s.observation.token_id.astype(np.int64)]) for d, s in zip(real, runs, strict=True)
    ]
    mine, other = (source_gap(world, SOURCE, x, first=prefix) for x in (real, free))
    return {
        "prefix": prefix,
        "auc": [auc(mine.log_ratio_nats[:, t], other.log_ratio_nats[:, t]) for t in lengths],
        "auc_at_most": mine.auc_at_most,
        "kl_nats": [float(mine.kl_nats[t]) for t in lengths],
        "kl_at_most_nats": mine.kl_at_most_nats,
        "tv": [float(mine.total_variation[t]) for t in lengths],
        "tv_at_most": mine.tv_at_most,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=512, help="documents an audit (default 512)")
    parser.add_argument("--tokens", type=int, default=64)
    chosen = parser.parse_args()
    world = load_world(WORLD)
    assert isinstance(world, MixtureWorld)
    source = f"world/{WORLD}," + ",".join(f"{k}={v}" for k, v in SOURCE.items())
    audits: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, corpus, prefix in (
            ("component, nothing before", source, 0),
            ("component, after 16 tokens", source, 16),
            ("the mixture itself", f"world/{WORLD}", 0),
        ):
            run = freerun.audit(
                f"world/{WORLD}",
                corpus,
                documents=chosen.documents,
                prefix=prefix,
                tokens=chosen.tokens,
                out=Path(folder) / name,
            )
            audits[name] = next(c for c in run.findings["detectability"]["charts"] if c["name"] == "auc_by_length")
            print(name, run.verdict, flush=True)
    curves = {name: next(s for s in chart["series"] if s["role"] == "free") for name, chart in audits.items()}
    lengths = [int(x) for x in next(iter(audits.values()))["x"]]
    best = [optimum(world, prefix, chosen.tokens, lengths, 4000) for prefix in (0, 16)]
    for b in best:
        print(json.dumps(b))
    gap = Chart(
        name="source_gap",
        title="A perfect predictor of a mixture, audited against one of its sources",
        x_label="tokens after the prefix",
        y_label="AUC",
        x=tuple(float(x) for x in lengths),
        x_scale="log2",
        y_range=(0.45, 0.85),
        series=(
            Series("best possible, from the posterior; no prefix", "reference", tuple(best[0]["auc"])),
            Series("best possible; prefix 16", "reference", tuple(best[1]["auc"])),
            *(
                Series(f"measured: {name}", role, tuple(c["y"]), tuple(c["low"]), tuple(c["high"]))
                for (name, c), role in zip(curves.items(), ("free", "tempered", "control"), strict=True)
            ),
        ),
        levels=(
            (0.5, "chance"),
            (best[0]["auc_at_most"], "ceiling without prefix: 1 − π₀/2"),
            (best[1]["auc_at_most"], "ceiling, prefix 16"),
        ),
    )
    posterior = posterior_chart(world, 128)
    wrong = [
        f"{name} at {t}: {low:.3f} > {b['auc_at_most']:.3f}"
        for (name, c), b in zip(curves.items(), best, strict=False)
        for t, low in zip(lengths, c["low"], strict=True)
        if low > b["auc_at_most"]
    ]
    result = {
        "command": "python -m studies.source_gap.run",
        "optimum": best,
        "charts": to_json([gap, posterior]),
        "provenance": to_json(provenance()),
    }
    pictures = {"gap.svg": gap, "posterior.svg": posterior}
    drawn = {name: standing_alone(to_json(chart)) for name, chart in pictures.items()}
    write_files(HERE, {"result.json": json_text(result), **drawn})
    print("\n".join(wrong))
    return int(bool(wrong))


def posterior_chart(world: MixtureWorld, tokens: int, n: int = 400) -> Chart:
    """Mean uncertainty about each latent by token, exact posteriors of sampled documents."""
    documents = [np.array(d.ids, np.int64) for d in world.corpus(n, tokens, seed=5).documents]
    joint = np.exp(np.stack(world.log_posteriors(documents)))
    x = [0, 1, 2, 4, 8, 16, 32, 64, 128]

    def bits(p: np.ndarray) -> tuple[float, ...]:
        with np.errstate(divide="ignore", invalid="ignore"):
            h = -np.where(p > 0, p * np.log2(p), 0.0).sum(-1)
        return tuple(float(h[:, t].mean()) for t in x)

    roles = ("free", "real", "tempered")
    return Chart(
        name="source_posterior",
        title="How soon a text tells who wrote it",
        x_label="tokens read",
        y_label="bits still open, mean over documents",
        x=tuple(float(t) for t in x),
        y_range=(0.0, 1.05),
        series=tuple(
            Series(latent.name, role, bits(world.marginal(joint, latent.name)))
            for latent, role in zip(world.latents, roles, strict=True)
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
