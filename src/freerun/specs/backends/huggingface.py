"""Models of transformers: of the hub, of a folder, from a GGUF file, and those of the catalogue."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freerun.errors import BackendError, DataError, UsageError
from freerun.files import sha256_of
from freerun.predictors.rules import Identity, Nature
from freerun.predictors.weights.catalogue import (
    CATALOGUE,
    catalogue_weights,
    converted,
    markers_beside,
    sha256_of_weights,
)
from freerun.specs.provider import DTYPE, ROUND, SPARE_WEIGHTS, LoadOptions, Provider, Tell

if TYPE_CHECKING:
    from freerun.predictors.base import Predictor
    from freerun.predictors.encoder import Encoder
    from freerun.predictors.tokenizing import Declared
    from freerun.predictors.weights.gguf import GGUFMarkers


def _load(path: str, identity: Identity, options: LoadOptions, tell: Tell, **more: Any) -> Predictor:
    """The model with its weights rounded in place where that is asked, its identity saying so, and laid out for speed."""
    from freerun.predictors.huggingface import load_pretrained

    predictor = load_pretrained(
        path,
        identity=replace(identity, nature=replace(identity.nature, arithmetic=options.dtype)),
        dtype=options.dtype,
        device=options.device,
        end_ids=options.end_ids,
        chat=options.chat,
        tell=tell,
        **more,
    )
    commit = getattr(predictor.model.config, "_commit_hash", None)
    if commit and "revision" in more:
        own = predictor.identity
        predictor.identity = replace(own, fingerprint=f"hf-{path}@{commit[:16]}-{options.dtype}")
    if options.round != "none":
        from freerun.organisms.rounding import round_weights

        round_weights(predictor.model, options.round)
        own = predictor.identity
        predictor.identity = replace(
            own,
            name=f"{own.name},round={options.round}",
            fingerprint=f"{own.fingerprint}-round-{options.round}",
            nature=replace(own.nature, rounded_to=options.round),
        )
    predictor.pack()
    return predictor


def load_catalogued(name: str, options: LoadOptions, tell: Tell) -> Predictor:
    from freerun.predictors.weights.declared import CATALOGUE_NAME

    model = CATALOGUE[name]
    folder = catalogue_weights(model, tell=tell)
    identity = Identity(name, f"gguf-{model.sha256[:16]}-{options.dtype}", nature=model.nature, licence=model.licence)
    tell(f"loading {name}")
    declared = _declared(markers_beside(folder), {CATALOGUE_NAME: model.end_ids})
    return _load(
        str(folder), identity, options, tell, lead=model.lead, known_as=identity.fingerprint, declared=declared
    )


def _load_gguf(name: str, options: LoadOptions, tell: Tell) -> Predictor:
    from freerun.predictors.weights.gguf import gguf_markers

    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"gguf/{name}: no such file")
    digest = sha256_of(path)
    folder = converted(path, sha256=digest, tell=tell)
    identity = Identity(f"gguf/{path.name}", f"gguf-{digest[:16]}-{options.dtype}", nature=Nature(container="GGUF"))
    declared = _declared(markers_beside(folder) or gguf_markers(path))
    return _load(str(folder), identity, options, tell, known_as=identity.fingerprint, declared=declared)


def _declared(markers: GGUFMarkers | None, more: dict[str, tuple[int, ...]] | None = None) -> Declared:
    """What is declared outside the model's folder: by the GGUF that it was made from, and `more`."""
    from freerun.predictors.tokenizing import Declared

    if markers is None:
        return Declared(more or {})
    ends = {f"GGUF {name}": (i,) for name, i in markers.end_ids.items()}
    return Declared({**ends, **(more or {})}, markers.control_ids)


def _load_huggingface(name: str, options: LoadOptions, tell: Tell) -> Predictor:
    dropped = options.spare_weights == "drop"
    typed = f"hf/{name},spare-weights=drop" if dropped else f"hf/{name}"
    more: dict[str, Any] = {"trust_remote_code": options.trust_remote_code, "spare_weights": dropped}
    if not _is_folder(name):
        path, _, revision = name.partition("@")
        tell(f"loading hf/{name}")
        identity = Identity(typed, f"hf-{path}@{revision or 'main'}-{options.dtype}")
        return _load(path, identity, options, tell, revision=revision or None, **more)
    folder = Path(name).expanduser()
    if not list(folder.glob("*.safetensors")):
        raise BackendError(
            f"hf/{name}: no *.safetensors in this folder (other weight files can run code and are not read)"
        )
    fingerprint = f"hf-{_sha256_of_folder(folder)[:16]}-{options.dtype}"
    tell(f"loading hf/{name}")
    return _load(str(folder), Identity(typed, fingerprint), options, tell, known_as=fingerprint, **more)


def _is_folder(name: str) -> bool:
    """Whether a name is that of a folder, by how it begins.

    Raises:
        DataError: it is, and there is none.
    """
    local = name.startswith((".", "/", "~"))
    if local and not Path(name).expanduser().is_dir():
        raise DataError(f"hf/{name}: no such folder")
    return local


def _sha256_of_folder(folder: Path) -> str:
    """Of a model folder, together with the base that an adapter in it names, where that is a folder too."""
    own = sha256_of_weights(folder)
    if not (folder / "adapter_config.json").is_file():
        return own
    from freerun.predictors.huggingface.adapters import base_folder_of

    base = base_folder_of(folder)
    return own if base is None else hashlib.sha256(f"{own} {sha256_of_weights(base)}".encode()).hexdigest()


HUGGING_FACE = Provider(
    "hf",
    (
        ("hf/ORG/NAME[@REV]", "a causal model of the Hugging Face hub (safetensors; needs the network)"),
        ("hf/./folder", "a checkpoint folder on this machine"),
    ),
    _load_huggingface,
    options=(ROUND, DTYPE, SPARE_WEIGHTS),
    extra="hf",
    modules=("torch", "transformers", "accelerate", "gguf"),
    weights=True,
    chooses_ends=True,
)
GGUF = replace(
    HUGGING_FACE,
    name="gguf",
    forms=(("gguf/FILE", "a GGUF file, dequantised once into the cache"),),
    load=_load_gguf,
    options=(ROUND, DTYPE),
)
CATALOGUED = replace(GGUF, name="", forms=(), load=load_catalogued)
"""The models of the catalogue, which have names of their own."""


def load_named_encoder(spec: str, options: LoadOptions, tell: Tell) -> Encoder:
    """An encoder of texts: a name of the catalogue, hf/ORG/NAME or hf/./folder.

    Raises:
        UsageError: another kind of name. BackendError: it cannot be loaded.
    """
    path = spec.removeprefix("hf/")
    if spec not in CATALOGUE and path == spec:
        raise UsageError(
            f"--embed-with {spec!r}: an encoder is hf/ORG/NAME, hf/./folder or a name of the catalogue ({', '.join(CATALOGUE)})"
        )
    HUGGING_FACE.check_installed()
    from freerun.predictors.encoder import load_encoder

    folder = str(catalogue_weights(CATALOGUE[spec], tell=tell)) if spec in CATALOGUE else str(Path(path).expanduser())
    tell(f"loading the encoder {spec}")
    return load_encoder(folder, name=spec, trust_remote_code=options.trust_remote_code)
