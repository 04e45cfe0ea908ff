"""`acme events dead` on a real Redis."""

import json
from collections.abc import Callable

import pytest
import redis
from servicekit.events.dead_letters import DELIVERIES, ENTRY, REASON, STREAM, dead_letter_stream
from starter_cli.app import app
from typer.testing import CliRunner, Result

EVENT = {"specversion": "1.0", "type": "auth.user.deleted.v1", "id": "1", "data": '{"user_id": "7"}'}
Run = Callable[..., Result]


@pytest.fixture
def run(redis_url: str) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["events", "dead", *arguments], env={"REDIS_URL": redis_url})

    return invoke


@pytest.fixture
def letter(redis_url: str) -> str:
    return add(redis_url, "notification")


def add(redis_url: str, service: str) -> str:
    about = {REASON: "RuntimeError: no connection", DELIVERIES: 5, STREAM: "events:auth", ENTRY: "1-1"}
    with redis.from_url(redis_url) as client:
        return client.xadd(dead_letter_stream(service), {**EVENT, **about}).decode()


def test_list_shows_those_of_every_service(run: Run, redis_url: str, letter: str) -> None:
    other = add(redis_url, "conversation")
    result = run("list")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[:2] for line in lines[::2]] == [["conversation", other], ["notification", letter]]
    assert lines[2].endswith("auth.user.deleted.v1  5 tries")
    assert lines[3] == "    RuntimeError: no connection"


def test_list_shows_those_of_one_service_page_by_page(run: Run, redis_url: str, letter: str) -> None:
    second = add(redis_url, "notification")
    add(redis_url, "conversation")
    first_page = run("list", "notification", "--count", "1").output
    assert letter in first_page
    assert second not in first_page
    second_page = run("list", "notification", "--after", letter).output
    assert second in second_page
    assert "conversation" not in second_page


def test_list_says_that_there_are_none(run: Run) -> None:
    assert run("list").output == "There are no dead letters.\n"


def test_show_prints_the_whole_event(run: Run, letter: str) -> None:
    letter_data = json.loads(run("show", "notification", letter).output)
    assert letter_data["event"] == {**EVENT, "data": {"user_id": "7"}}
    assert (letter_data["reason"], letter_data["deliveries"], letter_data["stream"]) == (
        "RuntimeError: no connection",
        5,
        "events:auth",
    )


def test_replay_publishes_the_event_again(run: Run, redis_url: str, letter: str) -> None:
    second = add(redis_url, "notification")
    assert run("replay", "notification", letter, second).output == f"{letter} replayed\n{second} replayed\n"
    with redis.from_url(redis_url) as client:
        published = [fields for _, fields in client.xrange("events:auth")]
    assert published == [{name.encode(): value.encode() for name, value in EVENT.items()}] * 2
    assert run("list").output == "There are no dead letters.\n"


def test_drop_deletes_it_and_publishes_nothing(run: Run, redis_url: str, letter: str) -> None:
    assert run("drop", "notification", letter).output == f"{letter} dropped\n"
    with redis.from_url(redis_url) as client:
        assert not client.xlen(dead_letter_stream("notification"))
        assert not client.exists("events:auth")


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
def test_an_unknown_id_is_reported_and_changes_nothing(run: Run, letter: str, command: str) -> None:
    result = run(command, "notification", "1-1")
    assert result.exit_code == 1
    assert "notification has no dead letter with this id" in result.output
    assert letter in run("list").output


def test_an_unknown_service_is_reported(run: Run) -> None:
    result = run("list", "notifications")
    assert result.exit_code == 1
    assert "there is no service notifications; choose one of auth," in result.output


def test_a_redis_that_cannot_be_reached_is_reported() -> None:
    url = {"REDIS_URL": "redis://127.0.0.1:1"}
    result = CliRunner().invoke(app, ["events", "dead", "list"], env=url)
    assert result.exit_code == 1
    assert "Redis: it cannot be used" in result.output
