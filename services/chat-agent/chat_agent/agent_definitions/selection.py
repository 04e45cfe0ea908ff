"""Which version of which agent a run begins with, and goes on with."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from agents import Agent
from servicekit.database import Database
from sqlalchemy import select

from chat_agent.agent_definitions import store
from chat_agent.agent_definitions.definition import NAME, AgentDefinition
from chat_agent.agent_definitions.own_tools import digests_of_tools
from chat_agent.agent_definitions.store import CANARY, STABLE, Answering
from chat_agent.agent_definitions.tables import StoredVersion
from chat_agent.agents import AGENTS
from chat_agent.agents.acme_agent import AcmeAgent
from chat_agent.agents.tool import RunContext
from chat_agent.agents.trust import with_neighbours
from chat_agent.documents import digest_of
from chat_agent.http_tools.definition import HttpTool
from chat_agent.http_tools.versions import ToolVersions
from chat_agent.mcp_servers.registered import RegisteredServer, load_servers
from chat_agent.models import Run
from chat_agent.schemas import AgentVersion

# Definitions never change: how many a process remembers.
MAX_REMEMBERED = 1000


@dataclass(frozen=True)
class AgentSelection:
    """An agent and all that it reaches, each in one version."""

    name: str
    versions: Sequence[AgentVersion] = ()
    # Of those that are data.
    definitions: Mapping[str, AgentDefinition] = field(default_factory=dict)
    mcp_servers: Mapping[str, RegisteredServer] = field(default_factory=dict)
    # The HTTP tools that these name, by digest.
    tools: Mapping[str, HttpTool] = field(default_factory=dict)
    # Whether the definition of the agent itself is stored with its run alone.
    is_dry_run: bool = False

    @property
    def stored_versions(self) -> list[dict[str, Any]]:
        """The versions, as a run stores them."""
        return [one.model_dump() for one in self.versions]

    @property
    def first(self) -> AgentDefinition | None:
        """The definition of the agent itself, where it is data."""
        return self.definitions.get(self.name)

    @property
    def stored_definition(self) -> dict[str, Any] | None:
        """The definition of a dry run, as the run stores it."""
        return self.first.stored() if self.is_dry_run and self.first else None


class AgentSelector:
    """Selects the versions of agents, from the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tools = ToolVersions(database)
        self._remembered: dict[str, AgentDefinition] = {}
        # Read once: while the names in code are the same, no tenant gets another of them.
        self._reserved_names: frozenset[tuple[UUID, str]] | None = None

    async def select(
        self,
        tenant_id: UUID | None,
        name: str,
        conversation_id: UUID | None = None,
        number: int | None = None,
    ) -> AgentSelection | None:
        """Return what a new run in a conversation begins with; none where there is no such agent.

        `number`: the version of the agent itself, if that answers.
        """
        in_code = AgentSelection(name, versions_in_code([name])) if name in AGENTS else None
        if tenant_id is None or not NAME.fullmatch(name) or name in await self._names_in_code(tenant_id):
            return in_code
        selection = await self._reached(tenant_id, {name}, conversation_id, (name, number))
        return replace(selection, name=name) if name in selection.definitions else in_code

    async def _names_in_code(self, tenant_id: UUID) -> Set[str]:
        """Return the names that are of agents in code for a tenant: it keeps those that it had before."""
        if self._reserved_names is None:
            async with self._database.begin() as session:
                self._reserved_names = await store.reserved_names(session)
        return AGENTS.keys() - {name for tenant, name in self._reserved_names if tenant == tenant_id}

    async def names(self, tenant_id: UUID | None) -> list[str]:
        """List the agents that members of a tenant may start."""
        async with self._database.begin() as session:
            own = await store.published(session, tenant_id)
        return [*dict.fromkeys([*AGENTS, *(one.name for one in own)])]

    async def select_definition(
        self, tenant_id: UUID, name: str, definition: AgentDefinition
    ) -> AgentSelection:
        """Return a definition with all that it reaches, as it would be selected if it were published."""
        in_code = await self._names_in_code(tenant_id)
        others = await self._reached(tenant_id, {*definition.neighbours} - in_code - {name}, None)
        async with self._database.begin() as session:
            servers = await load_servers(session, tenant_id, definition.mcp_servers)
        tools = await self._tools.load(tenant_id, digests_of_tools([definition]))
        return AgentSelection(
            name,
            definitions={**others.definitions, name: definition},
            mcp_servers={**others.mcp_servers, **servers},
            tools={**others.tools, **tools},
        )

    async def _reached(
        self,
        tenant_id: UUID,
        open_: Set[str],
        conversation_id: UUID | None,
        preferred: tuple[str, int | None] = ("", None),
    ) -> AgentSelection:
        """Return agents of a tenant and all that they reach."""
        chosen: dict[str, Answering] = {}
        code = set[str]()
        in_code = await self._names_in_code(tenant_id)
        async with self._database.begin() as session:
            while open_:
                answering = await store.answering(session, tenant_id, sorted(open_))
                found = choose(answering, conversation_id)
                found |= {one.name: one for one in answering if (one.name, one.number) == preferred}
                chosen |= found
                neighbours = {other for one in found.values() for other in one.definition.neighbours}
                code |= neighbours & in_code
                open_ = neighbours - in_code - chosen.keys()
            definitions = {one.name: one.definition for one in chosen.values()}
            names = {name for one in definitions.values() for name in one.mcp_servers}
            servers = await load_servers(session, tenant_id, names)
        versions = [
            AgentVersion(name=one.name, number=one.number, digest=one.digest) for one in chosen.values()
        ]
        self._remember({one.digest: one.definition for one in chosen.values()})
        tools = await self._tools.load(tenant_id, digests_of_tools(definitions.values()))
        all_versions = [*versions, *versions_in_code(sorted(code))]
        return AgentSelection("", all_versions, definitions, servers, tools)

    async def restore(self, run: Run) -> AgentSelection:
        """Return what a run began with, whatever was published or deleted since."""
        versions = [AgentVersion.model_validate(one) for one in run.agent_versions]
        if run.definition is not None:
            own = AgentDefinition.model_validate(run.definition)
            return AgentSelection(run.agent, versions, {run.agent: own}, is_dry_run=True)
        definitions = await self._definitions(run.tenant_id, versions)
        servers = await self._servers(run.tenant_id, definitions)
        tools = await self._tools.load(run.tenant_id, digests_of_tools(definitions.values()))
        return AgentSelection(run.agent, versions, definitions, servers, tools)

    async def _definitions(
        self, tenant_id: UUID, versions: Sequence[AgentVersion]
    ) -> dict[str, AgentDefinition]:
        """Return the definitions of versions by name; one that is there no more is left out."""
        digests = {one.name: one.digest for one in versions if one.number is not None}
        # Before anything is awaited: others may use up the room meanwhile.
        known = {one: self._remembered[one] for one in digests.values() if one in self._remembered}
        if missing := sorted({*digests.values()} - known.keys()):
            query = select(StoredVersion).where(
                StoredVersion.tenant_id == tenant_id, StoredVersion.digest.in_(missing)
            )
            async with self._database.begin() as session:
                rows = (await session.scalars(query)).all()
            read = {row.digest: store.definition_of(row) for row in rows}
            self._remember(read)
            known |= read
        return {name: known[digest] for name, digest in digests.items() if digest in known}

    async def _servers(
        self, tenant_id: UUID, definitions: Mapping[str, AgentDefinition]
    ) -> dict[str, RegisteredServer]:
        names = {name for one in definitions.values() for name in one.mcp_servers}
        if not names:
            return {}
        async with self._database.begin() as session:
            return await load_servers(session, tenant_id, names)

    def _remember(self, definitions: Mapping[str, AgentDefinition]) -> None:
        for digest, definition in definitions.items():
            self._remembered.pop(digest, None)
            self._remembered[digest] = definition
        while len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]


