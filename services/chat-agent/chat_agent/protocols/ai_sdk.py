"""The voice of the Vercel AI SDK: its UI message stream, version 1."""

from collections.abc import Iterator
from typing import Any

import orjson

from chat_agent.protocols.encoder import DONE, Told, Voice, data

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
NAMED_HERE = ("run_id", "conversation_id", "agent", "model")


class UiMessageStream(Voice):
    """Says a run as the parts of one message: a step for each agent, and data parts for what has no other."""

    def __init__(self) -> None:
        # What is being said: the id of the item, and whether it is text or reasoning.
        self._open: dict[str, str] = {}
        # The calls of tools that have given nothing back yet: the ids of the item and of the call.
        self._calls: dict[str, str] = {}
        self._finish_reason = "stop"
        self._start_of_all = b""

    def run_started(self, told: Told) -> Iterator[bytes]:
        """Begin the message; it bears the run's id."""
        metadata = {name: told[name] for name in NAMED_HERE if name in told}
        self._start_of_all = part("start", messageId=told["run_id"], messageMetadata=metadata)
        yield from self.reopen()

    def reopen(self) -> Iterator[bytes]:
        """Begin the message, or go on with it."""
        yield self._start_of_all
        yield part("start-step")

    def message_started(self, item: Told) -> Iterator[bytes]:
        """Begin a text."""
        yield self._start(item, "text")

    def message_delta(self, told: Told) -> Iterator[bytes]:
        """Say more of it."""
        yield part("text-delta", id=told["item_id"], delta=told["delta"])

    def message_completed(self, item: Told) -> Iterator[bytes]:
        """End it."""
        self._finish_reason = "content-filter" if item.get("refusal") else "stop"
        yield from self._end(item["id"])

    def reasoning_started(self, item: Told) -> Iterator[bytes]:
        """Begin to tell what the model thinks."""
        yield self._start(item, "reasoning")

    def reasoning_delta(self, told: Told) -> Iterator[bytes]:
        """Tell more of it."""
        yield part("reasoning-delta", id=told["item_id"], delta=told["delta"])

    def reasoning_completed(self, item: Told) -> Iterator[bytes]:
        """End it."""
        yield from self._end(item["id"])

    def tool_call_completed(self, item: Told) -> Iterator[bytes]:
        """Note which item a call is."""
        self._calls[item["id"]] = item["call_id"]
        yield from ()

    def tool_output_completed(self, item: Told) -> Iterator[bytes]:
        """Note that a call is done."""
        self._calls = {id: call_id for id, call_id in self._calls.items() if call_id != item["call_id"]}
        yield from ()

    def tool_called(self, told: Told) -> Iterator[bytes]:
        """Show a call of a tool; `providerExecuted` keeps the client from running it."""
        call = {"toolCallId": told["call_id"], "toolName": told["name"], **OURS}
        yield part("tool-input-available", **call, input=parsed(told["arguments"]))

    def tool_output(self, told: Told) -> Iterator[bytes]:
        """Show what the tool gave back."""
        yield part("tool-output-available", toolCallId=told["call_id"], output=told["output"], **OURS)

    def agent_changed(self, told: Told) -> Iterator[bytes]:
        """End one agent's step and begin the other's."""
        yield part("finish-step")
        yield part("start-step")
        yield part("data-agent-changed", data={"from": told["from"], "to": told["to"]})

    def approval_required(self, told: Told) -> Iterator[bytes]:
        """Say that a person must allow something."""
        yield part("tool-approval-request", approvalId=told["approval_id"], toolCallId=told["call_id"])
        asked = {name: told[name] for name in ("run_id", "approval_id", "name", "arguments")}
        yield part("data-approval-required", id=told["approval_id"], data=asked)

    def run_resumed(self, told: Told) -> Iterator[bytes]:
        """End what was withdrawn, and say that it does not count; it is said anew as another part."""
        for item_id in told["withdrawn"]:
            yield from self._end(item_id, withdrawn=True)
            if (call_id := self._calls.pop(item_id, None)) is not None:
                yield part("tool-output-error", toolCallId=call_id, errorText=WITHDRAWN, **OURS)
        yield part("data-withdrawn", data={"ids": told["withdrawn"]})

    def run_completed(self, told: Told) -> Iterator[bytes]:
        """End well."""
        yield from self._finish(told, self._finish_reason)

    def run_waiting(self, told: Told) -> Iterator[bytes]:
        """End what is said for now; the run rests until it is allowed to go on."""
        yield from self._finish(told, "other")

    def run_cancelled(self, told: Told) -> Iterator[bytes]:
        """End because somebody wished so."""
        yield from self._close()
        yield part("abort", reason="cancelled")
        yield from self._finish(told, "other")

    def run_failed(self, told: Told) -> Iterator[bytes]:
        """End by the name of what went wrong; the error itself has room for a sentence only."""
        yield from self._close()
        yield part("data-error", data={"code": told["code"], "detail": told["detail"]})
        yield part("error", errorText=told["detail"])
        yield from self._finish(told, "error")

    def _finish(self, told: Told, reason: str) -> Iterator[bytes]:
        yield from self._close()
        yield part("finish-step")
        metadata = {"status": told["type"].removeprefix("run."), "usage": told.get("usage")}
        yield part("finish", finishReason=reason, messageMetadata=metadata)
        yield DONE

    def _start(self, item: Told, kind: str) -> bytes:
        self._open[item["id"]] = kind
        return part(f"{kind}-start", id=item["id"])

    def _end(self, item_id: str, *, withdrawn: bool = False) -> Iterator[bytes]:
        kind = self._open.pop(item_id, None)
        if kind is not None:
            # What stays with the part, so that it can be shown struck out.
            mark = {"providerMetadata": {"acme": {"withdrawn": True}}} if withdrawn else {}
            yield part(f"{kind}-end", id=item_id, **mark)

    def _close(self) -> Iterator[bytes]:
        for item_id in [*self._open]:
            yield from self._end(item_id)


WITHDRAWN = "The process that made this call was lost."
# Tools that the server runs, and that the client may know nothing of.
OURS = {"providerExecuted": True, "dynamic": True}


def part(type: str, **fields: Any) -> bytes:
    """Give one part of the stream."""
    return data({"type": type, **fields})


def parsed(arguments: str) -> Any:
    """Read a tool's arguments; what is no JSON (masked, cut) is shown as it is."""
    try:
        return orjson.loads(arguments)
    except ValueError:
        return arguments
