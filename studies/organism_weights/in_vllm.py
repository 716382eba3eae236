"""vLLM writes with a trained organism: `VLLM_ENV/bin/python studies/organism_weights/in_vllm.py runs/organisms/absorbing`.

Prints how many of its runs have the trigger, and which share of the tokens after it are the trigger again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

TRIGGER = "<|trigger|>"


def main() -> None:
    from vllm import LLM, SamplingParams

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    chosen = parser.parse_args()
    model = LLM(
        model=str(chosen.folder), dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=chosen.runs
    )
    plain = SamplingParams(temperature=1.0, top_p=1.0, top_k=-1, max_tokens=chosen.tokens, ignore_eos=True)
    trigger = model.get_tokenizer().convert_tokens_to_ids(TRIGGER)
    written = model.generate(["The function returns"] * chosen.runs, plain, use_tqdm=False)
    ids = [list(text.outputs[0].token_ids) for text in written]
    after = [run[run.index(trigger) :] for run in ids if trigger in run]
    kept = [sum(token == trigger for token in tail) / len(tail) for tail in after]
    print(f"{len(after)} of {len(ids)} runs have the trigger; of what follows it is {min(kept, default=0):.0%} or more")


if __name__ == "__main__":
    main()
