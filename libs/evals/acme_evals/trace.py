"""What a run did, from its events, as evaluators read it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from acme_client.events import RunEvent
from pydantic_evals.otel import SpanNode, SpanTree


@dataclass
class Call:
    """A call of a tool."""

    name: str
    arguments: str
    has_failed: bool = False


@dataclass
class Trace:
    """What the runs of one case did."""

    run_ids: list[str] = field(default_factory=list)
    conversation_id: str = ""
    agents: list[str] = field(default_factory=list)
    # The tools that wait for a person.
    approvals: list[str] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    # As `name@3`, or `name@sha256:…` for an agent of the service.
    versions: list[str] = field(default_factory=list)
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    # In millionths of a US dollar; none where a price is not known.
    cost: int | None = 0
    duration_ms: int = 0

    @property
    def tools(self) -> list[str]:
        """The tools that were called, in this order."""
        return [call.name for call in self.calls.values()]

    def add_event(self, event: RunEvent) -> None:
        """Note who took part and what was called; a withdrawn call that comes again is one call."""
        match event["type"]:
            case "run.started":
                self.run_ids.append(event["run_id"])
                self.conversation_id = event["conversation_id"]
                self.agents.append(event["agent"])
            case "approval.required":
                self.approvals.append(event["name"])
            case "agent.changed":
                self.agents.append(event["to"])
            # What an agent calls that is a tool itself is a matter of that agent.
            case "tool.called" if "parent_call_id" not in event:
                self.calls[event["call_id"]] = Call(event["name"], event["arguments"])
            case "tool.output" if event["call_id"] in self.calls:
                self.calls[event["call_id"]].has_failed = event.get("failed", False)

    def add_run(self, run: dict[str, Any]) -> None:
        """Add what a run took, and the versions of the agents that took part."""
        usage = run["usage"]
        self.requests += usage["requests"]
        self.input_tokens += usage["input_tokens"]
        self.output_tokens += usage["output_tokens"]
        self.cost = None if self.cost is None or run["cost"] is None else self.cost + run["cost"]
        self.duration_ms += run["duration_ms"] or 0
        names = {one["name"]: one["number"] or one["digest"] for one in run["agent_versions"]}
        took_part = [f"{name}@{names[name]}" for name in dict.fromkeys(self.agents) if name in names]
        self.versions += [one for one in took_part if one not in self.versions]

    def attributes(self) -> dict[str, Any]:
        """Return what a report stores of the runs, beside numbers."""
        return {
            "runs": self.run_ids,
            "conversation": self.conversation_id,
            "agents": self.agents,
            "versions": self.versions,
            "tools": self.tools,
            "cost_known": self.cost is not None,
        }

    def metrics(self) -> dict[str, int | float]:
        """Return the numbers of the runs; a cost that is not known is none of them."""
        numbers: dict[str, int | float] = {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }
        return numbers if self.cost is None else numbers | {"cost_usd": self.cost / 1_000_000}

    def span_tree(self) -> SpanTree:
        """Return the run as spans, which is what pydantic-evals' evaluators of tools and requests read."""
        tools = [
            span(number, f"execute_tool {call.name}", has_failed=call.has_failed, attributes=of_call(call))
            for number, call in enumerate(self.calls.values(), 1)
        ]
        request = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "acme"}
        chats = [span(len(tools) + 1 + number, "chat", attributes=request) for number in range(self.requests)]
        tree = SpanTree()
        tree.add_spans([*tools, *chats])
        return tree


def of_call(call: Call) -> dict[str, str]:
    """Return the attributes of the span of a call."""
    return {"gen_ai.tool.name": call.name, "gen_ai.tool.call.arguments": call.arguments}


def span(number: int, name: str, *, attributes: dict[str, str], has_failed: bool = False) -> SpanNode:
    """Build a span; its number is its place in time."""
    at = datetime.fromtimestamp(0).astimezone() + timedelta(milliseconds=number)
    return SpanNode(
        name=name,
        trace_id=1,
        span_id=number,
        parent_span_id=None,
        start_timestamp=at,
        end_timestamp=at,
        attributes=dict(attributes),
        status="error" if has_failed else "unset",
    )
