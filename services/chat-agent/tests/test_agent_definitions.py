"""Agents as data: a draft, its versions, what is refused, and what is written down."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.agent_definitions.schemas import MAX_AGENTS
from redis import Redis
from testkit.eventually import until

AGENTS = "/api/v1/agents"
Person = Callable[..., httpx.Client]
Definition = dict[str, Any]


def definition(**members: Any) -> Definition:
    return {"instructions": "You help.", **members}


def save(client: httpx.Client, name: str, note: str = "", **members: Any) -> dict[str, Any]:
    response = client.put(f"{AGENTS}/{name}", json={"definition": definition(**members), "note": note})
    assert response.status_code == 200, response.text
    return response.json()


def publish(client: httpx.Client, name: str, **publication: Any) -> dict[str, Any]:
    response = client.post(f"{AGENTS}/{name}/publish", json=publication)
    assert response.status_code == 200, response.text
    return response.json()


def published(client: httpx.Client, name: str, **members: Any) -> dict[str, Any]:
    save(client, name, **members)
    return publish(client, name)


def problems(client: httpx.Client, name: str, **members: Any) -> dict[str, str]:
    response = client.post(f"{AGENTS}/{name}/validate", json={"definition": definition(**members)})
    assert response.status_code == 200, response.text
    assert response.json()["valid"] is (not response.json()["problems"])
    return {one["path"]: one["message"] for one in response.json()["problems"]}


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_a_draft_becomes_a_version_that_is_never_changed(admin: httpx.Client) -> None:
    draft = save(admin, "support", note="first")
    assert (draft["number"], draft["state"], draft["note"]) == (1, "draft", "first")
    changed = save(admin, "support", instructions="You help well.")
    assert (changed["number"], changed["state"]) == (1, "draft")
    assert changed["digest"] != draft["digest"]
    detail = publish(admin, "support")
    assert detail["stable"] == {"version": 1, "digest": changed["digest"], "percentage": 100}
    assert (detail["draft"], detail["latest"]) == (None, 1)
    newer = save(admin, "support", instructions="You help better.")
    assert (newer["number"], newer["state"]) == (2, "draft")
    assert publish(admin, "support")["stable"]["version"] == 2
    listed = admin.get(f"{AGENTS}/support/versions").json()["items"]
    assert [(one["number"], one["state"]) for one in listed] == [(2, "published"), (1, "retired")]
    first = admin.get(f"{AGENTS}/support/versions/1").json()
    assert first["definition"]["instructions"] == "You help well."


def test_the_same_definition_makes_no_version(admin: httpx.Client) -> None:
    published(admin, "support", tools=[{"name": "current_time"}])
    again = save(admin, "support", tools=[{"approval": None, "name": "current_time"}], settings={})
    assert (again["number"], again["state"]) == (1, "published")


def test_versions_are_listed_page_by_page(admin: httpx.Client) -> None:
    for number in range(3):
        published(admin, "support", instructions=f"You help {number}.")
    pages, cursor = [], None
    while cursor or not pages:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = admin.get(f"{AGENTS}/support/versions", params=query).json()
        pages.append([one["number"] for one in page["items"]])
        cursor = page["next_cursor"]
    assert pages == [[3, 2], [1]]


def test_two_versions_are_compared_member_by_member(admin: httpx.Client) -> None:
    save(admin, "support", settings={"temperature": 0.5, "top_p": 1}, starters=["Hi"])
    publish(admin, "support")
    save(admin, "support", settings={"temperature": 1, "top_p": 1}, tools=[{"name": "current_time"}])
    diff = admin.get(f"{AGENTS}/support/diff", params={"from": 1, "to": 2}).json()
    assert diff == {
        "before": 1,
        "after": 2,
        "changes": [
            {"path": "settings.temperature", "before": 0.5, "after": 1.0},
            {"path": "starters", "before": ["Hi"], "after": None, "elements": [element("removed", "Hi", 0)]},
            {
                "path": "tools",
                "before": None,
                "after": [{"name": "current_time"}],
                "elements": [element("added", "current_time", None, 0)],
            },
        ],
    }


def element(change: str, name: str, before: int | None = None, after: int | None = None) -> dict[str, Any]:
    return {"change": change, "name": name, "index_before": before, "index_after": after, "changes": []}


def test_a_rollback_ends_the_canary_and_then_returns_to_earlier_versions(admin: httpx.Client) -> None:
    for number in (1, 2, 3):
        save(admin, "support", instructions=f"You help {number}.")
        detail = publish(admin, "support", percentage=10 if number == 3 else 100)
    assert (detail["stable"]["version"], detail["canary"]["version"]) == (2, 3)
    assert (detail["stable"]["percentage"], detail["canary"]["percentage"]) == (100, 10)
    rolled_back = [admin.post(f"{AGENTS}/support/rollback", json={}).json() for _ in range(2)]
    assert [(one["stable"]["version"], one["canary"]) for one in rolled_back] == [(2, None), (1, None)]
    response = admin.post(f"{AGENTS}/support/rollback", json={})
    assert error(response) == (409, "no_earlier_version")
    forward = admin.post(f"{AGENTS}/support/rollback", json={"version": 3}).json()
    assert forward["stable"]["version"] == 3
    states = admin.get(f"{AGENTS}/support/versions").json()["items"]
    assert [one["state"] for one in states] == ["published", "retired", "retired"]


def test_the_canary_becomes_the_stable_version_without_being_named(admin: httpx.Client) -> None:
    published(admin, "support")
    save(admin, "support", instructions="You help briefly.")
    publish(admin, "support", percentage=10)
    grown = publish(admin, "support", percentage=50)
    assert (grown["stable"]["version"], grown["canary"]["percentage"]) == (1, 50)
    promoted = publish(admin, "support")
    assert (promoted["stable"]["version"], promoted["canary"]) == (2, None)
    nothing = admin.post(f"{AGENTS}/support/publish", json={})
    assert error(nothing) == (404, "agent_version_not_found")
    assert "neither a draft nor a canary" in nothing.json()["detail"]


def test_what_has_only_defaults_needs_no_body(admin: httpx.Client) -> None:
    save(admin, "support")
    assert admin.post(f"{AGENTS}/support/publish").json()["stable"]["version"] == 1
    assert error(admin.post(f"{AGENTS}/support/rollback")) == (409, "no_earlier_version")


def test_the_name_of_an_agent_of_the_service_is_taken_wherever_it_is_sent(admin: httpx.Client) -> None:
    taken = (409, "agent_already_exists")
    assert error(admin.put(f"{AGENTS}/triage", json={"definition": definition()})) == taken
    assert error(admin.post(f"{AGENTS}/triage/validate", json={"definition": definition()})) == taken
    assert error(apply(admin, document("triage"))) == taken


def test_an_unknown_agent_is_answered_with_those_that_there_are(admin: httpx.Client) -> None:
    published(admin, "support")
    published(admin, "helper", visibility="internal")
    save(admin, "unfinished")
    answer = admin.post("/api/v1/chat", json={"message": "Hi", "agent_type": "suport"})
    assert error(answer) == (404, "agent_not_found")
    assert answer.json()["detail"].endswith(
        "There are: triage, code_assistant, data_analyst, research, support."
    )


def test_a_draft_is_nothing_to_roll_back_to(admin: httpx.Client) -> None:
    save(admin, "support")
    response = admin.post(f"{AGENTS}/support/rollback", json={"version": 1})
    assert error(response) == (404, "agent_version_not_found")
    publish(admin, "support")
    save(admin, "support", instructions="Unpublished.")
    response = admin.post(f"{AGENTS}/support/rollback", json={"version": 2})
    assert error(response) == (404, "agent_version_not_found")
    assert error(admin.get(f"{AGENTS}/support/versions/7")) == (404, "agent_version_not_found")


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"instructions": "Help {{company}}."}, "instructions", "no variable called 'company'"),
        (
            {"instructions": "{{n}}", "variables": {"n": {"type": "integer", "default": "one"}}},
            "variables.n.default",
            "not of the type integer",
        ),
        (
            {"instructions": "{{n}}", "variables": {"n": {"type": "integer", "default": True}}},
            "variables.n.default",
            "not of the type integer",
        ),
        ({"model": "openai/gpt-secret"}, "model", "that this tenant may use"),
        ({"tools": [{"name": "current_time"}, {"name": "launch"}]}, "tools[1].name", "no tool called"),
        (
            {"tools": [{"name": "current_time"}, {"name": "current_time"}]},
            "tools[1].name",
            "more than one tool",
        ),
        (
            {"tools": [{"name": "forget_conversation", "approval": "never"}]},
            "tools[0].approval",
            "always needs an approval",
        ),
        ({"handoffs": ["triage", "nobody"]}, "handoffs[1]", "no agent called 'nobody'"),
        ({"handoffs": ["support"]}, "handoffs[0]", "cannot hand over to itself"),
        ({"as_tools": ["support"]}, "as_tools[0]", "support → support"),
        ({"output_schema": {"type": "objekt"}}, "output_schema.type", "cannot be strict"),
        (
            {"output_schema": {"type": "object", "additionalProperties": {"type": "string"}}},
            "output_schema",
            "cannot be strict",
        ),
        ({"output_schema": {"type": "string"}}, "output_schema.type", "must be `object`"),
    ],
)
def test_what_cannot_be_published_is_named_by_its_path(
    admin: httpx.Client, members: Definition, path: str, message: str
) -> None:
    faults = problems(admin, "support", **members)
    assert [*faults] == [path]
    assert message in faults[path]
    save(admin, "support", **members)
    response = admin.post(f"{AGENTS}/support/publish", json={})
    assert error(response) == (422, "invalid_agent_definition")
    assert response.json()["problems"] == [{"path": path, "message": faults[path]}]
    assert admin.get(f"{AGENTS}/support").json()["stable"] is None


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"instructions": "x" * 20_001}, ["instructions"]),
        ({"instrctions": "typo"}, ["instrctions"]),
        ({"memory": {"scope": "tenant"}}, ["memory", "scope"]),
        ({"tools": [{"name": "current_time", "approval": "maybe"}]}, ["tools", 0, "approval"]),
        ({"limits": {"turns": 0}}, ["limits", "turns"]),
        ({"schema_version": 2}, ["schema_version"]),
        ({"variables": {"Not a name": {}}}, ["variables", "Not a name", "[key]"]),
    ],
)
def test_what_is_no_definition_is_not_stored(
    admin: httpx.Client, members: Definition, place: list[str | int]
) -> None:
    response = admin.put(f"{AGENTS}/support", json={"definition": definition(**members)})
    assert error(response) == (422, "invalid_request")
    assert response.json()["errors"][0]["loc"][:4] == ["body", "definition", *place][:4]
    assert error(admin.get(f"{AGENTS}/support")) == (404, "agent_not_found")


def test_handoffs_may_go_in_circles_and_calls_of_agents_may_not(admin: httpx.Client) -> None:
    published(admin, "first")
    published(admin, "second", handoffs=["first"])
    published(admin, "first", handoffs=["second"])
    published(admin, "third", as_tools=["first"])
    faults = problems(admin, "second", as_tools=["third"])
    assert faults == {"as_tools[0]": "The agent would call itself: second → third → first → second."}
    assert [*problems(admin, "second", handoffs=["first", "third"])] == ["handoffs[1]"]


def test_a_name_of_the_service_is_taken(admin: httpx.Client) -> None:
    response = admin.put(f"{AGENTS}/triage", json={"definition": definition()})
    assert error(response) == (409, "agent_already_exists")


def test_two_tenants_use_the_same_name(person: Person) -> None:
    one, other = person(uuid4(), role="owner"), person(uuid4(), role="owner")
    published(one, "support", instructions="One.")
    assert error(other.get(f"{AGENTS}/support")) == (404, "agent_not_found")
    published(other, "support", instructions="Other.")
    read = [client.get(f"{AGENTS}/support/versions/1").json() for client in (one, other)]
    assert [version["definition"]["instructions"] for version in read] == ["One.", "Other."]
    assert one.delete(f"{AGENTS}/support").status_code == 204
    assert other.get(f"{AGENTS}/support").status_code == 200


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_only_admins_write_agents(person: Person, tenant: UUID, admin: httpx.Client, role: str) -> None:
    published(admin, "support")
    other = person(tenant, role=role)
    for response in (
        other.put(f"{AGENTS}/support", json={"definition": definition()}),
        other.post(f"{AGENTS}/support/publish", json={}),
        other.delete(f"{AGENTS}/support"),
        other.get(f"{AGENTS}/support/versions/1"),
        other.post(f"{AGENTS}/apply", json={"agents": []}),
    ):
        assert error(response) == (403, "forbidden")


def test_an_agent_that_others_reach_is_not_deleted(admin: httpx.Client) -> None:
    published(admin, "support")
    published(admin, "boss", handoffs=["support"])
    response = admin.delete(f"{AGENTS}/support")
    assert error(response) == (409, "agent_in_use")
    assert "boss" in response.json()["detail"]
    assert admin.delete(f"{AGENTS}/boss").status_code == 204
    assert admin.delete(f"{AGENTS}/support").status_code == 204
    assert error(admin.get(f"{AGENTS}/support")) == (404, "agent_not_found")
    assert save(admin, "support")["number"] == 1


def document(name: str, **members: Any) -> dict[str, Any]:
    return {"name": name, "definition": definition(**members)}


def apply(client: httpx.Client, *documents: dict[str, Any], **options: Any) -> httpx.Response:
    return client.post(f"{AGENTS}/apply", json={"agents": [*documents], **options})


def test_all_agents_that_a_tenant_may_have_are_applied_together(admin: httpx.Client) -> None:
    names = [f"agent{number}" for number in range(MAX_AGENTS)]
    after = [*names[1:], names[0]]
    documents = [document(name, handoffs=[other]) for name, other in zip(names, after, strict=True)]
    applied = apply(admin, *documents, dry_run=False).json()
    assert [one["version"] for one in applied["agents"]] == [1] * MAX_AGENTS


def test_agents_are_applied_together_as_planned_and_once(admin: httpx.Client) -> None:
    documents = document("first", handoffs=["second"]), document("second", handoffs=["first"])
    plan = apply(admin, *documents).json()
    assert plan["applied"] is False
    assert [(one["name"], one["action"], one["version"]) for one in plan["agents"]] == [
        ("first", "create", None),
        ("second", "create", None),
    ]
    assert error(admin.get(f"{AGENTS}/first")) == (404, "agent_not_found")
    applied = apply(admin, *documents, dry_run=False, plan=plan["digest"]).json()
    assert applied["applied"] is True
    assert [one["version"] for one in applied["agents"]] == [1, 1]
    again = apply(admin, *documents, dry_run=False).json()
    assert [(one["action"], one["changes"]) for one in again["agents"]] == [("unchanged", [])] * 2
    changed = document("first", handoffs=["second"], starters=["Hi"])
    (update, same) = apply(admin, changed, documents[1]).json()["agents"]
    assert (update["action"], same["action"]) == ("update", "unchanged")
    (change,) = update["changes"]
    assert (change["path"], change["elements"]) == ("starters", [element("added", "Hi", None, 0)])


def test_agents_that_reach_each_other_are_deleted_together(admin: httpx.Client) -> None:
    documents = document("first", handoffs=["second"]), document("second", as_tools=["third"])
    published(admin, "third")
    apply(admin, *documents, dry_run=False).raise_for_status()
    published(admin, "second", handoffs=["first"])
    for name in ("first", "second"):
        assert error(admin.delete(f"{AGENTS}/{name}")) == (409, "agent_in_use")
    both = {"delete": ["first", "second"]}
    plan = apply(admin, **both).json()
    assert [(one["name"], one["action"], one["version"]) for one in plan["agents"]] == [
        ("first", "delete", 1),
        ("second", "delete", 2),
    ]
    assert admin.get(f"{AGENTS}/first").status_code == 200
    applied = apply(admin, document("third", starters=["Hi"]), **both, dry_run=False).json()
    assert [one["action"] for one in applied["agents"]] == ["update", "delete", "delete"]
    for name in ("first", "second"):
        assert error(admin.get(f"{AGENTS}/{name}")) == (404, "agent_not_found")
    assert error(apply(admin, **both)) == (404, "agent_not_found")


def test_an_agent_is_deleted_beside_changes_of_those_that_reach_it(admin: httpx.Client) -> None:
    apply(admin, document("clerk"), document("boss", handoffs=["clerk"]), dry_run=False).raise_for_status()
    assert error(apply(admin, delete=["clerk"])) == (409, "agent_in_use")
    for members in ({}, {"starters": ["Hi"]}):
        response = apply(admin, document("boss", handoffs=["clerk"], **members), delete=["clerk"])
        assert response.json()["problems"][0]["path"] == "agents[0].definition.handoffs[0]"
    response = apply(admin, document("clerk"), delete=["clerk"])
    assert response.json()["problems"] == [{"path": "delete[0]", "message": "'clerk' is named twice."}]
    assert apply(admin, document("boss"), delete=["clerk"], dry_run=False).json()["applied"] is True


def test_a_canary_keeps_the_agents_that_it_reaches(admin: httpx.Client) -> None:
    published(admin, "clerk")
    published(admin, "boss")
    save(admin, "boss", handoffs=["clerk"])
    publish(admin, "boss", percentage=10)
    assert error(apply(admin, document("boss"), delete=["clerk"])) == (409, "agent_in_use")


@pytest.mark.parametrize(
    "number", ["1e300", "-1e300", "1e22", "1e16", "1.5e17", "-0.0", "1e-7", "5e-324", "1.0"]
)
def test_a_number_is_the_same_after_it_was_stored(admin: httpx.Client, number: str) -> None:
    schema = f'{{"type": "object", "properties": {{"a": {{"type": "number", "maximum": {number}}}}}}}'
    text = json.dumps({"agents": [document("support", output_schema={})], "dry_run": False})
    body = text.replace('"output_schema": {}', f'"output_schema": {schema}')
    headers = {"Content-Type": "application/json"}
    first, second = [admin.post(f"{AGENTS}/apply", content=body, headers=headers).json() for _ in range(2)]
    assert [one["agents"][0]["action"] for one in (first, second)] == ["create", "unchanged"]
    stored = admin.get(f"{AGENTS}/support/versions/1").json()
    again = apply(admin, {"name": "support", "definition": stored["definition"]}).json()
    assert again["agents"][0]["action"] == "unchanged"
    saved = admin.put(f"{AGENTS}/support", json={"definition": stored["definition"]}).json()
    assert (saved["number"], saved["digest"]) == (1, stored["digest"])
    tool = f'{{"endpoint": {{"url": "https://shop.example", "parameters": {schema}}}, "description": "x"}}'
    tools = [admin.put("/api/v1/tools/lookup", content=tool, headers=headers).json() for _ in range(2)]
    assert [one["version"] for one in tools] == [1, 1]
    assert admin.get("/api/v1/tools/lookup").json()["definition"] == tools[0]["definition"]
    save(admin, "support")
    diff = admin.get(f"{AGENTS}/support/diff", params={"from": 1, "to": 2}).json()
    before = {one["path"]: one["before"] for one in diff["changes"]}
    assert before == {"output_schema": stored["definition"]["output_schema"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("\\ud83d", "unpaired surrogates"), ("\\u0000", "NUL")],
)
def test_a_text_that_cannot_be_stored_is_named_by_its_path(
    admin: httpx.Client, text: str, reason: str
) -> None:
    body = f'{{"definition": {{"instructions": "x", "starters": ["a", "{text}"]}}}}'
    headers = {"Content-Type": "application/json"}
    response = admin.put(f"{AGENTS}/support", content=body, headers=headers)
    assert error(response) == (422, "invalid_request")
    (problem,) = response.json()["errors"]
    assert problem["loc"] == ["body", "definition", "starters", 1]
    assert reason in problem["msg"]


def test_internal_agents_are_listed_for_those_who_manage_agents(
    admin: httpx.Client, person: Person, tenant: UUID
) -> None:
    published(admin, "clerk", visibility="internal")
    every = {"include_internal": True}
    listed = [{one["name"] for one in admin.get(AGENTS, params=query).json()} for query in ({}, every)]
    assert ["clerk" in names for names in listed] == [False, True]
    assert error(person(tenant).get(AGENTS, params=every)) == (403, "forbidden")


def test_an_outdated_plan_is_not_applied(admin: httpx.Client) -> None:
    plan = apply(admin, document("support", starters=["Hi"])).json()
    published(admin, "support")
    response = apply(admin, document("support", starters=["Hi"]), dry_run=False, plan=plan["digest"])
    assert error(response) == (409, "plan_outdated")


def test_nothing_is_applied_where_one_agent_is_wrong(admin: httpx.Client) -> None:
    wrong = document("second", tools=[{"name": "launch"}])
    response = apply(admin, document("first"), wrong, dry_run=False)
    assert error(response) == (422, "invalid_agent_definition")
    assert response.json()["problems"][0]["path"] == "agents[1].definition.tools[0].name"
    assert error(admin.get(f"{AGENTS}/first")) == (404, "agent_not_found")
    twice = apply(admin, document("first"), document("first"))
    assert twice.json()["problems"][0]["path"] == "agents[1].name"


def test_changes_of_agents_are_in_the_audit_log(admin: httpx.Client, tenant: UUID, redis_url: str) -> None:
    published(admin, "support", note="why")
    admin.delete(f"{AGENTS}/support").raise_for_status()

    def recorded() -> list[str]:
        with Redis.from_url(redis_url) as redis:
            entries = [fields for _, fields in redis.xrange("events:chat-agent")]
        own = [entry for entry in entries if entry[b"tenantid"] == str(tenant).encode()]
        audits = [entry for entry in own if entry[b"type"] == b"chat.audit.recorded.v1"]
        # Each once: a relay that finds the stream lost sends its last events again.
        return [*{entry[b"id"]: entry[b"data"].decode() for entry in audits}.values()]

    until(lambda: len(recorded()) == 3)
    for action, event in zip(("draft_saved", "published", "deleted"), recorded(), strict=True):
        assert f"chat_agent_{action}" in event
        assert '"agent":"support"' in event.replace(" ", "")
        assert "You help" not in event


@pytest.mark.parametrize(
    "member",
    [
        {"description": "a\x00"},
        {"tools": [{"name": "a\x00"}]},
        {"mcp": [{"server": "a\x00"}]},
        {"mcp": [{"server": "shop", "allow": ["a\x00"]}]},
        {"variables": {"a\x00": {}}},
        {
            "guardrails": {
                "input": {"guardrails": [{"name": "Keyword Filter", "config": {"keywords": ["\x00"]}}]}
            }
        },
        {"output_schema": {"a\x00": True}},
        {"starters": ["\ud800"]},
    ],
)
def test_no_member_may_have_what_cannot_be_stored(admin: httpx.Client, member: dict[str, Any]) -> None:
    body = json.dumps({"definition": definition(**member)})
    headers = {"Content-Type": "application/json"}
    response = admin.put(f"{AGENTS}/support", content=body, headers=headers)
    assert error(response) == (422, "invalid_request")
