"""The table of formats: what a row looks like, who writes it, and what it loses. Messages, help and docs are made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from freerun.errors import UsageError, nearest

if TYPE_CHECKING:
    from freerun.samples.completion import Part
    from freerun.samples.fields import Draft, Unusable
    from freerun.samples.requests import Requests

    Recogniser = Callable[[Any], bool]
    Reader = Callable[[Any, Requests | None], Iterable[Draft | Unusable]]


@dataclass(frozen=True)
class Format:
    """A way in which samples are written down.

    Its module is loaded when it is needed: help reads this table and must answer at once.
    """

    name: str
    """For `--format`."""
    writer: str
    """Who writes it."""
    meaning: str
    """What a row is, by its fields, as the docs say it."""
    sign: str
    """What it is recognised by, as messages say it; empty where it has to be named."""
    module: str
    """Below `freerun.samples.formats`."""
    loses: tuple[str, ...] = ()
    """The parts (names of `Part`) that no file of this format has."""

    @property
    def recogniser(self) -> Recogniser:
        """Whether a row of a file is of this format."""
        return import_module(f"freerun.samples.formats.{self.module}").recognises  # type: ignore[no-any-return]

    @property
    def reader(self) -> Reader:
        """From one row of a file to the samples in it, each as a draft or as what is wrong with it."""
        return import_module(f"freerun.samples.formats.{self.module}").read  # type: ignore[no-any-return]

    @property
    def parts_lost(self) -> tuple[Part, ...]:
        """What no file of this format has."""
        from freerun.samples.completion import Part

        return tuple(Part[name] for name in self.loses)


_TEXT_ONLY = ("COMPLETION_IDS", "PROMPT_IDS", "END", "SPECIAL_TOKENS")

FORMATS: tuple[Format, ...] = (
    Format(
        "batch",
        "OpenAI's batch interface, `vllm run-batch`, and services like them",
        "`custom_id`, `response.body` (as `vllm` or `openai`); prompts stand in the file of requests (`--requests FILE`)",
        "custom_id with response or error",
        "batch",
    ),
    Format(
        "vllm",
        "vLLM's completions and chat, asked with `return_token_ids`",
        "`choices[].token_ids`, `prompt_token_ids`, `logprobs`",
        "choices with token_ids",
        "vllm",
    ),
    Format(
        "openai",
        "OpenAI's chat and completions, and servers that speak their protocol",
        "`choices[].logprobs.content[].{token, logprob, bytes}`, `message.content` or `text`",
        "choices with message or text",
        "openai",
        loses=("PROMPT", *_TEXT_ONLY),
    ),
    Format(
        "sglang",
        "SGLang's `/generate`, asked with `return_logprob`",
        "`meta_info.output_token_logprobs` ([[log-prob, id, text]]), `finish_reason`, `weight_version`; `output_ids`, "
        "`prompt_token_ids`",
        "meta_info with output_token_logprobs or output_ids",
        "sglang",
    ),
    Format(
        "trl-serve",
        "`trl vllm-serve`",
        "`prompt_ids`, `completion_ids`, `logprobs`, `logprob_token_ids`, each a list with an entry for each sample",
        "completion_ids that are lists of lists",
        "trl_serve",
    ),
    Format(
        "slime",
        "slime's `--save-debug-rollout-data` (`.pt`, loaded as weights only; needs torch)",
        "`tokens`, `response_length`, `loss_mask`, `rollout_log_probs`, `weight_versions`, `status`",
        "tokens with response_length",
        "slime",
    ),
    Format(
        "trl",
        "TRL's `completions_*.parquet` (`log_completions`)",
        "`step`, `prompt`, `completion`, rewards, `advantage`",
        "step, prompt and completion",
        "trl",
        loses=(*_TEXT_ONLY, "DRAWN", "LOG_PROBS"),
    ),
    Format(
        "verl",
        "verl's `trainer.rollout_data_dir` (`{step}.jsonl`)",
        "`input`, `output`, `gts`, `score`, `step`",
        "input, output and step",
        "verl",
        loses=(*_TEXT_ONLY, "DRAWN", "LOG_PROBS"),
    ),
    Format(
        "freerun",
        "you, or `freerun.samples.from_trl`, `from_verl`, `from_openrlhf`",
        "`completion_ids` or `completion`; `prompt_ids`, `prompt` or `messages`; `drawn`, `logprobs`, `trainer_logprobs`, "
        "`group`, `weight_version`, `finish_reason`, `seed`, `sampling`",
        "completion_ids or completion",
        "own",
    ),
    Format(
        "text",
        "anyone",
        "a file of plain text (one sample), or rows that are a string or have a field `text`",
        "text, or rows with text",
        "plain",
        loses=("PROMPT", *_TEXT_ONLY, "LOG_PROBS"),
    ),
    Format(
        "lines",
        "anyone",
        "a file of plain text, each line a sample; has to be named",
        "",
        "plain",
        loses=("PROMPT", *_TEXT_ONLY, "LOG_PROBS"),
    ),
)
"""In the order in which they are tried."""


def format_named(name: str) -> Format:
    """Return the format of a name.

    Raises:
        UsageError: there is none.
    """
    chosen = next((format for format in FORMATS if format.name == name), None)
    if chosen is None:
        names = [format.name for format in FORMATS]
        raise UsageError(f"no format of samples is called {name!r}; there are {', '.join(names)}{nearest(name, names)}")
    return chosen
