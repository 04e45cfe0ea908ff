"""Who may import whom: a service only servicekit, never another service; a library no service at all.

And all of them only what they declare: an image has nothing but what its member's pyproject.toml names.
"""

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from testkit.contract_documents import services
from testkit.pacts import ROOT

SERVICES = {service.replace("-", "_") for service in services()}
LIBRARIES = {path.parent.name for path in ROOT.glob("libs/*/*/__init__.py")}
FOLDERS = {
    tomllib.loads(project.read_text())["project"]["name"]: project.parent
    for project in ROOT.glob("libs/*/pyproject.toml")
}
PACKAGES = sorted(
    path.parent for path in ROOT.glob("*/*/*/__init__.py") if path.parts[-4] in {"libs", "services"}
)


def imported(package: Path) -> set[str]:
    """Return the packages that a package imports, itself left out."""
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


def declared(package: Path) -> set[str]:
    """Return the distributions that a package requires, and those that what it shares requires."""
    project = tomllib.loads((package.parent / "pyproject.toml").read_text())["project"]
    names = {canonicalize_name(Requirement(one).name) for one in project["dependencies"]}
    return names.union(*(declared(FOLDERS[name] / "package") for name in names & FOLDERS.keys()))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_imports_only_what_it_declares(package):
    made_by = importlib.metadata.packages_distributions()
    foreign = imported(package) - SERVICES - LIBRARIES - set(sys.stdlib_module_names)
    known = declared(package)

    undeclared = {
        name for name in foreign if known.isdisjoint(canonicalize_name(one) for one in made_by.get(name, []))
    }
    assert undeclared == set()


@pytest.mark.parametrize(
    "service",
    sorted(path.parent.parent for path in ROOT.glob("services/*/migrations/env.py")),
    ids=lambda path: path.name,
)
def test_the_migrations_of_a_service_are_one_chain(service):
    scripts = [ast.parse(file.read_text()) for file in sorted(service.glob("migrations/versions/*.py"))]
    revisions = [(constant(script, "revision"), constant(script, "down_revision")) for script in scripts]
    names = [name for name, _ in revisions]
    assert [before for _, before in revisions] == [None, *names[:-1]]


def constant(script, name):
    """Return what a script assigns to a name."""
    assigned = {
        target.id: node.value
        for node in script.body
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    return ast.literal_eval(assigned[name])


def test_decisions_are_numbered_one_after_the_other():
    files = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert numbers == list(range(numbers[0], numbers[0] + len(files)))
    assert [int(file.read_text().split()[1].rstrip(".")) for file in files] == numbers
