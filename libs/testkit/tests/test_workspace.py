"""Who may import whom: a service only servicekit, never another service; a library no service at all."""

import ast
from pathlib import Path

import pytest
from testkit.documents import services
from testkit.pacts import ROOT

SERVICES = {service.replace("-", "_") for service in services()}
LIBRARIES = {path.parent.name for path in ROOT.glob("libs/*/*/__init__.py")}
PACKAGES = sorted(
    path.parent for path in ROOT.glob("*/*/*/__init__.py") if path.parts[-4] in {"libs", "services"}
)


def imported(package: Path) -> set[str]:
    """Give the packages that a package imports, itself left out."""
    found: set[str] = set()
    for source in package.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - {package.name}


def test_all_members_are_looked_at():
    assert {"auth", "conversation", "chat_agent", "billing_webhook", "notification"} == SERVICES
    assert {package.name for package in PACKAGES} == SERVICES | LIBRARIES


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_imports_none_that_it_may_not(package):
    ours = imported(package) & (SERVICES | LIBRARIES)

    allowed = {"servicekit"} if package.name in SERVICES else LIBRARIES
    assert ours <= allowed
