"""No amount is a float: in the source, in the tables, in the documents of the API and of the events."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from billing_webhook import models
from billing_webhook.main import create_app
from sqlalchemy import Double, Float, Numeric

SERVICE = Path(__file__).parents[1]
PACKAGE = SERVICE / "billing_webhook"
# Floats are times: what is slept, waited for, measured or limited, and the steps of workers.
TIME = re.compile(
    r"secs|second|time|wait|pause|lag|age|oldest|_at$|step|poll|retry|backoff|grace|every|delay|deadline",
    re.I,
)
# Of times only: of when dispatches are due.
OF_TIMES = {PACKAGE / "stripe_events" / "queue.py"}


def floats(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find the floats of a module: where, and the names that they stand for."""
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign(target=target, annotation=annotation) if has_float(annotation):
                yield node.lineno, ast.unparse(target)
            case ast.Assign(targets=targets, value=value) if has_float(value):
                yield node.lineno, " ".join(map(ast.unparse, targets))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from floats_of_function(node)
            case ast.Call(func=ast.Name(id="float")):
                yield node.lineno, ast.unparse(node)


def floats_of_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    for each in arguments:
        if each.annotation is not None and has_float(each.annotation):
            yield node.lineno, each.arg
    if node.returns is not None and has_float(node.returns):
        yield node.lineno, node.name
    if any(
        default is not None and has_float(default) for default in node.args.defaults + node.args.kw_defaults
    ):
        yield node.lineno, " ".join(each.arg for each in arguments)


def has_float(node: ast.AST) -> bool:
    return any(
        (isinstance(each, ast.Name) and each.id == "float")
        or (isinstance(each, ast.Constant) and isinstance(each.value, float))
        for each in ast.walk(node)
    )


@pytest.mark.parametrize(
    "path", sorted({*PACKAGE.rglob("*.py")} - OF_TIMES), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_floats_are_times(path):
    found = [(line, name) for line, name in floats(ast.parse(path.read_text())) if not TIME.search(name)]
    assert found == []


@pytest.mark.parametrize(
    "source",
    ["amount: float", "def f(price: float): ...", "LIMIT = 0.1", "def f() -> float: ...", "float(x)"],
)
def test_a_float_is_found(source):
    assert [name for _, name in floats(ast.parse(source)) if not TIME.search(name)]


def test_no_column_is_a_float():
    for table in models.Base.metadata.tables.values():
        for column in table.columns:
            inexact = isinstance(column.type, Float | Double) or (
                isinstance(column.type, Numeric) and not column.type.asdecimal
            )
            assert not inexact, column


def numbers(schema: object, place: str = "") -> Iterator[str]:
    """Find where a document has a number that need not be an integer."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            yield place
        for name, value in schema.items():
            yield from numbers(value, f"{place}/{name}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from numbers(value, f"{place}/{index}")


def test_documents_have_integers_and_texts_for_amounts(settings):
    app = create_app(settings)
    events = [json.loads(path.read_text()) for path in (SERVICE / "contract" / "events").glob("*.json")]
    assert len(events) > 3
    for document in (app.openapi(), app.state.internal.openapi(), *events):
        assert [*numbers(document)] == []
