"""One option for one thing: across all commands of `acme` and of the evaluations."""

from collections import defaultdict
from collections.abc import Iterator

import pytest
import typer
from acme_evals.cli import app as evals
from starter_cli.app import app as acme
from typer.main import get_command

# The name that we use, and what others call the same thing.
SYNONYMS = {
    "--token": ("--key", "--api-key", "--access-token", "--bearer"),
    "--url": ("--gateway", "--base-url", "--address", "--host", "--server", "--endpoint"),
    "--data": ("--data-dir", "--data-folder", "--acme-data"),
    "--email": ("--mail", "--user", "--username"),
    "--yes": ("--force", "--assume-yes", "--no-input"),
    "--timeout": ("--seconds", "--deadline"),
}


def options(app: typer.Typer, name: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield the options of all commands: that command, the option's name, and its variable."""

    def walk(command: object, path: str) -> Iterator[tuple[str, str, str | None]]:
        for child, below in getattr(command, "commands", {}).items():
            yield from walk(below, f"{path} {child}")
        for parameter in getattr(command, "params", []):
            if parameter.param_type_name == "option":
                long = [one for one in parameter.opts if one.startswith("--")]
                yield from ((path, one, parameter.envvar) for one in long)

    yield from walk(get_command(app), name)


@pytest.fixture(scope="module")
def all_options() -> list[tuple[str, str, str | None]]:
    found = [*options(acme, "acme"), *options(evals, "acme evals")]
    # The walk reaches both, and commands within commands.
    assert {"acme agents export", "acme evals run"} <= {command for command, _, _ in found}
    return found


def test_no_option_is_a_synonym_of_another(all_options: list[tuple[str, str, str | None]]) -> None:
    ours = {other: name for name, others in SYNONYMS.items() for other in others}
    assert {(command, option): ours[option] for command, option, _ in all_options if option in ours} == {}


def test_an_option_and_its_variable_belong_together(all_options: list[tuple[str, str, str | None]]) -> None:
    names, variables = defaultdict(set), defaultdict(set)
    for _, option, variable in all_options:
        if variable:
            names[variable].add(option)
            variables[option].add(variable)
    assert {name: found for name, found in [*names.items(), *variables.items()] if len(found) > 1} == {}
