"""What must be so of every run. Each check gives how much is wrong with one."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping

from sandbox.tokens import tokenize

from scripts.chaos import received
from scripts.chaos.verification import RunRecord

Check = Callable[[RunRecord], int]
# As a run's usage and the ledger name it, and as the sandbox does.
USAGE_FIELDS: Mapping[str, str] = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cached_tokens": "cached",
    "reasoning_tokens": "reasoning",
}


def numbers(what: str) -> Check:
    """Check the numbers of the received events."""
    return lambda run: int(getattr(received.compare_sequence_numbers(run.run_client.events), what))


def tokens(what: str) -> Check:
    """Check the received tokens against those that the model sent."""
    return lambda run: int(
        getattr(received.compare_tokens(tokenize(run.model_text), tokenize(streamed_text(run))), what)
    )


def streamed_text(run: RunRecord) -> str:
    """Return what the client has of the answer."""
    return "".join(received.received_tokens(run.run_client.events))


def log_differs(run: RunRecord) -> int:
    """Count the events that are other ones, or not there, when they are read again."""
    events = run.run_client.events[-len(run.log) :] if run.is_log_lost else run.run_client.events
    if run.is_log_lost and not run.log:
        return 0
    pairs = itertools.zip_longest(events, run.log)
    return sum(one != other for one, other in pairs)


def log_holes(run: RunRecord) -> int:
    """Count what is wrong with the numbers of the log itself."""
    difference = received.compare_sequence_numbers(run.log)
    lost = int(run.log[0].id) - 1 if run.is_log_lost and run.log else 0
    return difference.missing - lost + difference.repeated + difference.disordered


def ends_in_log(run: RunRecord) -> int:
    """Count the terminal events but for one in the log, where there is one."""
    return 0 if run.is_log_lost and not run.log else abs(received.count_terminal_events(run.log) - 1)


def messages(role: str) -> Check:
    """Check that somebody's message was kept once."""
    return lambda run: abs(sum(item["data"].get("role") == role for item in run.items) - 1)


def tools(run: RunRecord) -> int:
    """Count tool calls that were kept without exactly one output, and outputs without a call."""
    of_kind = {
        kind: Counter(item["data"]["call_id"] for item in run.items if item["data"].get("type") == kind)
        for kind in ("function_call", "function_call_output")
    }
    calls, outputs = of_kind.values()
    ids = calls.keys() | outputs.keys()
    return sum((calls[call], outputs[call]) != (1, 1) for call in ids)


def usage_differs(run: RunRecord) -> int:
    """Count the tokens by which an undisturbed run's usage is not what the model counted."""
    if not run.is_undisturbed:
        return 0
    used = run.run["usage"]
    return sum(
        abs(used[name] - sum(call["usage"][its] for call in run.calls)) for name, its in USAGE_FIELDS.items()
    )


def tool_calls_differ(run: RunRecord) -> int:
    """Count the calls by which a completed run's are not the one that it should make."""
    return abs(run.tool_calls - 1) if run.run_client.kind.agent == "clerk" else 0


def memories_differ(run: RunRecord) -> int:
    """Count the memories by which a completed run's are not the one that it should note."""
    return abs(run.memories - 1) if run.run_client.kind.agent == "friend" else 0


def leaks(run: RunRecord) -> int:
    """Count the parts of an answer that no guardrail has let pass."""
    if not run.run_client.kind.is_silent:
        return 0
    events = (*run.run_client.events, *run.log)
    stored = sum(item["data"].get("role") == "assistant" for item in run.items)
    return stored + sum(event.type == "message.delta" for event in events)


# Of every run that was begun.
ALWAYS: Mapping[str, Check] = {
    "runs whose end was not received": lambda run: int(not run.run_client.has_ended),
    "runs that ended otherwise than their kind": lambda run: int(run.end not in run.run_client.kind.ends),
    "runs that could not be read": lambda run: int(bool(run.unread)),
    "sequence numbers missing": numbers("missing"),
    "sequence numbers repeated": numbers("repeated"),
    "sequence numbers out of order": numbers("disordered"),
    "sequence numbers wrong in the log": log_holes,
    "terminal events but for one in the log": ends_in_log,
    "received terminal events but for one": lambda run: abs(
        received.count_terminal_events(run.run_client.events) - 1
    ),
    "tool calls repeated": lambda run: max(run.tool_calls - 1, 0),
    "texts that no guardrail let pass": leaks,
}
# Of one that completed.
COMPLETED: Mapping[str, Check] = {
    "tokens missing": tokens("missing"),
    "tokens repeated": tokens("repeated"),
    "tokens out of order": tokens("disordered"),
    "texts other than the run's output": lambda run: int(streamed_text(run) != run.run["output"]),
    "texts other than the last message": lambda run: int(streamed_text(run) != run.last_message),
    "events other than in the log": log_differs,
    "user messages but for one": messages("user"),
    "assistant messages but for one": messages("assistant"),
    "tool calls without their one output": tools,
    "tool calls but for one": tool_calls_differ,
    "memories but for one": memories_differ,
    "tokens of undisturbed runs miscounted": usage_differs,
}


def find_errors(run: RunRecord) -> dict[str, int]:
    """Return what is wrong with a run, by check."""
    checks = {**ALWAYS, **(COMPLETED if run.is_completed and not run.unread else {})}
    return {name: wrong for name, check in checks.items() if (wrong := check(run))}
