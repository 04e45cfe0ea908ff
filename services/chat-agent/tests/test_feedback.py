"""What people say of answers: stored once for each run, theirs alone, and counted for the tenant."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .client_helpers import RUNS, error_of, start_run, start_streaming_run, wait_until_finished

Person = Callable[..., httpx.Client]
DOWN = {"rating": "down", "reasons": ["incorrect", "too_long"], "comment": "No.", "correction": "It is 4."}


def answered(client: httpx.Client, **more: Any) -> str:
    return f"{RUNS}/{wait_until_finished(client, start_run(client, **more))['id']}/feedback"


def test_the_newest_feedback_counts(ann: httpx.Client) -> None:
    path = answered(ann)
    assert error_of(ann.get(path)) == (404, "feedback_not_found")
    assert ann.put(path, json={"rating": "up"}).status_code == 200
    stored = ann.put(path, json=DOWN).json()
    assert {name: stored[name] for name in DOWN} == DOWN
    assert stored["agent"] == "triage"
    assert ann.get(path).json() == stored
    assert ann.delete(path).status_code == ann.delete(path).status_code == 204
    assert error_of(ann.get(path)) == (404, "feedback_not_found")


def test_feedback_is_of_the_agent_that_answered(ann: httpx.Client) -> None:
    path = answered(ann, message="Can you review this Python function? def add(a, b): return a - b")
    assert ann.put(path, json={"rating": "up"}).json()["agent"] == "code_assistant"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_nobody_else_has_to_do_with_it(person: Person, method: str) -> None:
    path = answered(person())
    others = [person(), person(tenant_id=uuid4()), person(role="owner")]
    body = {"rating": "up"} if method == "PUT" else None
    assert {error_of(other.request(method, path, json=body)) for other in others} == {(404, "run_not_found")}


def test_a_run_that_goes_on_takes_none(ann: httpx.Client) -> None:
    run = start_streaming_run(ann)
    answer = ann.put(f"{RUNS}/{run['id']}/feedback", json={"rating": "up"})
    assert error_of(answer) == (409, "run_unfinished")
    ann.post(f"{RUNS}/{run['id']}/cancel")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rating": "fine"},
        {"rating": "up", "reasons": ["Not a word"]},
        {"rating": "up", "reasons": ["x"] * 11},
        {"rating": "up", "comment": "x" * 4001},
        {"rating": "up", "comment": "a\x00b"},
        {"rating": "up", "stars": 5},
    ],
)
def test_what_is_no_feedback_is_refused(ann: httpx.Client, body: dict[str, Any]) -> None:
    assert ann.put(f"{RUNS}/{uuid4()}/feedback", json=body).status_code == 422


def test_owners_and_admins_read_what_the_tenant_says(person: Person) -> None:
    tenant = uuid4()
    ann, bob, admin = person(tenant), person(tenant), person(tenant, role="admin")
    paths = [answered(ann), answered(bob), answered(bob)]
    for client, path, body in zip([ann, bob, bob], paths, [DOWN, {"rating": "up"}, DOWN], strict=True):
        assert client.put(path, json=body).status_code == 200
    first = admin.get(f"{RUNS}/feedback", params={"limit": 2}).json()
    rest = admin.get(f"{RUNS}/feedback", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    seen = [f"{RUNS}/{one['run_id']}/feedback" for one in [*first["items"], *rest["items"]]]
    assert (seen, rest["next_cursor"]) == (paths[::-1], None)
    only = admin.get(f"{RUNS}/feedback", params={"rating": "up", "agent": "triage"}).json()["items"]
    assert [f"{RUNS}/{one['run_id']}/feedback" for one in only] == [paths[1]]
    reasons = {"incorrect": 2, "too_long": 2}
    counts = {"agent": "triage", "up": 1, "down": 2, "corrections": 2, "reasons": reasons}
    assert admin.get(f"{RUNS}/feedback/totals").json() == [counts]
    assert person(role="admin", tenant_id=uuid4()).get(f"{RUNS}/feedback/totals").json() == []
    for path in ("feedback", "feedback/totals"):
        assert error_of(ann.get(f"{RUNS}/{path}")) == (403, "tenant_feedback_forbidden")
    assert error_of(admin.get(f"{RUNS}/feedback", params={"cursor": "x"})) == (400, "invalid_cursor")