def choose(answering: Sequence[Answering], conversation_id: UUID | None) -> dict[str, Answering]:
    """Return the version of each agent that answers a conversation: always the same for the same share."""
    chosen = {one.name: one for one in answering if one.label == STABLE}
    for one in answering:
        if one.label == CANARY and conversation_id and share_of(one.name, conversation_id) < one.percentage:
            chosen[one.name] = one
    return chosen


def share_of(name: str, conversation_id: UUID) -> int:
    """Return the place of a conversation among a hundred, the same on every replica."""
    digest = hashlib.sha256(f"{name}/{conversation_id}".encode()).digest()
    return int.from_bytes(digest[:8]) % 100


def versions_in_code(names: Sequence[str]) -> list[AgentVersion]:
    """Return the versions of agents of the service, and of all that they hand over to or call as tools."""
    agents = with_neighbours(AGENTS[name] for name in names)
    return [AgentVersion(name=one.name, number=None, digest=digest_in_code(one)) for one in agents]


def digest_in_code(agent: Agent[RunContext]) -> str:
    """Return the digest of what an agent in code says and may call."""
    tools = [tool.name for tool in agent.tools]
    handoffs = [other.name for other in agent.handoffs if isinstance(other, Agent)]
    more = members_of(agent) if isinstance(agent, AcmeAgent) else []
    return digest_of([agent.name, instructions_of(agent), tools, handoffs, *more])


def instructions_of(agent: Agent[RunContext]) -> str:
    """Return what an agent in code is told; of a function its source, as it is in every process."""
    if not callable(agent.instructions):
        return str(agent.instructions)
    with suppress(OSError, TypeError):  # a callable object, or code without a file
        return inspect.getsource(agent.instructions)
    kind = type(agent.instructions)
    return f"{kind.__module__}.{kind.__qualname__}"


def members_of(agent: AcmeAgent) -> list[dict[str, Any]]:
    """Return what an agent says of memory and compaction, as far as it says anything."""
    members = [agent.memory if agent.memory.is_used else None, agent.compaction]
    return [{type(one).__name__: one.model_dump(exclude_defaults=True)} for one in members if one]
