"""Every member declares what it imports: an image has nothing but what a service declares."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
MEMBERS = sorted(path.parent for path in ROOT.glob("services/*/pyproject.toml"))
# Pydantic imports it when a model has such a field.
EMAIL_TYPES = {"EmailStr", "NameEmail"}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(
    requirements: list[str], known: set[tuple[str, frozenset[str]]]
) -> set[tuple[str, frozenset[str]]]:
    """Return the distributions that are installed with these, each with its extras."""
    for text in requirements:
        requirement = Requirement(text)
        entry = (normalized(requirement.name), frozenset(requirement.extras))
        extras = [*requirement.extras, ""]
        if entry in known:
            continue
        known.add(entry)
        needed = [Requirement(each) for each in distribution(requirement.name).requires or []]
        used = [
            str(each)
            for each in needed
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        ]
        declared(used, known)
    return known


def imported(package: Path) -> Iterator[str]:
    """Yield the distributions that the modules of a package import."""
    owners = packages_distributions()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
                if EMAIL_TYPES & {alias.name for alias in node.names}:
                    yield "email-validator"
            for name in names:
                yield from map(normalized, owners.get(name.partition(".")[0], [])[:1])


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_service_declares_what_it_imports(member: Path) -> None:
    project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    available = {name for name, _ in declared(project["dependencies"], set())} | {normalized(project["name"])}
    assert set(imported(member / member.name.replace("-", "_"))) - available == set()
