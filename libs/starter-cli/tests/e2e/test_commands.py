"""The commands beside `start`, at a stack that runs."""

import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from servicekit.events.dead_letters import DELIVERIES, REASON, STREAM, dead_letter_stream
from starter_cli import status
from starter_cli.ports import HOST, PortBlock
from starter_cli.stack import Stack

from .conftest import PASSWORD, Acme, Person, until


def states(acme: Acme, stack: Stack) -> tuple[int, dict[str, str]]:
    """Return the exit code of `status`, and the last word that it shows of each component."""
    result = acme("status", "--data", stack.data_dir.root)
    table = result.stdout.split("\n\n")[0].splitlines()[1:]
    return result.returncode, {line.split()[0]: line.split()[-1] for line in table}


def test_status_shows_every_part(acme: Acme, stack: Stack) -> None:
    parts = ["postgres", "valkey", "sandbox", "auth", "conversation", "chat-agent", "chat-agent-2"]
    expected = dict.fromkeys([*parts, "billing-webhook", "notification", "gateway"], "ok")
    # Of a machine that stood still meanwhile, a part is not ready at that moment.
    until(lambda: states(acme, stack) == (0, expected))
    places = acme("status", "--data", stack.data_dir.root).stdout.split("\n\n")[1]
    assert f"inbox     {stack.inbox_url}" in places
    assert f"sign in   {stack.owner.email}  {stack.owner.password}" in places


def test_status_shows_a_part_that_is_gone(acme: Acme, stack: Stack) -> None:
    def missing() -> tuple[int, list[str]]:
        code, shown = states(acme, stack)
        return code, [name for name, state in shown.items() if state != "ok"]

    with stack.stopped("notification"):
        until(lambda: missing() == (1, ["notification"]))


def test_status_names_what_a_part_waits_for(acme: Acme, stack: Stack) -> None:
    with stack.stopped("postgres"):
        result = acme("status", "--data", stack.data_dir.root)
        assert status.problems(stack.data_dir).keys() >= {"auth", "conversation"}
    assert result.returncode == 1
    assert re.search(r"^conversation .* not ready: .*(database|postgres)", result.stdout, re.MULTILINE)


def test_status_of_nothing_says_so(acme: Acme, tmp_path: Path) -> None:
    result = acme("status", "--data", tmp_path)
    assert result.returncode == 1
    assert f"does not run on {tmp_path}" in result.stdout


def test_events_of_stripe_are_listed_and_replayed_as_the_running_stack_would(
    acme: Acme, stack: Stack
) -> None:
    result = acme("stripe", "dispatches", "list", "--status", "failed", "--data", stack.data_dir.root)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    result = acme("stripe", "dispatches", "replay", "--status", "failed", "--data", stack.data_dir.root)
    assert (result.returncode, result.stderr) == (1, "No dispatch matches.\n")


def test_dead_letters_of_the_running_stack_are_listed_and_dropped(acme: Acme, stack: Stack) -> None:
    fields = {"type": "auth.user.deleted.v1", REASON: "no handler", DELIVERIES: 5, STREAM: "events:auth"}
    with redis.from_url(stack.layout.valkey.url) as client:
        letter = client.xadd(dead_letter_stream("notification"), fields).decode()
    listed = acme("events", "dead", "list", "notification", "--data", stack.data_dir.root)
    assert letter in listed.stdout, listed.stdout
    dropped = acme("events", "dead", "drop", "notification", letter, "--data", stack.data_dir.root)
    assert dropped.stdout == f"{letter} dropped\n"


def test_somebody_made_by_hand_can_sign_in(acme: Acme, stack: Stack, someone: Callable[[], Person]) -> None:
    names = ("--email", "viewer@example.com", "--tenant-slug", "by-hand", "--role", "viewer")
    for _ in range(2):
        result = acme("users", "seed", *names, "--password", PASSWORD, "--data", stack.data_dir.root)
        assert result.returncode == 0, result.stdout + result.stderr
    person = someone()
    assert person.sign_in("viewer@example.com", PASSWORD).status_code == 200
    assert person.http.get("/api/v1/conversations").status_code == 200
    assert person.http.post("/api/v1/conversations", json={}).status_code == 403


@pytest.fixture(scope="module")
def boss(acme: Acme, stack: Stack) -> tuple[object, ...]:
    """Seed the only owner of a tenant, and return the options that name them."""
    names = ("--email", "boss@example.com", "--tenant-slug", "of-the-boss", "--data", stack.data_dir.root)
    made = acme("users", "seed", *names, "--role", "owner", "--password", PASSWORD)
    assert made.returncode == 0, made.stdout
    return names


@pytest.mark.parametrize(
    ("options", "password", "sentence"),
    [
        ((), "short", "at least 15 characters"),
        (("--role", "admin"), PASSWORD, "repeat the command with --update"),
        (("--update", "--role", "admin"), PASSWORD, "last owner"),
    ],
)
def test_seeding_somebody_says_in_one_sentence_why_it_does_not(
    acme: Acme, boss: tuple[object, ...], options: tuple[str, ...], password: str, sentence: str
) -> None:
    result = acme("users", "seed", *boss, *options, "--password", password)
    assert result.returncode == 1
    assert result.stdout.startswith("✗ users seed: ")
    assert sentence in result.stdout


def test_a_command_runs_with_the_settings_of_the_service_that_runs(acme: Acme, stack: Stack) -> None:
    show = "import os; print(os.environ['PORT'], os.environ['RUN_LEASE_SECONDS'], os.getcwd())"
    result = acme("exec", "--data", stack.data_dir.root, "chat-agent", "--", "python", "-c", show)
    assert result.returncode == 0, result.stdout + result.stderr
    port, lease, folder = result.stdout.split(maxsplit=2)
    assert (port, lease) == (str(stack.layout.ports["chat-agent"]), "4")
    assert folder.strip().endswith("services/chat-agent")


def test_a_command_of_a_service_that_is_down_runs_all_the_same(acme: Acme, stack: Stack) -> None:
    with stack.stopped("auth"):
        result = acme(
            "exec", "--data", stack.data_dir.root, "auth", "--", "python", "-m", "auth", "keys", "list"
        )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "active" in result.stdout


def test_a_command_of_no_service_is_refused(acme: Acme, stack: Stack) -> None:
    result = acme("exec", "--data", stack.data_dir.root, "nobody", "--", "true")
    assert result.returncode == 1
    assert "there is no service nobody; choose one of auth, " in result.stdout


def test_a_copied_folder_does_not_run(acme: Acme, stack: Stack, tmp_path: Path) -> None:
    for file in ("run.json", "lock", "secrets.json"):
        shutil.copy(stack.data_dir.root / file, tmp_path)
    result = acme("status", "--data", tmp_path)
    assert result.returncode == 1
    assert f"does not run on {tmp_path}" in result.stdout


def test_doctor_finds_nothing_wrong_here(acme: Acme, tmp_path: Path) -> None:
    block = PortBlock(["gateway"])
    result = acme("doctor", "--data", tmp_path, "--port", block.ports["gateway"])
    block.release()
    assert result.returncode == 0, result.stdout
    assert "✗" not in result.stdout


def test_doctor_finds_a_taken_port(acme: Acme, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as somebody:
        result = acme("doctor", "--data", tmp_path, "--port", somebody.getsockname()[1])
    assert result.returncode == 1
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("✗")] == ["gateway's"]
