"""What commands say when they cannot do their work: a sentence that says what to do, and no traceback."""

import re
from pathlib import Path

import pytest
from acme_evals.cli import app as evals
from starter_cli.app import app as acme
from typer.testing import CliRunner

# Nothing listens there.
CLOSED = "http://127.0.0.1:9"
APPLY = ("agents", "apply", "--yes", "--file", "agents.yaml")
EVALUATE = ("run", "cases.yaml")
CLASS_NAME = re.compile(r"\b[A-Z]\w*[a-z](Error|Exception|Timeout|Protocol|URL)\b|Errno")
AGENTS: dict[tuple[str, ...], str] = {
    (
        "--url",
        CLOSED,
    ): "ACME_URL is set and ACME_TOKEN is not: set both, or for the stack on this machine neither",
    (
        "--token",
        "x",
    ): "ACME_TOKEN is set and ACME_URL is not: set both, or for the stack on this machine neither",
    ("--url", CLOSED, "--token", "acme_ak_…"): "ACME_TOKEN has characters that no token has; copy the token",
    ("--url", CLOSED, "--token", "x"): f"{CLOSED} does not answer: ",
    ("--url", "127.0.0.1:9", "--token", "x"): "127.0.0.1:9 is not an address; write one like https://",
    ("--url", "http://[::1", "--token", "x"): "http://[::1 is not an address; write one like https://",
    (): "start it with `acme start`, or name its folder with --data",
}
CASES: dict[tuple[str, ...], str] = {
    (): "Set ACME_TOKEN to an API key, or pass it with --token.",
    ("--token", "acme_ak_…"): "ACME_TOKEN has characters that no token has. Copy the token again.",
    ("--token", "x", "--url", CLOSED): "Check --url, and that Acme runs there.",
    ("--token", "x", "--url", "127.0.0.1:9"): "Check --url, and that Acme runs there.",
    ("--token", "x", "--url", "http://[::1"): "Check --url, and that Acme runs there.",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agents.yaml").write_text("agents: []\n")
    (tmp_path / "cases.yaml").write_text("cases: [{inputs: x}]\n")
    monkeypatch.chdir(tmp_path)
    for name in ("ACME_URL", "ACME_TOKEN", "ACME_EMAIL", "ACME_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACME_DATA", str(tmp_path / "data"))


@pytest.mark.parametrize("options", AGENTS)
@pytest.mark.parametrize("command", [APPLY, ("agents", "export"), ("agents", "delete", "--yes", "support")])
def test_commands_of_agents_say_what_to_do(command: tuple[str, ...], options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(acme, [*command, *options])
    assert (type(result.exception), result.exit_code) == (SystemExit, 1), result.output
    assert result.stdout.startswith(f"✗ {command[0]} {command[1]}: " if options else "✗ Acme: ")
    assert AGENTS[options] in result.stdout
    assert not CLASS_NAME.search(result.stdout)


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("command", [EVALUATE, ("add-feedback", "cases.yaml", "--run", "x")])
def test_commands_of_evaluations_say_what_to_do(command: tuple[str, ...], options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(evals, [*command, *options])
    assert (type(result.exception), result.exit_code) == (SystemExit, 2), result.output
    assert CASES[options] in result.stderr
    assert not CLASS_NAME.search(result.stderr)


def test_a_folder_that_is_not_there_is_bad_input() -> None:
    result = CliRunner().invoke(evals, ["schema", "nowhere/cases.yaml"])
    assert (result.exit_code, result.stderr) == (
        2,
        "nowhere/cases_schema.json: cannot be written: No such file or directory\n",
    )
