"""vLLM itself: loaded with our processor and our extension of its workers, and nothing else that touches its logits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from freerun.errors import BackendError, first_line
from freerun.predictors.vllm_engine.options import EngineOptions
from freerun.predictors.vllm_engine.order import Order
from freerun.predictors.vllm_engine.runs import Written

KNOWN_FROM, KNOWN_BEFORE = (0, 30), (0, 34)
"""Versions of vLLM whose two interfaces are those known here."""
_ROOM = "freerun.predictors.vllm_engine"
_CPU_CACHE_GIB = 2.0
_PLUGINS = "vllm.logits_processors"
_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the scheduler runs in this process
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "GOMP_SPINCOUNT": "2000",
}
"""Said before vLLM loads, where the environment does not say otherwise."""


class VLLM:
    """An `Engine` of runs.py."""

    def __init__(self, path: str, options: EngineOptions, *, name: str, revision: str | None = None) -> None:
        """Raises BackendError: vLLM is missing, of another version, or cannot load the model."""
        for key, value in _SETTINGS.items():
            os.environ.setdefault(key, value)
        self.version = check_version(name)
        check_plugins(name)
        try:
            self._llm, self.runner = _load(path, options, revision)
        except Exception as error:  # of a dozen libraries, each with a class of its own
            raise BackendError(
                f"{name}: vLLM {self.version} cannot load it: {_said(error)} (for less memory: ,cache-gib= and ,window=)"
            ) from error
        self._engine = self._llm.llm_engine
        config = self._engine.vllm_config
        self.n_tokens = int(config.model_config.get_vocab_size())
        self.longest = int(config.model_config.max_model_len)
        self.device = str(config.device_config.device_type)
        self.eager = bool(config.model_config.enforce_eager)

    def add(self, order: Order, ends: tuple[int, ...]) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=0.0,  # one token is possible, and the greatest is found without drawing
            max_tokens=order.n_new,
            stop_token_ids=list(ends),
            ignore_eos=True,
            detokenize=False,
            prompt_logprobs=None if order.prompt_from is None else 0,
            output_kind=RequestOutputKind.DELTA,
            extra_args=order.to_extra(),
        )
        self._engine.add_request(str(order.serial), {"prompt_token_ids": order.ids[: order.n_prompt].tolist()}, params)

    def step(self) -> list[Written]:
        return [
            Written(int(out.request_id), list(out.outputs[0].token_ids), bool(out.finished))
            for out in self._engine.step()
        ]

    def abort(self, serials: Sequence[int]) -> None:
        self._engine.abort_request([str(s) for s in serials])

    def call(self, method: str, *arguments: Any) -> list[Any]:
        return list(self._llm.collective_rpc(method, args=arguments))

    def close(self) -> None:
        """Stop the engine's processes, where it has any."""
        self._engine.engine_core.shutdown()


def _load(path: str, options: EngineOptions, revision: str | None) -> tuple[Any, str]:
    """The engine, and which runner it has. Each runner takes processors of its own kind only: the one that it will be is asked
    of the configuration first."""
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs

    cpu = _is_cpu()
    cache = options.cache_gib if options.cache_gib is not None or not cpu else _CPU_CACHE_GIB
    arguments: dict[str, Any] = {
        "model": path,
        "revision": revision,
        "dtype": {"fp32": "float32", "bf16": "bfloat16"}[options.dtype],
        "max_model_len": options.longest,
        "max_num_seqs": options.rows,
        "seed": 0,
        "enforce_eager": options.eager,
        "tensor_parallel_size": options.tensor_parallel,
        "pipeline_parallel_size": options.pipeline_parallel,
        "quantization": options.quantization,
        "trust_remote_code": options.trust_remote_code,
        "kv_cache_memory_bytes": None if cache is None else int(cache * (1 << 30)),
        "generation_config": "vllm",
        "worker_extension_cls": f"{_ROOM}.worker.WorkerExtension",
        **dict(options.more),
    }
    v2 = bool(EngineArgs(**arguments).create_engine_config().use_v2_model_runner)
    runner = "Model Runner V2" if v2 else "legacy runner"
    processor = f"{_ROOM}.v2_processor:V2Processor" if v2 else f"{_ROOM}.legacy_processor:LegacyProcessor"
    llm = LLM(**arguments, logits_processors=[processor], disable_log_stats=True)
    return llm, runner


def _said(error: BaseException) -> str:
    """Two lines of it: the first one of pydantic's only counts."""
    return " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__


def _is_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def check_version(name: str) -> str:
    """The version of vLLM in this Python.

    Raises:
        BackendError: there is none, or its interfaces are not known here.
    """
    try:
        import vllm
    except ImportError as error:
        raise BackendError(
            f"{name}: vLLM cannot be imported ({first_line(error)}); it pins many versions, so give it an environment of its own "
            "and install freerun there: pip install '.[vllm]' in a checkout"
        ) from error
    version = str(vllm.__version__)
    parts = tuple(int(p) for p in version.split("+")[0].split(".")[:2] if p.isdigit())
    if not KNOWN_FROM <= parts < KNOWN_BEFORE:
        low, high = (".".join(map(str, v)) for v in (KNOWN_FROM, KNOWN_BEFORE))
        raise BackendError(
            f"{name}: vLLM {version} is here, and freerun knows vLLM {low} to below {high}; install one of these"
        )
    return version


def check_plugins(name: str) -> None:
    """Raises BackendError where installed plugins would act on the logits, too."""
    others = [e.name for e in entry_points(group=_PLUGINS)]
    if others:
        raise BackendError(
            f"{name}: installed plugins act on vLLM's logits ({', '.join(others)}), so they would not be the model's own; "
            "uninstall them from this environment"
        )
