"""Agents in files: what is exported is applied again without a change, in the same tenant and in another."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import yaml
from chat_agent.direct_models import DirectModel
from chat_agent.settings import Settings
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from starter_cli import agent_documents
from starter_cli.app import app as acme
from testkit.live_server import serving
from typer.testing import CliRunner

from .definition_strategies import MODELS, OWN_TOOL, SERVER, Json, documents_of_a_file
from .mcp_server import StatelessServer
from .odd_values import walk
from .test_agent_definitions import AGENTS

LOOKUP = {"description": "Looks up.", "endpoint": {"url": "https://shop.example/lookup"}}


class Tenant:
    """A tenant whose owner uses the commands."""

    def __init__(self, client: httpx.Client, folder: Path) -> None:
        self.client, self._file = client, folder / f"{uuid4()}.yaml"

    @property
    def path(self) -> str:
        return str(self._file)

    def acme(self, *words: str) -> Result:
        token = self.client.headers["Authorization"].removeprefix("Bearer ")
        environment = {"ACME_URL": str(self.client.base_url), "ACME_TOKEN": token}
        return CliRunner().invoke(acme, ["agents", *words], env=environment)

    def apply(self, text: str) -> str:
        """Apply a file; return what is printed."""
        self._file.write_text(text, encoding="utf-8")
        result = self.acme("apply", "--yes", "--file", self.path)
        assert result.exit_code == 0, result.output
        return result.output

    def refused(self, text: str) -> str:
        """Apply a file that is refused; return what is printed."""
        self._file.write_text(text, encoding="utf-8")
        result = self.acme("apply", "--yes", "--file", self.path)
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 1, result.output
        return result.output

    def export(self) -> str:
        result = self.acme("export")
        assert result.exit_code == 0, result.output
        return result.stdout_bytes.decode()

    def names(self) -> list[str]:
        agents = self.client.get(AGENTS, params={"include_internal": True}).json()
        return [agent["name"] for agent in agents if agent["source"] == "tenant"]

    def versions(self) -> dict[str, Json]:
        """Return which versions answer, with their digests."""
        return {name: self.client.get(f"{AGENTS}/{name}").json()["stable"] for name in self.names()}

    def digests(self) -> dict[str, str]:
        return {name: version["digest"] for name, version in self.versions().items()}

    def clear(self) -> None:
        request = {"delete": self.names(), "dry_run": False}
        self.client.post(f"{AGENTS}/apply", json=request).raise_for_status()
        assert self.names() == []


@pytest.fixture(scope="module")
def mcp_url() -> Iterator[str]:
    with serving(StatelessServer().app) as url:
        yield f"{url}/mcp"


@pytest.fixture(scope="module")
def settings(settings: Settings, mcp_url: str) -> Settings:
    changes = {
        "direct_models": {name: DirectModel(tenants=frozenset({"*"})) for name in MODELS},
        "tool_private_hosts": frozenset({urlsplit(mcp_url).netloc}),
    }
    return settings.model_copy(update=changes)


@pytest.fixture
def new_tenant(person: Callable[..., httpx.Client], mcp_url: str, tmp_path: Path) -> Callable[[], Tenant]:
    """Make a tenant with a tool and an MCP server, and without agents."""

    def make() -> Tenant:
        client = person(uuid4(), role="admin")
        client.put(f"/api/v1/tools/{OWN_TOOL}", json=LOOKUP).raise_for_status()
        client.put(f"/api/v1/mcp-servers/{SERVER}", json={"url": mcp_url}).raise_for_status()
        return Tenant(client, tmp_path)

    return make


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def test_what_is_exported_is_applied_again_without_a_change(new_tenant: Callable[[], Tenant]) -> None:
    tenant, other = new_tenant(), new_tenant()

    @walk(15)
    @given(documents_of_a_file())
    def check(documents: list[Json]) -> None:
        tenant.clear()
        other.clear()
        text = agent_documents.write(documents)
        assert as_json(yaml.safe_load(text)) == as_json({"agents": documents})
        assert "Published: " in tenant.apply(text)
        versions = tenant.versions()
        assert versions.keys() == {document["name"] for document in documents}
        assert "Nothing changes." in tenant.apply(text)
        exported = tenant.export()
        assert "Nothing changes." in tenant.apply(exported)
        assert tenant.versions() == versions
        other.apply(exported)
        assert other.export() == exported
        assert other.digests() == tenant.digests()

    check()


def test_properties_in_another_order_are_published_in_that_order(new_tenant: Callable[[], Tenant]) -> None:
    tenant = new_tenant()
    for names in (["answer", "reasoning"], ["reasoning", "answer"]):
        schema = {
            "type": "object",
            "properties": {name: {"type": "string"} for name in names},
            "required": names,
            "additionalProperties": False,
        }
        document = {"name": "judge", "definition": {"instructions": "You judge.", "output_schema": schema}}
        printed = tenant.apply(agent_documents.write([document]))
        (exported,) = yaml.safe_load(tenant.export())["agents"]
        assert [*exported["definition"]["output_schema"]["properties"]] == names
    assert "      > 'reasoning': from 1 to 0\n" in printed
    assert tenant.versions()["judge"]["version"] == 2


# What is wrong with a definition, by its path.
WRONG: dict[str, Json] = {
    "handoffs[0]": {"handoffs": ["nobody"]},
    "tools[1].name": {"tools": [{"name": "current_time"}, {"name": "launch"}]},
    "mcp[0].allow[0]": {"mcp": [{"server": SERVER, "allow": ["launch"]}]},
    "limits.turns": {"limits": {"turns": 0}},
    "instrctions": {"instrctions": "You help."},
    "variables.no.type": {"variables": {"no": {"type": "text"}}},
    "output_schema.properties.a.maximum": {
        "output_schema": {"type": "object", "properties": {"a": {"maximum": 2**64}}}
    },
}


def test_one_wrong_agent_among_several_changes_nothing(new_tenant: Callable[[], Tenant]) -> None:
    tenant = new_tenant()

    @walk(8)
    @given(documents_of_a_file(), st.integers(0, 10), st.sampled_from(sorted(WRONG)))
    def check(documents: list[Json], number: int, path: str) -> None:
        tenant.clear()
        tenant.apply(agent_documents.write(documents))
        versions = tenant.versions()
        changed = [{**one, "definition": {**one["definition"], "description": "Other."}} for one in documents]
        wrong = changed[number % len(changed)]
        wrong["definition"] |= WRONG[path]
        printed = tenant.refused(
            agent_documents.write([*changed, {"name": "new", "definition": wrong["definition"]}])
        )
        assert f"{tenant.path}: {wrong['name']}: {path}: " in printed
        assert tenant.versions() == versions

    check()


def test_agents_that_reach_each_other_are_deleted_together(new_tenant: Callable[[], Tenant]) -> None:
    tenant = new_tenant()
    first = {"name": "first", "definition": {"instructions": "You help.", "handoffs": ["second"]}}
    second = {"name": "second", "definition": {"instructions": "You help.", "handoffs": ["first"]}}
    tenant.apply(agent_documents.write([first, second]))
    alone = tenant.acme("delete", "--yes", "first")
    assert (alone.exit_code, "reach it: second." in alone.output, tenant.names()) == (
        1,
        True,
        ["first", "second"],
    )
    unconfirmed = tenant.acme("delete", "first", "second")
    assert (unconfirmed.exit_code, tenant.names()) == (1, ["first", "second"])
    assert "- first: delete\n- second: delete\n" in unconfirmed.output
    result = tenant.acme("delete", "--yes", "first", "second")
    assert (result.exit_code, tenant.names()) == (0, []), result.output


def test_a_plan_shows_what_becomes_of_the_elements_of_lists(new_tenant: Callable[[], Tenant]) -> None:
    tenant = new_tenant()
    tools = [{"name": "current_time"}, {"name": "calculate"}, {"name": OWN_TOOL}]
    definition: Json = {"instructions": "You help.", "tools": tools, "starters": ["Hi", "Where is it?"]}
    tenant.apply(agent_documents.write([{"name": "support", "definition": definition}]))
    changed = {**definition, "tools": [tools[1] | {"approval": "always"}, tools[0]], "starters": ["Bye"]}
    printed = tenant.apply(agent_documents.write([{"name": "support", "definition": changed}]))
    assert printed.splitlines() == [
        "~ support: update",
        "    tools:",
        "      ~ 'calculate'",
        "          tools[0].approval: None -> 'always'",
        "      > 'calculate': from 1 to 0",
        f"      - '{OWN_TOOL}'",
        "    starters:",
        "      - 'Hi'",
        "      - 'Where is it?'",
        "      + 'Bye'",
        "Published: support.",
    ]
