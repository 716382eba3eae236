"""Typed values from JSON: the way back from `to_json`."""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError

T = TypeVar("T")


def from_json(cls: type[T], value: Any) -> T:
    """A frozen dataclass from what `to_json` made of it; keys that the type does not have are left out.

    Raises:
        DataError: a value of another type, or a field without a default that is missing.
    """
    return _read(cls, value, cls.__name__)  # type: ignore[no-any-return]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(kind: Any, value: Any, at: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _first(arguments, value, at)
    if origin is Literal and value in arguments:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        hints = _hints(kind)  # type: ignore[arg-type]
        names = [f.name for f in dataclasses.fields(kind) if f.init and f.name in value]
        try:
            return kind(**{name: _read(hints[name], value[name], f"{at}.{name}") for name in names})  # type: ignore[operator]
        except TypeError as error:
            raise DataError(f"{at}: {error}") from error
    if origin in (tuple, list, Sequence) and isinstance(value, list):
        if origin is tuple and arguments[-1] is not Ellipsis:
            pairs = zip(arguments, value, strict=True)
            return tuple(_read(k, v, f"{at}[{i}]") for i, (k, v) in enumerate(pairs))
        return tuple(_read(arguments[0], v, f"{at}[{i}]") for i, v in enumerate(value))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _read(arguments[1], v, f"{at}.{key}") for key, v in value.items()}
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if getattr(kind, "array_type", None) is np.ndarray and isinstance(value, list):
        return _array(kind, value, at)
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise DataError(f"{at} cannot be read: {reprlib.repr(value)} is not of type {getattr(kind, '__name__', kind)}")


def _array(kind: Any, value: list[Any], at: str) -> np.ndarray:
    """An array of the type's numbers and dimensions; None is NaN among real numbers."""
    try:
        array = np.array(value, float if kind.dtype is Float else None)
    except (TypeError, ValueError) as error:
        raise DataError(f"{at}: {error}") from error
    if not array.size:
        return np.asarray(array)
    if not isinstance(array, kind):
        raise DataError(
            f"{at} cannot be read: an array of {array.dtype} with shape {array.shape} is not of type {kind.__name__}"
        )
    return np.asarray(array)


def _first(kinds: Sequence[Any], value: Any, at: str) -> Any:
    """The first of several types that the value fits."""
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        try:
            return _read(kind, value, at)
        except (DataError, ValueError) as error:
            errors.append(str(error))
    raise DataError(errors[0])
