"""Which runs there were, and what they have used: one's own, or all of a tenant."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from servicekit.schemas import encode_cursor
from testkit.databases import query
from testkit.live_server import serving

from .client_helpers import RUNS, cancel_run, error_of, start_run, start_streaming_run, wait_until_finished

Person = Callable[..., httpx.Client]
TOTALS = f"{RUNS}/totals"
# All in one transaction, and so all with the same created_at.
MANY = """
insert into runs (id, tenant_id, user_id, conversation_id, agent, model, message, status)
select gen_random_uuid(), $1, $2, gen_random_uuid(), 'triage', 'sandbox-large', 'Hi', 'queued'
from generate_series(1, $3::int)
"""
PRICES = {"sandbox-large": {"input": 3_000_000, "cached": 1_000_000, "output": 7_000_000}}


def listed(client: httpx.Client, **query: Any) -> list[str]:
    answer = client.get(RUNS, params=query)
    assert answer.status_code == 200, answer.text
    return [run["id"] for run in answer.json()["items"]]


def done(client: httpx.Client, message: str = "Hello", **more: Any) -> dict[str, Any]:
    return wait_until_finished(client, start_run(client, message, **more))


def test_the_newest_run_comes_first(ann: httpx.Client) -> None:
    runs = [done(ann)["id"] for _ in range(3)]
    assert listed(ann) == runs[::-1]


def test_a_list_has_the_usage_of_a_run_and_no_content(ann: httpx.Client) -> None:
    run = done(ann)
    (displayed,) = ann.get(RUNS).json()["items"]
    assert (displayed["status"], displayed["usage"], displayed["duration_ms"]) == (
        "completed",
        run["usage"],
        run["duration_ms"],
    )
    assert not {"message", "output"} & set(displayed)


def test_pages_leave_nothing_out_and_show_nothing_twice(person: Person, settings: Settings) -> None:
    tenant, subject = uuid4(), f"user:{uuid4()}"
    query(settings.database_url.get_secret_value(), MANY, tenant, subject, 230)
    ann, seen, cursor = person(tenant_id=tenant, subject=subject), [], {}
    while True:
        page = ann.get(RUNS, params={"limit": 100, **cursor}).json()
        seen += [run["id"] for run in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen)) == 230


def test_a_new_run_does_not_shift_the_pages(ann: httpx.Client) -> None:
    first, second = done(ann)["id"], done(ann)["id"]
    page = ann.get(RUNS, params={"limit": 1}).json()
    done(ann)
    assert [run["id"] for run in page["items"]] == [second]
    assert listed(ann, cursor=page["next_cursor"]) == [first]


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%%%",
        encode_cursor(1, 2),
        encode_cursor("2026-01-01T00:00:00+00:00"),
        encode_cursor("yesterday", str(UUID(int=0))),
        encode_cursor("2026-01-01T00:00:00", str(UUID(int=0))),
        encode_cursor("0001-01-01T00:00:00+14:00", str(UUID(int=0))),
        encode_cursor("2026-01-01T00:00:00+00:00", "mine"),
        encode_cursor("2026-01-01T00:00:00+00:00\x00", str(UUID(int=0))),
    ],
)
def test_a_made_up_cursor_is_refused(ann: httpx.Client, cursor: str) -> None:
    assert error_of(ann.get(RUNS, params={"cursor": cursor})) == (400, "invalid_cursor")


def test_a_list_can_be_narrowed(ann: httpx.Client) -> None:
    completed, by_analyst = done(ann), done(ann, agent_type="data_analyst")
    failed = done(ann, "Hello [sandbox: error=400]")
    cancelled = start_streaming_run(ann)
    cancel_run(ann, cancelled)
    wait_until_finished(ann, cancelled)
    assert listed(ann, conversation_id=by_analyst["conversation_id"]) == [by_analyst["id"]]
    assert listed(ann, agent="data_analyst") == [by_analyst["id"]]
    assert listed(ann, status="failed") == [failed["id"]]
    assert listed(ann, status="cancelled") == [cancelled["id"]]
    assert listed(ann, status="completed", agent="triage") == [completed["id"]]
    assert listed(ann, status=["cancelled", "failed"]) == [cancelled["id"], failed["id"]]
    assert listed(ann, since=failed["created_at"]) == [cancelled["id"], failed["id"]]
    assert listed(ann, until=failed["created_at"]) == [by_analyst["id"], completed["id"]]
    assert listed(ann, since=failed["created_at"], until=failed["created_at"]) == []


@pytest.mark.parametrize(
    "query",
    [
        {"status": "done"},
        {"status": ["failed", "done"]},
        {"status": ["failed"] * 7},
        {"conversation_id": "mine"},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-14:00"},
        {"until": "-905"},
        {"until": "1767225600"},
        {"scope": "everybody"},
        {"limit": 0},
        {"limit": 101},
        {"agent": "x" * 65},
        {"agent": "nul\x00"},
        {"user_id": "nul\x00"},
        {"colour": "red"},
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(ann: httpx.Client, query: dict[str, Any]) -> None:
    assert error_of(ann.get(RUNS, params=query)) == (422, "invalid_request")


def test_who_manages_a_tenant_sees_the_runs_of_all_its_people(person: Person) -> None:
    tenant = uuid4()
    ann, bob = (person(tenant_id=tenant, subject=f"user:{uuid4()}") for _ in range(2))
    of_ann, of_bob, of_stranger = done(ann), done(bob), done(person(tenant_id=uuid4()))
    for role in ("admin", "owner"):
        manager = person(tenant_id=tenant, role=role)
        assert listed(manager, scope="tenant") == [of_bob["id"], of_ann["id"]]
        assert listed(manager, scope="tenant", user_id=of_ann["user_id"]) == [of_ann["id"]]
        assert listed(manager) == []
        assert listed(manager, scope="tenant", conversation_id=of_stranger["conversation_id"]) == []
        assert listed(manager, scope="tenant", user_id=of_stranger["user_id"]) == []


@pytest.mark.parametrize("role", ["viewer", "member"])
@pytest.mark.parametrize("path", [RUNS, TOTALS])
def test_others_see_only_their_own(person: Person, role: str, path: str) -> None:
    colleague = person(role=role)
    done(person())
    answer = colleague.get(path, params={"scope": "tenant"})
    assert error_of(answer) == (403, "tenant_runs_forbidden")
    mine = colleague.get(path).json()
    assert mine == ([] if path == TOTALS else {"items": [], "next_cursor": None})


@pytest.fixture(scope="module")
def priced_url(settings: Settings) -> Any:
    prices = Settings.model_validate({**settings.model_dump(), "model_prices": PRICES}).model_prices
    with serving(create_app(settings.model_copy(update={"model_prices": prices}))) as url:
        yield url


def test_sums_up_tokens_cost_and_time(ann: httpx.Client, priced_url: str) -> None:
    again = start_run(ann, "Hello", at=priced_url)
    first = wait_until_finished(ann, again)
    runs = [
        first,
        wait_until_finished(
            ann, start_run(ann, "Go on", priced_url, conversation_id=first["conversation_id"])
        ),
    ]
    (total,) = ann.get(TOTALS).json()
    assert (total["model"], total["status"], total["runs"]) == ("sandbox-large", "completed", 2)
    for kind in ("input_tokens", "output_tokens", "cached_tokens"):
        assert total[kind] == sum(run["usage"][kind] for run in runs)
    assert [run["cost"] for run in runs] == [cost_of(run["usage"]) for run in runs]
    assert (total["cost"], total["unpriced_runs"]) == (sum(run["cost"] for run in runs), 0)
    assert abs(total["duration_ms"] - sum(run["duration_ms"] for run in runs)) <= 2


def cost_of(usage: dict[str, int]) -> int:
    fresh = usage["input_tokens"] - usage["cached_tokens"]
    return 3 * fresh + usage["cached_tokens"] + 7 * usage["output_tokens"]


def test_says_how_many_runs_have_no_price(ann: httpx.Client, priced_url: str) -> None:
    priced = wait_until_finished(ann, start_run(ann, at=priced_url))
    done(ann)
    (total,) = ann.get(TOTALS).json()
    assert (total["runs"], total["unpriced_runs"], total["cost"]) == (2, 1, priced["cost"])


def test_what_was_never_begun_has_cost_nothing(ann: httpx.Client, priced_url: str) -> None:
    first = start_streaming_run(ann, at=priced_url)
    queued = start_run(ann, "And then?", at=priced_url, conversation_id=first["conversation_id"])
    cancel_run(ann, queued)
    cancel_run(ann, first)
    runs = [wait_until_finished(ann, first), wait_until_finished(ann, queued)]
    assert runs[1]["cost"] == 0
    (total,) = ann.get(TOTALS).json()
    assert (total["runs"], total["unpriced_runs"]) == (2, 0)
    assert total["cost"] == runs[0]["cost"] > 0


def test_sums_are_grouped_by_how_runs_ended(ann: httpx.Client) -> None:
    done(ann)
    done(ann, "Hello [sandbox: error=400]")
    running = start_streaming_run(ann)
    totals = {each["status"]: each["runs"] for each in ann.get(TOTALS).json()}
    assert totals == {"completed": 1, "failed": 1, "running": 1}
    cancel_run(ann, running)


def test_sums_can_be_narrowed_like_the_list(person: Person) -> None:
    tenant = uuid4()
    ann, bob = person(tenant_id=tenant), person(tenant_id=tenant)
    of_ann = done(ann)
    done(bob)
    done(bob)
    owner = person(tenant_id=tenant, role="owner")

    def count(**query: Any) -> int:
        return sum(each["runs"] for each in owner.get(TOTALS, params=query).json())

    assert count() == 0
    assert count(scope="tenant") == 3
    assert count(scope="tenant", user_id=of_ann["user_id"]) == 1
    assert count(scope="tenant", conversation_id=of_ann["conversation_id"]) == 1
    assert count(scope="tenant", since=(datetime.now(UTC) + timedelta(hours=1)).isoformat()) == 0
