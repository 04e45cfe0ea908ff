"""Strict validation of requests by the types of parameters that the official SDK is generated with."""

import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Annotated, Any, ForwardRef, Literal, NotRequired, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject
from typing_extensions import TypedDict, is_typeddict

from sandbox.stripe.errors import StripeError, missing_param, not_supported
from sandbox.stripe.objects import Params

_STRICT = ConfigDict(extra="forbid")
_KINDS = {"int": "integer", "bool": "boolean", "float": "number", "decimal": "decimal", "string": "string"}


def validate(name: str, params: Params, supported: str | None) -> Params:
    """Return a request's parameters, typed; `name` is such as "billing.meter_create".

    What Stripe does not know is refused as Stripe does; what Stripe knows and the sandbox has not, by name.
    """
    try:
        typed: Params = _adapter(name).validate_python(params)
    except ValidationError as error:
        raise _to_stripe_error(error.errors(include_url=False), params) from None
    if supported is not None:
        _refuse_unsupported(typed, frozenset(supported.split()) | {"expand", "metadata", "include"})
    return typed


def _refuse_unsupported(params: Params, supported: frozenset[str]) -> None:
    for path in _leaves(params):
        plain = [key for key in path if not key.isdecimal()]
        prefixes = {".".join(plain[: end + 1]) for end in range(len(plain))}
        if not prefixes & supported:
            raise not_supported(f"the parameter {_param(path)}", _param(path))


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    nested = [(*path, str(key)) for key, _ in pairs]
    if not nested:
        return [path] if path else []
    items = value.values() if isinstance(value, dict) else value
    return [leaf for where, item in zip(nested, items, strict=True) for leaf in _leaves(item, where)]


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(parameter_type(name))


def parameter_type(name: str) -> type:
    """Return the SDK's type of an operation's parameters, made strict."""
    folder, _, resource = name.rpartition(".")
    module = import_module(".".join(filter(None, ["stripe.params", folder, f"_{resource}_params"])))
    class_name = "".join(part.capitalize() for part in f"{resource}_params".split("_"))
    return _strict_dict(getattr(module, class_name))


@cache
def _strict_dict(source: type) -> type:
    module = vars(sys.modules[source.__module__])
    options = RequestOptions.__annotations__ if "idempotency_key" in source.__annotations__ else {}
    fields = {
        key: _strict(annotation, module)
        for key, annotation in source.__annotations__.items()
        if key not in options
    }
    create: Any = TypedDict  # for mypy, it has to be written out
    strict = create(source.__name__, fields)
    strict.__pydantic_config__ = _STRICT
    return strict  # type: ignore[no-any-return]


def _strict(annotation: Any, module: dict[str, Any]) -> Any:
    if isinstance(annotation, ForwardRef | str):
        source = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        return _strict(eval(source, module), module)  # noqa: S307 the SDK's own annotations
    if is_typeddict(annotation):
        return _strict_dict(annotation)
    origin, members = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType}:
        return _strict_union(members, module)
    if origin is list:
        return Annotated[list[_strict(members[0], module)], BeforeValidator(_list_from_indexes)]  # type: ignore[misc]
    if origin is dict:
        return dict[str, _strict(members[1], module)]  # type: ignore[misc]
    is_plain = origin is None or origin is Literal
    return annotation if is_plain else NotRequired[_strict(members[0], module)]


def _strict_union(members: tuple[Any, ...], module: dict[str, Any]) -> Any:
    # An enumeration is `Literal[…] | str`, as there may be new values some day; Stripe refuses unknown ones.
    is_closed = any(get_origin(each) is Literal and get_args(each) != ("",) for each in members)
    accepted = [
        _strict(each, module)
        for each in members
        if get_origin(each) is not UntypedStripeObject and not (each is str and is_closed)
    ]
    return Union[tuple(accepted)]  # noqa: UP007 as many members as there are


def _list_from_indexes(value: Any) -> Any:
    if isinstance(value, dict) and value and all(key.isdecimal() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    return value


def _to_stripe_error(errors: list[ErrorDetails], params: Params) -> StripeError:
    # Of the members of a union that do not fit, the one that got furthest tells most.
    error = max(errors, key=lambda each: (_rank(each["type"]), len(each["loc"])))
    kind = error["type"]
    param = _param(_path_in_request(error["loc"], params, names_absent=kind == "missing"))
    if kind == "missing":
        return missing_param(param)
    if kind == "extra_forbidden":
        return StripeError(f"Received unknown parameter: {param}", "parameter_unknown", param)
    if kind == "literal_error":
        expected = error["ctx"]["expected"].replace("'", "")
        return StripeError(f"Invalid {param}: must be one of {expected}", param=param)
    expected = _KINDS.get(kind.split("_")[0], "object" if "dict" in kind or "mapping" in kind else "array")
    if error["input"] == "":
        message = f"You passed an empty string for '{param}'. It must be a valid {expected}."
        return StripeError(message, "parameter_invalid_empty", param)
    code = "parameter_invalid_integer" if expected == "integer" else None
    return StripeError(f"Invalid {expected}: {error['input']}", code, param)


def _rank(kind: str) -> int:
    return {"extra_forbidden": 3, "missing": 2}.get(kind, 1)


def _path_in_request(location: tuple[int | str, ...], params: Params, *, names_absent: bool) -> list[str]:
    """Leave out what pydantic adds to a location: the names of the members of unions."""
    path: list[str] = []
    here: Any = params
    for position, key in enumerate(location):
        is_absent = names_absent and position == len(location) - 1
        if isinstance(here, dict) and (str(key) in here or is_absent):
            here = here.get(str(key))
            path.append(str(key))
        elif isinstance(here, list) and isinstance(key, int) and key < len(here):
            here = here[key]
            path.append(str(key))
    return path


def _param(path: Iterable[str]) -> str:
    first, *rest = path
    return first + "".join(f"[{key}]" for key in rest)
