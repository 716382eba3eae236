"""Every provider of models: from a name without organisms to a built predictor."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freerun.errors import BackendError, DataError, UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.rules import Identity

if TYPE_CHECKING:
    from freerun.predictors.encoder import Encoder
    from freerun.predictors.tokenizing import Declared
    from freerun.predictors.weights.gguf import GGUFMarkers


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded; part of its fingerprint where it changes the law."""

    dtype: str = "fp32"
    device: str = "auto"
    trust_remote_code: bool = False
    round: str = "none"
    """Weights rounded per output channel, simulated: none, int8 or int4. Typed after the model: `,round=int8`."""
    spare_weights: str = "refuse"
    """What becomes of tensors that the model has no place for: refuse, or drop. Typed after the model: `,spare-weights=drop`."""
    end_ids: tuple[int, ...] | None = None
    """What ends a text, instead of all that the model's files declare (`--end-ids`)."""


AS_IT_IS = LoadOptions()
"""fp32 on the device that is there."""
Tell = Callable[[str], None]


def _need_torch() -> None:
    missing = [name for name in ("torch", "transformers", "accelerate", "gguf") if find_spec(name) is None]
    if missing:
        raise BackendError(
            f"this model needs {', '.join(missing)}, which this Python does not have: pip install 'freerun[hf]' "
            "(on a machine without a GPU, install a CPU build of torch first)"
        )


def load_catalogued(name: str, options: LoadOptions, tell: Tell) -> Predictor[Any]:
    from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights, markers_beside

    _need_torch()
    model = CATALOGUE[name]
    folder = catalogue_weights(model, tell=tell)
    from freerun.predictors.huggingface import load_pretrained
    from freerun.predictors.weights.declared import CATALOGUE_NAME

    identity = Identity(
        name, f"gguf-{model.sha256[:16]}-{options.dtype}", nature=_nature(model.nature, options), licence=model.licence
    )
    tell(f"loading {name}")
    return _made_ready(
        load_pretrained(
            str(folder),
            identity=identity,
            dtype=options.dtype,
            device=options.device,
            end_ids=options.end_ids,
            lead=model.lead,
            known_as=identity.fingerprint,
            tell=tell,
            declared=_declared(markers_beside(folder), {CATALOGUE_NAME: model.end_ids}),
        ),
        options,
    )


def _gguf(name: str, options: LoadOptions, tell: Tell) -> Predictor[Any]:
    from freerun.predictors.weights.catalogue import converted, markers_beside, sha256_of

    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"gguf/{name}: no such file")
    _need_torch()
    digest = sha256_of(path)
    folder = converted(path, sha256=digest, tell=tell)
    from freerun.predictors.huggingface import load_pretrained
    from freerun.predictors.weights.gguf import gguf_markers

    identity = Identity(
        f"gguf/{path.name}",
        f"gguf-{digest[:16]}-{options.dtype}",
        nature=_nature("weights from GGUF, dequantised", options),
    )
    return _made_ready(
        load_pretrained(
            str(folder),
            identity=identity,
            dtype=options.dtype,
            device=options.device,
            known_as=identity.fingerprint,
            tell=tell,
            end_ids=options.end_ids,
            declared=_declared(markers_beside(folder) or gguf_markers(path)),
        ),
        options,
    )


def _declared(markers: GGUFMarkers | None, more: dict[str, tuple[int, ...]] | None = None) -> Declared:
    """What is declared outside the model's folder: by the GGUF that it was made from, and `more`."""
    from freerun.predictors.tokenizing import Declared

    if markers is None:
        return Declared(more or {})
    ends = {f"GGUF {name}": (i,) for name, i in markers.end_ids.items()}
    return Declared({**ends, **(more or {})}, markers.control_ids)


def load_named_encoder(spec: str, options: LoadOptions, tell: Tell) -> Encoder:
    """An encoder of texts: a name of the catalogue, hf/ORG/NAME or hf/./folder.

    Raises:
        UsageError: another kind of name. BackendError: it cannot be loaded.
    """
    from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights

    path = spec.removeprefix("hf/")
    if spec not in CATALOGUE and path == spec:
        raise UsageError(
            f"--embed-with {spec!r}: an encoder is hf/ORG/NAME, hf/./folder or a name of the catalogue ({', '.join(CATALOGUE)})"
        )
    _need_torch()
    from freerun.predictors.encoder import load_encoder

    folder = str(catalogue_weights(CATALOGUE[spec], tell=tell)) if spec in CATALOGUE else str(Path(path).expanduser())
    tell(f"loading the encoder {spec}")
    return load_encoder(folder, name=spec, trust_remote_code=options.trust_remote_code)


