"""What the commands of services say where they cannot use their database: a sentence, and what to do."""

import pytest
from alembic import command
from sandbox.embedded import free_port
from sqlalchemy import URL, make_url
from testkit.contract_documents import module
from testkit.databases import Databases
from testkit.pacts import ROOT
from testkit.production import production_settings

COMMANDS = {
    "auth": ["tenants", "list"],
    "billing-webhook": ["stripe", "dispatches", "list"],
}
REFUSED = "The database refuses the connection: "
# By what is changed in the address of an empty database.
PROBLEMS = {
    "port": "The database does not answer: ",
    "host": "The database does not answer: ",
    "database": REFUSED,
    "username": REFUSED,
    "": "The database does not have all tables. ",
}
WRONG = {"host": "postgres.invalid", "database": "nowhere", "username": "somebody"}


def changed(url: URL, part: str) -> str:
    """Return an address of which a part is wrong."""
    if part == "port":
        url = url.set(port=free_port())
    elif part:
        url = url.set(**{part: WRONG[part]})
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_says_why_it_cannot_use_its_database(
    service: str,
    problem: str,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = changed(make_url(databases.fresh("empty")), problem)
    for name, value in {**production_settings(service), "DATABASE_URL": address}.items():
        monkeypatch.setenv(name, value)
    code = module(service, "cli").main(COMMANDS[service])
    [line] = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.startswith(PROBLEMS[problem])
    assert line.endswith(".")


def test_migrations_say_why_they_cannot_use_their_database(
    databases: Databases, capsys: pytest.CaptureFixture[str]
) -> None:
    url = changed(make_url(databases.fresh("empty")), "port")
    with pytest.raises(SystemExit, match="1"):
        databases.alembic(ROOT / "services" / "auth", url, lambda config: command.upgrade(config, "head"))
    assert capsys.readouterr().err.startswith("The database does not answer: ")
