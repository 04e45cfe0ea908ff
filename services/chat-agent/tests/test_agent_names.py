"""The service gets an agent of a name that an agent of a tenant has."""

from uuid import UUID, uuid4

import httpx
import pytest
from agents import Agent
from chat_agent import agents
from chat_agent.main import create_app
from chat_agent.settings import Settings
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving

from .test_agent_definitions import AGENTS, apply, definition, error, published, save


def versions(client: httpx.Client, name: str) -> dict[str, int | None]:
    """Send an agent a message; return the versions that its run began with. Those in code have no number."""
    answer = client.post("/api/v1/chat", json={"message": "Hi", "agent_type": name})
    assert answer.status_code == 200, answer.text
    run = client.get(f"/api/v1/runs/{answer.json()['run_id']}").json()
    return {one["name"]: one["number"] for one in run["agent_versions"]}


def client_of(url: str, issuer: Issuer, tenant: UUID) -> httpx.Client:
    headers = {"Authorization": f"Bearer {issuer.token(tenant_id=tenant, role='owner')}"}
    return httpx.Client(base_url=url, headers=headers, timeout=60, verify=NO_AUTHORITIES)


def sources(client: httpx.Client, name: str) -> list[str]:
    """Return whose agent of a name is listed, by both lists."""
    listed = [one["source"] for one in client.get(AGENTS).json() if one["name"] == name]
    return listed + [one["owned_by"] for one in client.get("/v1/models").json()["data"] if one["id"] == name]


def test_a_tenant_keeps_its_agent(
    admin: httpx.Client, settings: Settings, tenant: UUID, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(admin, "planner")
    published(admin, "boss", handoffs=["planner"])
    save(admin, "unfinished")
    for name in ("planner", "unfinished"):
        monkeypatch.setitem(agents.AGENTS, name, Agent(name=name))
    with (
        serving(create_app(settings)) as url,
        client_of(url, issuer, tenant) as own,
        client_of(url, issuer, uuid4()) as other,
    ):
        assert versions(own, "boss") == {"boss": 1, "planner": 1}
        assert versions(own, "planner") == {"planner": 1}
        assert sources(own, "planner") == ["tenant", "tenant"]
        assert versions(other, "planner") == {"planner": None}
        refused = other.put(f"{AGENTS}/planner", json={"definition": definition()})
        assert error(refused) == (409, "agent_already_exists")
        # A draft does not answer.
        assert versions(own, "unfinished") == {"unfinished": None}
        published(own, "unfinished")
        assert versions(own, "unfinished") == {"unfinished": 1}
        published(own, "planner", instructions="You plan at length.")
        assert versions(own, "boss") == {"boss": 1, "planner": 2}
        assert apply(own, delete=["boss", "planner"], dry_run=False).is_success
        assert versions(own, "planner") == {"planner": None}
