"""The kinds of runs, each with what its agent has to do, and how it may end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COMPLETED = "completed"
# Whoever called the tool was lost: the call is not repeated, and the run says so.
UNKNOWN = "tool_outcome_unknown"
JUDGED = {"input": {"version": 1, "guardrails": [{"name": "Jailbreak", "config": {}}]}}
# Of calls of tools.
TIMEOUT_SECONDS = 2


@dataclass(frozen=True)
class Kind:
    """What is said besides the mark of a run, to which agent, and what must come of it."""

    name: str
    # `{mark}` stands for the mark.
    words: str = ""
    agent: str = "triage"
    # `completed`, or the codes of errors.
    ends: frozenset[str] = frozenset({COMPLETED})
    # Whether nothing of an answer may be read.
    is_silent: bool = False

    def message(self, mark: str) -> str:
        """Write the part of the message that makes it of this kind."""
        return f" {self.words.format(mark=mark)}" if self.words else ""


def tool_kind(name: str, tool: str) -> Kind:
    """Return the kind of runs that call a tool, which must not be called twice."""
    return Kind(name, f"[sandbox: call={tool}] order={{mark}}", "clerk", frozenset({COMPLETED, UNKNOWN}))


PLAIN = Kind("plain")
# Most are plain; the others come in turn.
OTHERS: Sequence[Kind] = (
    Kind("tool of the service", "What time is it?"),
    tool_kind("HTTP tool", "pay"),
    tool_kind("HTTP tool that hangs", "hang"),
    tool_kind("HTTP tool that dies in its answer", "die"),
    tool_kind("MCP server", "shop__deliver"),
    Kind("memory", '[sandbox: call=remember] text="I live in {mark}" I live in {mark}.', "friend"),
    Kind("judged", agent="guarded"),
    Kind(
        "refused by a judge",
        "flagged=true confidence=0.9",
        "guarded",
        frozenset({"guardrail_triggered"}),
        is_silent=True,
    ),
    Kind(
        "judge that is away",
        "[sandbox: error=500]",
        "guarded",
        frozenset({"guardrail_unavailable"}),
        is_silent=True,
    ),
    Kind("model that answers 500", "[sandbox: error=500]", ends=frozenset({"model_unavailable"})),
    Kind("model that breaks off", "[sandbox: die-after=20]", ends=frozenset({"model_unavailable"})),
    Kind("model that hangs", "[sandbox: stall-after=20]", ends=frozenset({"model_timed_out"})),
)


def kind_of(number: int) -> Kind:
    """Return the kind of a run by its number: every other one is plain."""
    return PLAIN if number % 2 else OTHERS[number // 2 % len(OTHERS)]


def http_tool(url: str, path: str) -> Mapping[str, Any]:
    """Return the document of a tool that must not be called twice."""
    order = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
    endpoint = {"method": "POST", "url": f"{url}/{path}", "parameters": order}
    return {"description": f"Make it {path}.", "endpoint": endpoint, "timeout_seconds": TIMEOUT_SECONDS}


AGENTS: Mapping[str, Mapping[str, Any]] = {
    "clerk": {
        "tools": [{"name": name} for name in ("pay", "hang", "die")],
        "mcp": [{"server": "shop"}],
    },
    "friend": {"memory": {"write": True}},
    "guarded": {"guardrails": JUDGED},
}
