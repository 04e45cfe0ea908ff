"""Times that clients send: no route of any service reads a number as seconds since 1970."""

import inspect
import typing
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any

import pytest
from fastapi.params import Depends
from pydantic import BaseModel, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from servicekit.auth.dependencies import every_route
from testkit.contract_documents import app_of, services

# Some routes take only times that are to come.
TIME = "2126-01-31T00:00:00Z"
NUMBERS = (1769817600, 1769817600.5, -2.6e-83, True, "1769817600", "1769817600.5", "-2.6e-83")


def accepts(type_: Any, value: object) -> bool:
    """Return whether a value of a request is read as a time."""
    try:
        return isinstance(TypeAdapter(type_).validate_python(value), datetime)
    except (ValidationError, PydanticSchemaGenerationError, PydanticUserError, TypeError):
        return False


def times_in(type_: Any, name: str, seen: frozenset[Any] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Walk a type of a request for what takes a time."""
    if accepts(type_, TIME):
        yield name, type_
    elif inspect.isclass(type_) and issubclass(type_, BaseModel):
        for field, info in type_.model_fields.items() if type_ not in seen else ():
            own = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
            yield from times_in(own, f"{name}.{field}", seen | {type_})
    else:
        is_annotated = typing.get_origin(type_) is Annotated
        for argument in typing.get_args(type_)[: 1 if is_annotated else None]:
            if inspect.isclass(argument) or typing.get_origin(argument):
                yield from times_in(argument, name, seen)


def times_of(call: Callable[..., Any], name: str) -> Iterator[tuple[str, Any]]:
    """Walk the parameters of a route, and of what it depends on."""
    hints = typing.get_type_hints(call, include_extras=True)
    hints.pop("return", None)
    for parameter, type_ in hints.items():
        depends = [one for one in getattr(type_, "__metadata__", ()) if isinstance(one, Depends)]
        for one in depends:
            if inspect.isfunction(one.dependency):
                yield from times_of(one.dependency, name)
        if not depends:
            yield from times_in(type_, f"{name} {parameter}")


def times_of_service(service: str) -> dict[str, Any]:
    app = app_of(service)
    parts = (app, app.state.internal)
    routes = [route for part in parts for route in every_route(part.routes) if hasattr(route, "endpoint")]
    return {name: type_ for route in routes for name, type_ in times_of(route.endpoint, str(route.path))}


@pytest.mark.parametrize("service", services())
def test_no_time_is_a_number(service):
    times = times_of_service(service)
    assert [name for name, type_ in times.items() if any(accepts(type_, number) for number in NUMBERS)] == []


def test_finds_times_in_bodies_and_queries():
    names = times_of_service("billing-webhook")
    tenant = "/api/v1/billing/tenants/{tenant_id}"
    assert {f"{tenant}/usage usage.occurred_at", f"{tenant}/usage start"} <= names.keys()
