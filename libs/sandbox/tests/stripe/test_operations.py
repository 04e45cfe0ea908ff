"""The operations agree with the SDK that is installed."""

import pytest
from pydantic import TypeAdapter
from sandbox.stripe.app import create_stripe
from sandbox.stripe.operations import Operation
from sandbox.stripe.params import parameter_type

OPERATIONS = [each for found in create_stripe().state.api.operations.by_shape.values() for each in found]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
def test_its_parameters_are_in_the_sdk(operation: Operation) -> None:
    known = TypeAdapter(parameter_type(operation.params)).json_schema().get("properties", {})
    supported = {path.split(".")[0] for path in (operation.supported or "").split()}
    assert supported <= known.keys()


def test_no_operation_hides_another() -> None:
    places = [(each.method, each.path) for each in OPERATIONS]
    assert len(places) == len(set(places)) > 90
