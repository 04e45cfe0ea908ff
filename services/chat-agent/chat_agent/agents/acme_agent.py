"""An agent of the SDK with what is Acme's: memory, and summaries of long conversations."""

from dataclasses import dataclass

from agents import Agent

from chat_agent.agents.tool import RunContext
from chat_agent.agents.tools.notes import REMEMBER
from chat_agent.compaction.policy import CompactionPolicy
from chat_agent.memory.use import NO_MEMORY, MemoryUse


@dataclass
class AcmeAgent(Agent[RunContext]):
    """An agent, in code or made from a definition; what is Acme's means the same in both, and is off."""

    memory: MemoryUse = NO_MEMORY
    # When long conversations are summarized; without it, as COMPACTION_TOKENS says.
    compaction: CompactionPolicy | None = None

    def __post_init__(self) -> None:
        """Offer the tool `remember` to an agent that notes."""
        super().__post_init__()  # type: ignore[no-untyped-call]  # the SDK says nothing of it
        if self.memory.write and all(tool.name != REMEMBER.name for tool in self.tools):
            self.tools = [*self.tools, REMEMBER]
