"""The rules of the tree: who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVICES = {path.parent.name for path in ROOT.glob("services/*/*/__init__.py")}
# What tests, the runner and the stand-ins for the outside world are made of never goes into a service.
NOT_FOR_SERVICES = SERVICES | {"testkit", "sandbox", "starter_cli", "acme_evals"}


def imports(package: Path) -> Iterator[tuple[Path, str]]:
    """Return every module of a package with the top-level names that it imports."""
    for module in package.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name.partition(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield module, node.module.partition(".")[0]


def test_the_five_services_are_there() -> None:
    assert {"auth", "billing_webhook", "chat_agent", "conversation", "notification"} == SERVICES


@pytest.mark.parametrize(
    "package", sorted(ROOT.glob("services/*/*/__init__.py")), ids=lambda path: path.parent.name
)
def test_a_service_imports_the_kit_and_itself(package: Path) -> None:
    own = package.parent.name
    assert [(path, name) for path, name in imports(package.parent) if name in NOT_FOR_SERVICES - {own}] == []


@pytest.mark.parametrize(
    "package", sorted(ROOT.glob("libs/*/*/__init__.py")), ids=lambda path: path.parent.name
)
def test_a_library_imports_no_service(package: Path) -> None:
    assert [(path, name) for path, name in imports(package.parent) if name in SERVICES] == []