def _huggingface(name: str, options: LoadOptions, tell: Tell) -> Predictor[Any]:
    local = name.startswith((".", "/", "~"))
    path, _, revision = (name, "", "") if local else name.partition("@")
    folder = Path(path).expanduser()
    if local and not folder.is_dir():
        raise DataError(f"hf/{name}: no such folder")
    _need_torch()
    from freerun.predictors.huggingface import load_pretrained

    if local:
        if not list(folder.glob("*.safetensors")):
            raise BackendError(
                f"hf/{name}: no *.safetensors in this folder (other weight files can run code and are not read)"
            )
        fingerprint = f"hf-{_sha256_of_folder(folder)[:16]}-{options.dtype}"
    else:
        fingerprint = f"hf-{path}@{revision or 'main'}-{options.dtype}"
    tell(f"loading hf/{name}")
    dropped = ",spare-weights=drop" if options.spare_weights == "drop" else ""
    identity = Identity(f"hf/{name}{dropped}", fingerprint, nature=_nature("", options))
    predictor = load_pretrained(
        str(folder) if local else path,
        identity=identity,
        dtype=options.dtype,
        device=options.device,
        revision=revision or None,
        trust_remote_code=options.trust_remote_code,
        spare_weights=options.spare_weights == "drop",
        known_as=fingerprint if local else None,
        tell=tell,
        end_ids=options.end_ids,
    )
    commit = getattr(predictor.model.config, "_commit_hash", None)
    if commit:
        predictor.identity = replace(identity, fingerprint=f"hf-{path}@{commit[:16]}-{options.dtype}")
    return _made_ready(predictor, options)


def _sha256_of_folder(folder: Path) -> str:
    """Of a model folder, together with the base that an adapter in it names, where that is a folder too."""
    from freerun.predictors.weights.catalogue import sha256_of_weights

    own = sha256_of_weights(folder)
    if not (folder / "adapter_config.json").is_file():
        return own
    from freerun.predictors.huggingface.adapters import base_folder_of

    base = base_folder_of(folder)
    return own if base is None else hashlib.sha256(f"{own} {sha256_of_weights(base)}".encode()).hexdigest()


def _refuse_chosen_ends(name: str, options: LoadOptions) -> None:
    if options.end_ids is not None:
        raise UsageError(f"--end-ids: {name} says itself what ends a text; it goes with models that have a tokenizer")


def _ngram(name: str, options: LoadOptions, tell: Tell) -> Predictor[Any]:
    _refuse_chosen_ends(f"ngram/{name}", options)
    from freerun.predictors.ngram import byte_ngram
    from freerun.text.corpora import read_corpus

    match = re.fullmatch(r"(\d+)@(.+)", name)
    if not match:
        raise UsageError(f"ngram/{name}: wanted ngram/ORDER@CORPUS, for example ngram/5@builtin/python-docs")
    order = int(match[1])
    if not 1 <= order <= 7:
        raise UsageError(f"ngram/{name}: the order (of bytes) must lie between 1 and 7, not {order}")
    tell(f"counting {match[2]}")
    corpus = read_corpus(match[2], single_ok=True)
    return byte_ngram([d.text for d in corpus.documents], order=order, name=f"ngram/{name}")


def _world(name: str, options: LoadOptions, tell: Tell) -> Predictor[Any]:
    from freerun.worlds.catalogue import load_world

    _refuse_chosen_ends(f"world/{name}", options)
    return load_world(name)


def _made_ready(predictor: Any, options: LoadOptions) -> Predictor[Any]:
    """The predictor with its weights rounded in place where that is wanted, its identity saying so, and laid out for speed."""
    if options.round != "none":
        from freerun.organisms.rounding import round_weights

        round_weights(predictor.model, options.round)
        own = predictor.identity
        predictor.identity = replace(
            own,
            name=f"{own.name},round={options.round}",
            fingerprint=f"{own.fingerprint}-round-{options.round}",
            nature=", ".join(x for x in (own.nature, f"weights rounded to {options.round} (simulated)") if x),
        )
    predictor.pack()
    return predictor  # type: ignore[no-any-return]


def _nature(nature: str, options: LoadOptions) -> str:
    return ", ".join(x for x in (nature, "" if options.dtype == "fp32" else f"{options.dtype} arithmetic") if x)


PROVIDERS: dict[str, Callable[[str, LoadOptions, Tell], Predictor[Any]]] = {
    "hf": _huggingface,
    "gguf": _gguf,
    "ngram": _ngram,
    "world": _world,
}
