"""From what stands after `vllm-engine/` to a model that has been tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from freerun.errors import BackendError, DataError
from freerun.predictors.markers import EndToken
from freerun.predictors.rules import Identity, Nature
from freerun.predictors.servers.words import LocalWords, TokenizerPlace, local_words
from freerun.predictors.vllm_engine.engine import VLLM
from freerun.predictors.vllm_engine.options import EngineOptions, Typed
from freerun.predictors.vllm_engine.predictor import VLLMEngine
from freerun.predictors.vllm_engine.trial import settle
from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights, sha256_of_weights
from freerun.predictors.weights.declared import CATALOGUE_NAME, chosen_ends

Tell = Callable[[str], None]


@dataclass(frozen=True)
class _Place:
    """Where a model's files are, and what is known of them."""

    path: str
    folder: Path
    weights: str
    """A fingerprint."""
    revision: str | None = None
    nature: Nature = Nature()
    licence: str = ""


def load_engine(
    typed: Typed,
    *,
    dtype: str = "fp32",
    trust_remote_code: bool = False,
    end_ids: tuple[int, ...] | None = None,
    chat: bool = False,
    tell: Tell = lambda _: None,
) -> VLLMEngine:
    """Load a model into vLLM in this process, and try it.

    Raises:
        BackendError: vLLM is missing, of an unknown version or fails; no tokenizer; or the trial fails.
        UsageError, DataError: a folder or end ids that are not there.
    """
    place = _place(typed, tell)
    tell(f"loading {typed.name} into vLLM{'' if typed.options.eager else ' (compiling may take minutes)'}")
    options = replace(typed.options, dtype=dtype, trust_remote_code=trust_remote_code)
    engine = VLLM(place.path, options, name=typed.name, revision=place.revision)
    return predictor_of(engine, typed, place, options, end_ids=end_ids, chat=chat, tell=tell)


def predictor_of(
    engine: VLLM,
    typed: Typed,
    place: _Place,
    options: EngineOptions,
    *,
    end_ids: tuple[int, ...] | None,
    chat: bool,
    tell: Tell,
) -> VLLMEngine:
    """The predictor over an engine that is loaded."""
    from freerun.predictors.huggingface.templates import CHAT_TEMPLATE, closing_ids, template_of

    words = local_words(TokenizerPlace(place.folder, place.path), n_tokens=engine.n_tokens, name=typed.name)
    _declare(words, CATALOGUE_NAME, CATALOGUE[typed.model].end_ids if typed.model in CATALOGUE else ())
    if typed.model in CATALOGUE:
        words.lead = CATALOGUE[typed.model].lead
    if chat:
        _declare(words, CHAT_TEMPLATE, closing_ids(words.tokenizer))
    if end_ids is not None:
        ends = chosen_ends(end_ids, words.markers.control, n_tokens=words.n_tokens, name=typed.name)
        words.markers, words.end_ids = replace(words.markers, ends=ends), end_ids
    identity = Identity(
        typed.name,
        f"vllm-{engine.version}-{place.weights}-{options.dtype}",
        nature=replace(place.nature, arithmetic=options.dtype),
        licence=place.licence,
        facts={
            "engine": f"vLLM {engine.version}, {engine.runner}, {engine.device}{', not compiled' if engine.eager else ''}"
        },
    )
    model = VLLMEngine(
        engine,
        words,
        identity=identity,
        longest=engine.longest,
        at_once=options.rows,
        rounded=options.dtype != "fp32" or options.quantization is not None,
        device=engine.device,
        template=template_of(words.tokenizer),
    )
    why = settle(model, read_prompts=typed.reads)
    if why:
        tell(f"{typed.name}: given texts are written token by token, which is slower: {why}")
    identity.facts["given texts"] = "observed as they are read" if model.reads_prompts else "written token by token"
    return model


def _declare(words: LocalWords, who: str, ids: tuple[int, ...]) -> None:
    """Ends of text that no file of the model names."""
    new = tuple(
        EndToken(i, words.markers.control.get(i, ""), (who,))
        for i in ids
        if i not in words.end_ids and i < words.n_tokens
    )
    words.markers = replace(words.markers, ends=(*words.markers.ends, *new))
    words.end_ids = words.markers.end_ids


def _place(typed: Typed, tell: Tell) -> _Place:
    if typed.model in CATALOGUE:
        known = CATALOGUE[typed.model]
        folder = catalogue_weights(known, tell=tell)
        return _Place(str(folder), folder, f"gguf-{known.sha256[:16]}", nature=known.nature, licence=known.licence)
    if typed.is_folder:
        folder = Path(typed.model).expanduser()
        if not folder.is_dir():
            raise DataError(f"{typed.name}: no such folder")
        if not list(folder.glob("*.safetensors")):
            raise BackendError(f"{typed.name}: no *.safetensors in this folder (other weight files can run code)")
        return _Place(str(folder.resolve()), folder.resolve(), f"hf-{sha256_of_weights(folder)[:16]}")
    return _of_hub(typed)


def _of_hub(typed: Typed) -> _Place:
    from huggingface_hub import snapshot_download

    path, _, revision = typed.model.partition("@")
    try:
        folder = Path(
            snapshot_download(
                path, revision=revision or None, allow_patterns=["*.json", "*.model", "*.txt", "*.jinja", "*.py"]
            )
        )
    except Exception as error:
        raise BackendError(
            f"{typed.name}: not to be had from the hub ({type(error).__name__}); a hub id needs the network or a cached copy, a "
            "folder is vllm-engine/./folder"
        ) from error
    return _Place(path, folder, f"hf-{path}@{folder.name[:16]}", revision=folder.name)
