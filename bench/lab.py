"""Speed of training in `freerun lab disagreement` beside a plain PyTorch loop: `python bench/lab.py` (a few minutes on one core).

The plain loop draws a batch, goes forward and back through the same network, clips, and takes a step of torch's AdamW. Ours does
all of this and evaluates the validation loss every 25 steps, too; the whole time of a member counts. One thread each, in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from freerun.jobs.lab.disagreement.blocks import ARCHITECTURES
from freerun.jobs.lab.disagreement.plan import chosen_plan
from freerun.jobs.lab.disagreement.texts import texts_of
from freerun.jobs.lab.disagreement.training import new_network, train_member
from freerun.results.disagreement import Member

LEAST_RATIO = 0.75
STEPS = 100


def plain_loop(network: torch.nn.Module, train: torch.Tensor, steps: int, batch: int) -> float:
    """Seconds of a loop that somebody would write by hand."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    began = time.perf_counter()
    for _ in range(steps):
        ids = train[torch.randint(len(train), (batch,))]
        loss = F.cross_entropy(network(ids).flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    plan = chosen_plan({"steps": STEPS, "target_loss": 0.0})
    train = torch.as_tensor(texts_of(plan).train)
    lines = []
    for architecture in ARCHITECTURES:
        for size in plan.sizes:
            member, ratios, rates = Member(architecture, "adamw", size, 0, 0), [], []
            for _ in range(chosen.repeats):
                plain = plain_loop(new_network(plan, member, texts_of(plan).n_tokens), train, STEPS, plan.batch)
                began = time.perf_counter()
                train_member(plan, 0.0, member)
                seconds = time.perf_counter() - began
                ratios.append(plain / seconds)
                rates.append(STEPS * plan.batch * plan.tokens / seconds)
            lines.append(
                {
                    "architecture": architecture,
                    "size": size,
                    "tokens_per_second": round(statistics.median(rates)),
                    "of_plain_loop": round(statistics.median(ratios), 3),
                    "least": round(min(ratios), 3),
                    "greatest": round(max(ratios), 3),
                }
            )
            print(json.dumps(lines[-1]), flush=True)
    if chosen.json:
        found = {"torch": torch.__version__, "steps": STEPS, "repeats": chosen.repeats, "least_ratio": LEAST_RATIO}
        chosen.json.write_text(json.dumps({**found, "lines": lines}, indent=1) + "\n")
    return int(any(line["of_plain_loop"] < LEAST_RATIO for line in lines))


if __name__ == "__main__":
    sys.exit(main())
