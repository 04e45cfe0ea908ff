"""The encoder for OpenAI's Responses."""

from collections.abc import Iterator
from typing import Any

from servicekit.errors import ServiceError

from chat_agent.model import failures
from chat_agent.models import Run
from chat_agent.protocols.encoder import Payload, ProtocolEncoder, fields_of, named_event, unique_item_id
from chat_agent.protocols.nested_calls import NestedCalls
from chat_agent.protocols.openai.errors import render_error
from chat_agent.protocols.openai.response_object import Json, call_result, response_of, text_part, usage_of
from chat_agent.protocols.openai.tools import called_tool
from chat_agent.protocols.retransmission import AnswerWithdrawn, RetransmissionFilter

# Whose tools these are: items of this kind are run by the server, and no client tries to run them itself.
SERVER = "acme"
# Calls of clients' tools: the type of the item, the prefix of its id, its text, and the events of that.
FUNCTION_CALL = ("function_call", "fc", "arguments", "function_call_arguments")
CUSTOM_CALL = ("custom_tool_call", "ctc", "input", "custom_tool_call_input")


class ResponseStream(ProtocolEncoder):
    """Encodes a run as the events of a response; `response` is the response so far.

    The same run is always sent with the same sequence numbers, so a stream can be resumed after any of them.
    """

    def __init__(self, run: Run, *, request: Json | None = None, after: int = -1) -> None:
        self.response = response_of(run, request or {})
        self._run = run
        self._after = after
        self._sequence = 0
        # What is open: where an item stands in the output, and which item a call is.
        self._open: dict[str, int] = {}
        self._calls: dict[str, str] = {}
        self._nested = NestedCalls()
        # What a response has no items for, oldest first.
        self._events: list[Json] = []
        self._retransmission = RetransmissionFilter()
        # Where each message stands, by the id that it had first.
        self._messages: dict[str, int] = {}

    @property
    def output(self) -> list[Json]:
        """Return the items so far."""
        output: list[Json] = self.response["output"]
        return output

    def run_started(self, _: Payload) -> Iterator[bytes]:
        """Start the response."""
        self.response["status"] = "in_progress"
        yield self._event("response.created", response=self.response)
        yield self._event("response.in_progress", response=self.response)

    def message_started(self, item: Payload) -> Iterator[bytes]:
        """Start a message, or send a retracted one again."""
        message = self._retransmission.start(item["id"])
        if message.item_id in self._messages:
            self._open[item["id"]] = self._messages[message.item_id]
            return
        content: Json = {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
        yield self._add(item, "msg", content)
        self._messages[item["id"]] = self._open[item["id"]]
        content["content"].append(text_part(""))
        yield self._part("response.content_part.added", self._open[item["id"]], part=text_part(""))

    def message_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send what is new of a message."""
        index = self._open[payload["item_id"]]
        try:
            new = self._retransmission.unsent(payload["item_id"], payload["delta"])
        except AnswerWithdrawn as error:
            yield from self._fail(error)
            return
        if new:
            part = self.output[index]["content"][0]
            part["text"] += new
            # No delta of a part is sent twice.
            logprobs = payload.get("logprobs", []) if new == payload["delta"] else []
            part["logprobs"] += logprobs
            yield self._part("response.output_text.delta", index, delta=new, logprobs=logprobs)

    def message_completed(self, item: Payload) -> Iterator[bytes]:
        """Complete a message, unless the client has its end; a truncated one ends with the run."""
        if item.get("incomplete"):
            return
        try:
            is_new = self._retransmission.close(item["id"])
        except AnswerWithdrawn as error:
            yield from self._fail(error)
            return
        index = self._open.pop(item["id"])
        if is_new:
            yield from self._end_message(index, item)

    def _end_message(self, index: int, item: Payload) -> Iterator[bytes]:
        """Send the end of a message; only now it is known whether it is a refusal, and what it cites."""
        text, is_refusal = item["text"], item.get("refusal", False)
        logprobs = self.output[index]["content"][0]["logprobs"]
        cited = text_part(text, logprobs, item.get("citations", ()))
        part = {"type": "refusal", "refusal": text} if is_refusal else cited
        self.output[index]["content"] = [part]
        if is_refusal:
            yield self._part("response.refusal.done", index, refusal=text)
        else:
            for number, annotation in enumerate(cited["annotations"]):
                fields = {"annotation_index": number, "annotation": annotation}
                yield self._part("response.output_text.annotation.added", index, **fields)
            yield self._part("response.output_text.done", index, text=text, logprobs=logprobs)
        yield self._part("response.content_part.done", index, part=part)
        yield self._done(index, "completed")

    def reasoning_started(self, item: Payload) -> Iterator[bytes]:
        """Start reasoning."""
        yield self._add(item, "rs", {"type": "reasoning", "status": "in_progress", "summary": []})

    def reasoning_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send a delta."""
        index = self._open[payload["item_id"]]
        summary = self.output[index]["summary"]
        if not summary:
            summary.append({"type": "summary_text", "text": ""})
            yield self._summary("response.reasoning_summary_part.added", index, part=summary[0])
        summary[0]["text"] += payload["delta"]
        yield self._summary("response.reasoning_summary_text.delta", index, delta=payload["delta"])

    def reasoning_completed(self, item: Payload) -> Iterator[bytes]:
        """Complete it."""
        index = self._open.pop(item["id"])
        for part in self.output[index]["summary"]:
            yield self._summary("response.reasoning_summary_text.done", index, text=part["text"])
            yield self._summary("response.reasoning_summary_part.done", index, part=part)
        yield self._done(index, "completed")

    def tool_call_completed(self, item: Payload) -> Iterator[bytes]:
        """Send a tool call; it stays open until there is an output."""
        call = {"type": "mcp_call", "server_label": SERVER, "name": item["name"], "arguments": ""}
        yield self._add(item, "mcp", {**call, "status": "in_progress", "output": None, "error": None})
        self._calls[item["call_id"]] = item["id"]
        index = self._open[item["id"]]
        yield self._part("response.mcp_call.in_progress", index, content=False)
        arguments = self.output[index]["arguments"] = item["arguments"]
        yield self._part("response.mcp_call_arguments.delta", index, content=False, delta=arguments)
        yield self._part("response.mcp_call_arguments.done", index, content=False, arguments=arguments)

    def tool_output_completed(self, item: Payload) -> Iterator[bytes]:
        """Send a tool's output."""
        index = self._open.pop(self._calls.pop(item["call_id"], ""), None)
        if index is not None:
            status = "failed" if item.get("failed") else "completed"
            self.output[index] |= call_result(item)
            yield self._part(f"response.mcp_call.{status}", index, content=False)
            yield self._done(index, status)

    def nested_tool_called(self, payload: Payload) -> Iterator[bytes]:
        """Record what an agent calls that is a tool; it is no item, which clients would send back."""
        self._nested.add(payload)
        yield from ()

    nested_tool_output = nested_tool_called

    def memory_recalled(self, payload: Payload) -> Iterator[bytes]:
        """Record what an agent knows or notes of a person, or that it reads a summary; it is no item."""
        self._events.append({"type": payload["type"], **fields_of(payload)})
        yield from ()

    memory_noted = history_compacted = memory_recalled

    def approval_required(self, payload: Payload) -> Iterator[bytes]:
        """Send a request for approval."""
        request = {"type": "mcp_approval_request", "server_label": SERVER}
        item = {
            **request,
            "id": payload["approval_id"],
            "name": payload["name"],
            "arguments": payload["arguments"],
        }
        call = self._open.get(self._calls.get(payload["call_id"], ""))
        if call is not None:
            self.output[call]["approval_request_id"] = payload["approval_id"]
        self.output.append(item)
        for type in ("response.output_item.added", "response.output_item.done"):
            yield self._event(type, output_index=len(self.output) - 1, item=item)

    def run_resumed(self, payload: Payload) -> Iterator[bytes]:
        """Continue a resumed run: sent text must come again unchanged, other open items are ended."""
        if self.response["status"] != "in_progress":
            # To a client that read its end, it is a new one.
            yield from self.run_started(payload)
        self._retransmission.retract(payload["withdrawn"])
        calls = [call_id for call_id, item_id in self._calls.items() if item_id in payload["withdrawn"]]
        self._nested.withdraw(calls)
        for item_id in payload["withdrawn"]:
            index = self._open.get(item_id)
            if index is not None and self.output[index]["type"] != "message":
                del self._open[item_id]
                yield self._done(index, "incomplete")

    def run_completed(self, payload: Payload) -> Iterator[bytes]:
        """End a completed run, unless text that was sent has not come again."""
        if self._retransmission.has_pending:
            yield from self._fail(AnswerWithdrawn())
            return
        yield from self._close()
        for call in payload.get("tool_calls", ()):
            yield from self._call_client(call)
        if payload.get("truncated"):
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
        yield self._end("incomplete" if payload.get("truncated") else "completed", payload)

    def run_waiting(self, payload: Payload) -> Iterator[bytes]:
        """End the stream of a run that waits; the calls that need approval stay open."""
        yield self._end("completed", payload)

    def run_cancelled(self, payload: Payload) -> Iterator[bytes]:
        """End a cancelled run."""
        yield from self._close()
        yield self._end("cancelled", payload)

    def run_failed(self, payload: Payload) -> Iterator[bytes]:
        """End a failed run with its code."""
        yield from self._fail(failures.from_payload(payload), payload)

    def _call_client(self, call: Json) -> Iterator[bytes]:
        """Send a call of one of the client's own tools, with which the response ends."""
        tool = called_tool(self._run, call)
        kind, prefix, member, event = CUSTOM_CALL if tool.is_custom else FUNCTION_CALL
        item = {"type": kind, "call_id": call["call_id"], "name": tool.name, member: ""}
        namespace = {"namespace": tool.namespace} if tool.namespace else {}
        yield self._add({"id": call["call_id"]}, prefix, {**item, **namespace, "status": "in_progress"})
        index = self._open.pop(call["call_id"])
        self.output[index][member] = tool.arguments
        yield self._part(f"response.{event}.delta", index, content=False, delta=tool.arguments)
        done = {member: tool.arguments} if tool.is_custom else {"name": tool.name, member: tool.arguments}
        yield self._part(f"response.{event}.done", index, content=False, **done)
        yield self._done(index, "completed")

    def _close(self) -> Iterator[bytes]:
        for index in sorted({*self._open.values()}):
            if self.output[index]["status"] == "in_progress":
                yield self._done(index, "incomplete")
        self._open = {}

    def _fail(self, error: ServiceError, payload: Payload | None = None) -> Iterator[bytes]:
        yield from self._close()
        rendered = render_error(error)
        members = {name: value for name, value in rendered.items() if name not in {"type", "param"}}
        self.response["error"] = members
        yield self._end("failed", payload or {})
        # OpenAI's clients raise for what has an `error`; `code` and `message` beside it are the event's own.
        yield self._event("error", **members, param=None, error=rendered)
        self.is_finished = True

    def _end(self, status: str, payload: Payload) -> bytes:
        self.response["status"] = status
        self.response["usage"] = usage_of(payload.get("usage") or {})
        self.response["acme"] = {"agent": payload.get("agent"), "handoffs": payload.get("handoffs", [])}
        if self._nested.calls:
            self.response["acme"]["nested_calls"] = [*self._nested.calls.values()]
        if self._events:
            self.response["acme"]["events"] = [*self._events]
        # There is no event of its own for what was cancelled.
        name = "incomplete" if status == "cancelled" else status
        return self._event(f"response.{name}", response=self.response)

    def _add(self, item: Payload, prefix: str, content: Json) -> bytes:
        index = self._open[item["id"]] = len(self.output)
        content["id"] = unique_item_id(prefix, self._run.id, str(index))
        self.output.append(content)
        return self._event("response.output_item.added", output_index=index, item=content)

    def _done(self, index: int, status: str) -> bytes:
        self.output[index]["status"] = status
        return self._event("response.output_item.done", output_index=index, item=self.output[index])

    def _part(self, type: str, index: int, *, content: bool = True, **fields: Any) -> bytes:
        place = {"item_id": self.output[index]["id"], "output_index": index}
        return self._event(type, **place, **({"content_index": 0} if content else {}), **fields)

    def _summary(self, type: str, index: int, **fields: Any) -> bytes:
        return self._part(type, index, content=False, summary_index=0, **fields)

    def _event(self, type: str, **fields: Any) -> bytes:
        number, self._sequence = self._sequence, self._sequence + 1
        if number <= self._after:
            return b""
        return named_event(type, {"type": type, "sequence_number": number, **fields})
