"""freerun itself as a contestant, and the measurements that only it takes: memory, statistics' share, shared prefixes, cost."""

from __future__ import annotations

import copy
import time
from collections import Counter
from typing import Any

import numpy as np
from worker import Task, memory_mib, sampled, scored, serve, timed

import freerun
from freerun.predictors.base import Continuations
from freerun.predictors.draws import sequence_key
from freerun.predictors.law import Dense
from freerun.predictors.observation import Observation
from freerun.specs.providers import LoadOptions
from freerun.stats.loops.lag_runs import LoopRule


def load(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
    import torch
    import transformers

    torch.set_num_threads(request["threads"])
    predictor: Any = freerun.load(request["model"], LoadOptions(dtype=request["dtype"]))
    endless = copy.copy(predictor)
    endless.end_ids = ()  # every row goes to its full length, as the peers' do
    vocabulary = predictor.n_tokens

    def rows_of(request: dict[str, Any], length: int) -> list[np.ndarray]:
        """Real text where it is given, otherwise ids at random (for time and memory it makes no difference)."""
        if "texts" in request:
            return [np.asarray(row, np.int64) for row in request["texts"]]
        rng = np.random.default_rng(0)
        return list(rng.integers(3, min(vocabulary, 40_000), (request["rows"], length)))

    def generate(prefixes: list[np.ndarray], keys: np.ndarray, new: int) -> list[Any]:
        made = endless.generate(Continuations(prefixes, keys, new, seed=1, loop_rule=LoopRule()))
        return sorted(made, key=lambda s: s.row)

    def keys_of(n: int, each: int = 1) -> np.ndarray:
        return np.array([[sequence_key(f"bench/{i}", "free", j) for j in range(each)] for i in range(n)], np.uint64)

    def inputs(request: dict[str, Any]) -> dict[str, Any]:
        """Texts of `length` tokens whose strings give the same ids back."""
        from freerun.text.corpora import read_corpus

        texts, strings = [], []
        for document in read_corpus(request["corpus"]).documents:
            ids = np.asarray(predictor.encode(document.text), np.int64)[: request["length"]]
            text = b"".join(predictor.token_bytes(int(i)) for i in ids).decode("utf-8", errors="replace")
            if len(ids) == request["length"] and list(predictor.encode(text)) == ids.tolist():
                texts.append(ids.tolist())
                strings.append(text)
            if len(texts) == request["n"]:
                break
        if len(texts) < request["n"]:
            raise ValueError(
                f"{request['corpus']} has {len(texts)} texts of {request['length']} tokens, not {request['n']}"
            )
        return {"texts": texts, "strings": strings, "lead": _lead(predictor)}

    def sample(request: dict[str, Any]) -> dict[str, Any]:
        prompts = [np.asarray(row, np.int64) for row in request["prompts"]]
        seconds, made = timed(lambda: generate(prompts, keys_of(len(prompts)), request["new"]))
        answer = sampled(seconds, request["prompts"], [s.observation.token_id for s in made])
        seen = Observation.concatenate([s.observation for s in made])
        answer["mean_surprisal_nats"] = -float(seen.log_prob_nats.mean())
        answer["mean_entropy_nats"] = float(seen.entropy_nats.mean())
        return answer

    def score(request: dict[str, Any]) -> dict[str, Any]:
        texts = [np.asarray(row, np.int64) for row in request["texts"]]
        led = predictor.with_lead(tuple(request["lead"]))

        def work() -> tuple[float, int]:
            total, n = 0.0, 0
            for chunk in led.score(texts, first=0, loop_rule=LoopRule()):
                total += float(chunk.observation.log_prob_nats.sum())
                n += len(chunk.row)
            return total, n

        seconds, (total, n) = timed(work)
        return scored(seconds, request["texts"], [total], n)

    def log_probs(request: dict[str, Any]) -> dict[str, Any]:
        texts = [np.asarray(row, np.int64) for row in request["texts"]]
        led = predictor.with_lead(tuple(request["lead"]))
        seconds, parts = timed(lambda: led.log_probs(texts, first=0))
        return scored(seconds, request["texts"], [float(p.sum()) for p in parts], sum(len(p) for p in parts))

    def audit(request: dict[str, Any]) -> dict[str, Any]:
        """Do these samples come from the model's law? Σ(surprisal − entropy) over its standard deviation, about N(0, 1)."""
        texts = [np.asarray([*p, *n], np.int64) for p, n in zip(request["prompts"], request["ids"], strict=True)]
        excess, variance, n = 0.0, 0.0, 0
        for chunk in predictor.score(texts, first=len(request["prompts"][0])):
            seen = chunk.observation
            excess += float((-seen.log_prob_nats - seen.entropy_nats).sum())
            variance += float(seen.varentropy_nats2.sum())
            n += len(chunk.row)
        return {"z": excess / variance**0.5, "tokens": n, "excess_nats_per_token": excess / n}

    def statistics(request: dict[str, Any]) -> dict[str, Any]:
        """The share of a step of `rows` sequences that `Law.observe` takes."""
        rng = np.random.default_rng(1)
        state = endless.start(rows_of(request, request["prefix"]))
        parts: dict[str, list[float]] = {"advance": [], "law": [], "observe": []}
        for _ in range(request["steps"] + 2):
            at = [time.perf_counter()]
            law = endless.law(state)
            at.append(time.perf_counter())
            seen = law.observe(uniforms=rng.random(request["rows"]))
            at.append(time.perf_counter())
            state = endless.advance(state, seen.token_id.astype(np.int64))
            at.append(time.perf_counter())
            for name, seconds in zip(("law", "observe", "advance"), np.diff(at), strict=True):
                parts[name].append(float(seconds))
        kept = {name: np.array(values[2:]) for name, values in parts.items()}  # the first two steps warm up
        step = sum(kept.values())
        return {"step_seconds": step.tolist(), "share": (kept["observe"] / step).tolist(), "vocabulary": vocabulary}

    def memory(request: dict[str, Any]) -> dict[str, Any]:
        """Scoring with all statistics, records kept as the audit keeps them; the peak is measured around it."""
        rows = rows_of(request, request["length"])
        before = memory_mib(reset=True)["now"]
        seconds, chunks = timed(lambda: list(predictor.score(rows, first=1, loop_rule=LoopRule())))
        return {
            "seconds": seconds,
            "tokens": sum(len(c.row) for c in chunks),
            "rss_mib": before,
        }

    def continuations(request: dict[str, Any]) -> dict[str, Any]:
        """`rows` continuations of one prefix, or of as many different prefixes."""
        prefixes = rows_of(request, request["prefix"])
        n = len(prefixes)
        shared = [prefixes[0]] if request["shared"] else prefixes
        keys = keys_of(1, n) if request["shared"] else keys_of(n)
        seconds, made = timed(lambda: generate(shared, keys, request["new"]))
        return {"seconds": seconds, "tokens": sum(len(s.observation.token_id) for s in made)}

    def generate_rows(request: dict[str, Any]) -> dict[str, Any]:
        rows = rows_of(request, request["prefix"])
        seconds, _ = timed(lambda: generate(rows, keys_of(len(rows)), request["new"]))
        return {"seconds": seconds}

    def observe(request: dict[str, Any]) -> dict[str, Any]:
        """`Law.observe` alone, on random logits of any vocabulary."""
        rng = np.random.default_rng(2)
        logits = torch.tensor(rng.normal(0, 3, (request["rows"], request["vocabulary"])), dtype=torch.float32)
        uniforms = rng.random(request["rows"])
        memory_mib(reset=True)
        began = time.perf_counter()
        for _ in range(request["times"]):
            Dense(logits).observe(uniforms=uniforms)
        return {"seconds": (time.perf_counter() - began) / request["times"]}

    def matrix_rows(request: dict[str, Any]) -> dict[str, Any]:
        """Rows of the matrix products while sampling and scoring, where they run through the model's own modules."""
        answer = {}
        for name, task in (("sample", sample), ("score", score)):
            seen: Counter[int] = Counter()
            hooks = [
                module.register_forward_pre_hook(lambda m, x, seen=seen: seen.update([x[0].numel() // x[0].shape[-1]]))
                for module in predictor.model.modules()
                if type(module).__name__ == "Linear"
            ]
            task(request)
            for hook in hooks:
                hook.remove()
            answer[name] = [[rows, calls] for rows, calls in seen.most_common(4)]
        return answer

    facts = {
        "freerun": freerun.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(predictor.model.dtype).removeprefix("torch."),
        "vocabulary": vocabulary,
        "attention": predictor.model.config._attn_implementation,
    }
    tasks = {
        f.__name__: f
        for f in (
            inputs,
            sample,
            score,
            log_probs,
            audit,
            statistics,
            memory,
            continuations,
            generate_rows,
            observe,
            matrix_rows,
        )
    }
    return facts, tasks


def _lead(predictor: Any) -> list[int]:
    """What lm-eval puts before a text: the tokenizer's beginning of text, or else its end of text."""
    first, last = predictor.tokenizer.bos_token_id, predictor.tokenizer.eos_token_id
    return [int(last if first is None else first)]


if __name__ == "__main__":
    serve(load)
