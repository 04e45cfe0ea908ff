"""The operator's commands for events of Stripe: list them, and process them again."""

import asyncio
import json
import re
import shlex
import subprocess
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from billing_webhook.cli import main

from .stripe_api import DISPATCHES, with_stripe
from .stripe_objects import a_subscription

ROOT = Path(__file__).resolve().parents[3]
RUNBOOKS = [ROOT / "docs" / "billing" / name for name in ("replay.md", "stripe-setup.md")]


def documented(pattern):
    """Return the commands of the runbooks that begin so, without their comments."""
    text = "\n".join(page.read_text() for page in RUNBOOKS)
    return [found.partition("#")[0].strip() for found in re.findall(pattern, text)]


@pytest.fixture(scope="module")
def settings(settings, stripe_server):
    return with_stripe(settings, stripe_server)


@pytest.fixture
def run_stripe(settings, monkeypatch, capsys):
    """Run a command as an operator does, and return its exit code and what it prints."""
    for name in ("database_url", "redis_url", "stripe_secret_key", "stripe_webhook_secret"):
        monkeypatch.setenv(name.upper(), getattr(settings, name).get_secret_value())
    for name in ("auth_issuer", "auth_jwks_url", "stripe_api_base"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.setenv("DEBUG", "true")

    async def run(*words):
        code = await asyncio.to_thread(main, ["stripe", *words])
        printed = capsys.readouterr()
        return code, (printed.out + printed.err).strip()

    return run


@pytest.fixture
def run(run_stripe):
    return partial(run_stripe, "dispatches")


@pytest.fixture
async def failed(api, customer, post_event, make_event, settled):
    """A dispatch that Stripe has refused."""
    api.has(a_subscription())
    api.failures.append((400, {}))
    await post_event(make_event(id="evt_refused"))
    [dispatch] = await settled("dead")
    return dispatch


async def test_lists_what_has_failed_and_why(run, failed):
    code, printed = await run("list", "--handler", "billing_sync", "--status", "dead")
    assert code == 0
    for part in (
        failed.id,
        "dead",
        "billing_sync",
        "customer.subscription.updated",
        "evt_refused",
        "attempts 1",
    ):
        assert str(part) in printed
    assert "InvalidRequestError: status 400" in printed


@pytest.mark.parametrize(
    ("words", "is_listed"),
    [
        (["--type", "customer.subscription.updated"], True),
        (["--type", "invoice.paid"], False),
        (["--event-id", "evt_refused"], True),
        (["--event-id", "evt_other"], False),
        (["--status", "failed"], False),
        (["--handler", "entitlements"], False),
        (["--since", "2026-01-01", "--until", "2999-01-01"], True),
        (["--since", "2999-01-01"], False),
        (["--tenant", str(uuid4())], False),
    ],
)
async def test_lists_only_what_a_filter_selects(run, failed, words, is_listed):
    code, printed = await run("list", "--json", *words)
    ids = [json.loads(line)["id"] for line in printed.splitlines()]
    assert (code, ids) == (0, [str(failed.id)] if is_listed else [])


async def test_replays_one_and_records_who_and_why(run, failed, rows):
    words = ("replay", "--dispatch-id", str(failed.id), "--reason", "key was wrong", "--operator", "ann")
    code, printed = await run(*words)
    assert (code, "completed" in printed) == (0, True)
    [row] = await rows(DISPATCHES)
    assert (row.status, row.replayed_by, row.replay_reason) == ("completed", "ann", "key was wrong")


async def test_shows_what_would_run_and_changes_nothing(run, failed, rows):
    code, printed = await run("replay", "--dispatch-id", str(failed.id), "--dry-run")
    assert (code, printed.startswith(f"would replay {failed.id}")) == (0, True)
    assert [row.status for row in await rows(DISPATCHES)] == ["dead"]


async def test_replays_what_was_completed_only_by_force_and_without_a_second_effect(
    run, api, customer, post_event, make_event, settled, rows
):
    api.has(a_subscription())
    await post_event(make_event())
    [done] = await settled("completed")
    published = await rows("select id from billing_events")
    code, printed = await run("replay", "--dispatch-id", str(done.id))
    assert (code, printed) == (1, "A selected dispatch is completed. Process it again with --force.")
    code, printed = await run("replay", "--dispatch-id", str(done.id), "--force")
    assert (code, "completed" in printed) == (0, True)
    [again] = await rows(DISPATCHES)
    assert again.completed_at > done.completed_at
    assert await rows("select id from billing_events") == published


async def test_processes_an_event_whose_type_had_no_handler_when_it_came(
    run, api, customer, post_event, make_event, execute, rows
):
    api.has(a_subscription())
    await post_event(make_event("from.the_future", id="evt_early"))
    await execute(
        "update stripe_events set payload = convert_to(replace(convert_from(payload, 'UTF8'),"
        " 'from.the_future', 'customer.subscription.updated'), 'UTF8')"
    )
    code, _ = await run("replay", "--event-id", "evt_early")
    assert (code, [row.status for row in await rows(DISPATCHES)]) == (0, ["completed"])


async def test_says_what_is_wrong(run, failed):
    assert await run("replay", "--dispatch-id", str(uuid4())) == (1, "No dispatch matches.")
    code, printed = await run("replay")
    assert (code, "Use --dispatch-id" in printed) == (2, True)
    code, printed = await run("replay", "--event-id", "evt_unknown")
    assert (code, printed) == (1, "The event evt_unknown is not stored, or past its retention.")


async def test_validates_fixtures(run, tmp_path):
    assert await run("validate-fixtures", str(tmp_path)) == (1, f"There are no fixtures in {tmp_path}.")
    (tmp_path / "a.json").write_text("{}")
    assert await run("validate-fixtures", str(tmp_path)) == (1, "a.json: is not an event")


async def test_every_command_of_the_runbooks_does_what_they_say(
    run_stripe, api, failed, execute, post_event, make_event
):
    api.lists["/v1/subscriptions"] = [a_subscription().to_dict()]
    commands = documented(r"(?m)^acme stripe (.+)$")
    commands += [f"dispatches {words}" for words in documented(r'make stripe-replay args="([^"]+)"')]
    assert len(commands) >= 9
    for command in commands:
        await execute("update stripe_dispatches set status = 'dead', next_attempt_at = null")
        words = command.replace("7ad7c7bc-…", str(failed.id)).replace("evt_…", failed.event_id)
        code, printed = await run_stripe(*shlex.split(words), *(["--yes"] if "replay" in words else []))
        assert code == 0, (command, printed)


@pytest.mark.parametrize("command", documented(r"`?(make [a-z-]*stripe[^`\n]*)"))
def test_every_target_of_the_runbooks_is_there(command):
    subprocess.run([*shlex.split(command), "-n"], check=True, cwd=ROOT, capture_output=True)
