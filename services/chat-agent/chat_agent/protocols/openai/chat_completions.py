"""The encoder for OpenAI's Chat Completions."""

from collections.abc import Iterator, Sequence
from typing import Any

from servicekit.errors import ServiceError

from chat_agent.model import failures
from chat_agent.models import Run
from chat_agent.protocols.encoder import DONE, Payload, ProtocolEncoder, data_event
from chat_agent.protocols.openai.errors import render_error
from chat_agent.protocols.openai.response_object import url_citation
from chat_agent.protocols.openai.tools import called_tool
from chat_agent.protocols.retransmission import AnswerWithdrawn, RetransmissionFilter

BETWEEN_MESSAGES = "\n\n"
ENVELOPE_FIELDS = {"type", "run_id", "conversation_id", "at"}
COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
Json = dict[str, Any]


class ChatCompletion(ProtocolEncoder):
    """Encodes a run as chunks of a choice, or, once all events were fed, as a whole completion.

    Several choices share a list; each has a run of its own, and the first gives the completion its id.
    `tool_calls` are calls of the client's own tools; the server's tools, handoffs and approvals go into the
    field `acme`.
    """

    def __init__(
        self,
        run: Run,
        *,
        metadata: dict[str, str] | None = None,
        include_usage: bool = False,
        choices: "list[ChatCompletion] | None" = None,
    ) -> None:
        self._choices: list[ChatCompletion] = [] if choices is None else choices
        self._index = len(self._choices)
        self._choices.append(self)
        self.content = ""
        self.reasoning = ""
        self.logprobs: list[Json] = []
        self.annotations: list[Json] = []
        self.tool_calls: list[Json] = []
        self.finish_reason = "stop"
        self.used: Json = {}
        self._common: Json = {
            "id": f"chatcmpl-{run.id.hex}",
            "created": int(run.created_at.timestamp()),
            "model": run.agent,
            "system_fingerprint": None,
        }
        if metadata is not None:
            self._common["metadata"] = {**metadata, "conversation_id": str(run.conversation_id)}
        self._common = self._choices[0]._common
        self._run = run
        self._include_usage = include_usage
        self._is_structured = "output" in run.options
        self._retransmission = RetransmissionFilter()
        self._before = self._before_reasoning = ""
        # What a completion has no words for.
        self._acme: Json = {"status": "completed", "approvals": []}

    def completion(self) -> Json:
        """Return the completion, once its choices were fed with the whole of their runs."""
        choices = [one.choice() for one in self._choices]
        completion = {**self._common, "object": "chat.completion", "choices": choices}
        return {**completion, "usage": self._usage(), "acme": self._acme_of_all()}

    def choice(self) -> Json:
        """Return the choice, once it was fed with the whole run."""
        is_refusal = self.finish_reason == "content_filter"
        # Where JSON is required, OpenAI gives a refusal in place of the content, and as a regular end.
        is_instead = is_refusal and self._is_structured
        message: Json = {
            "role": "assistant",
            "content": None if is_instead or (self.tool_calls and not self.content) else self._text(),
            "refusal": self.content if is_refusal else None,
            "annotations": self.annotations,
            **({"reasoning_content": self.reasoning} if self.reasoning else {}),
            **({"tool_calls": self.tool_calls} if self.tool_calls else {}),
        }
        finish_reason = "stop" if is_instead else self.finish_reason
        logprobs = logprobs_of(self.logprobs)
        return {
            "index": self._index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }

    def ending(self) -> bytes:
        """Return the end of a stream, after the last of its choices."""
        return (self._frame([], usage=self._usage()) if self._include_usage else b"") + DONE

    def run_started(self, _: Payload) -> Iterator[bytes]:
        """Start the one choice."""
        yield self._chunk({"role": "assistant", "content": ""})

    def message_started(self, item: Payload) -> Iterator[bytes]:
        """Separate a message from the one before."""
        message = self._retransmission.start(item["id"])
        self._before = BETWEEN_MESSAGES if self.content and not message.sent else ""
        yield from ()

    def message_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send what is new of it."""
        try:
            new = self._retransmission.unsent(payload["item_id"], payload["delta"])
        except AnswerWithdrawn as error:
            yield from self._fail(error)
            return
        if new:
            text, self._before = self._before + new, ""
            self.content += text
            # Of a part that is sent again nothing is said twice.
            logprobs = payload.get("logprobs", []) if new == payload["delta"] else []
            self.logprobs += logprobs
            yield self._chunk({"content": text}, logprobs=logprobs)

    def reasoning_started(self, _: Payload) -> Iterator[bytes]:
        """Separate the reasoning of a call of the model from that of the one before."""
        self._before_reasoning = BETWEEN_MESSAGES if self.reasoning else ""
        yield from ()

    def reasoning_delta(self, payload: Payload) -> Iterator[bytes]:
        """Send reasoning, as compatible servers do."""
        text, self._before_reasoning = self._before_reasoning + payload["delta"], ""
        self.reasoning += text
        yield self._chunk({"reasoning_content": text})

    def message_completed(self, item: Payload) -> Iterator[bytes]:
        """Record how the message ended."""
        if item.get("incomplete"):
            return
        self.finish_reason = "content_filter" if item.get("refusal") else "stop"
        try:
            is_new = self._retransmission.close(item["id"])
        except AnswerWithdrawn as error:
            yield from self._fail(error)
            return
        if is_new and (cited := self._cited(item)):
            self.annotations += cited
            yield self._chunk({"annotations": cited})

    def _cited(self, item: Payload) -> list[Json]:
        """Return what a message cites; it stands at the end of the content so far."""
        before = len(self.content) - len(item["text"])
        return [
            {
                "type": "url_citation",
                "url_citation": url_citation(
                    {**one, "start": one["start"] + before, "end": one["end"] + before}
                ),
            }
            for one in item.get("citations", ())
        ]

    def run_resumed(self, payload: Payload) -> Iterator[bytes]:
        """Expect sent text to come again unchanged; it cannot be retracted."""
        self._retransmission.retract(payload["withdrawn"])
        yield self._acme_chunk(payload)

    def tool_called(self, payload: Payload) -> Iterator[bytes]:
        """Send a tool call."""
        yield self._acme_chunk(payload)

    def tool_output(self, payload: Payload) -> Iterator[bytes]:
        """Send a tool's output."""
        yield self._acme_chunk(payload)

    # What agents call that are tools themselves; a completion has no other place for it.
    nested_tool_called, nested_tool_output = tool_called, tool_output

    def agent_changed(self, payload: Payload) -> Iterator[bytes]:
        """Send a handoff, or what an agent knows or notes of a person."""
        yield self._acme_chunk(payload)

    memory_recalled = memory_noted = history_compacted = agent_changed

    def approval_required(self, payload: Payload) -> Iterator[bytes]:
        """Send a request for approval."""
        self._acme["approvals"].append({"run_id": payload["run_id"], **event_fields(payload)})
        yield self._acme_chunk(payload)

    def run_completed(self, payload: Payload) -> Iterator[bytes]:
        """End a completed run, unless text that was sent has not come again."""
        if self._retransmission.has_pending:
            yield from self._fail(AnswerWithdrawn())
        else:
            self.finish_reason = "length" if payload.get("truncated") else self.finish_reason
            yield from self._call_client(payload.get("tool_calls", ()))
            yield from self._finish(payload)

    def run_cancelled(self, payload: Payload) -> Iterator[bytes]:
        """End a cancelled run with `stop`, which every client takes for an end."""
        self.finish_reason = "stop"
        yield from self._finish(payload, acme={"type": payload["type"]})

    def run_waiting(self, payload: Payload) -> Iterator[bytes]:
        """End the stream of a run that waits for approvals, with a sentence for clients without approvals."""
        self._acme["status"] = "waiting"
        if notice := self._notice():
            yield self._chunk({"content": notice})
        yield from self._finish(payload, acme={"type": payload["type"]})

    def run_failed(self, payload: Payload) -> Iterator[bytes]:
        """End a failed run with its code."""
        yield from self._fail(failures.from_payload(payload))

    def _text(self) -> str:
        """Return the content of a complete choice."""
        return self.content + self._notice()

    def _notice(self) -> str:
        """Return what a person reads of a run that waits; no words belong to an answer in JSON."""
        if self._acme["status"] != "waiting" or self._is_structured:
            return ""
        between = BETWEEN_MESSAGES if self.content else ""
        return between + approval_notice(self._acme["approvals"])

    def _call_client(self, calls: Sequence[Json]) -> Iterator[bytes]:
        """Send the calls of the client's own tools, with which the answer ends."""
        for index, call in enumerate(calls):
            tool = called_tool(self._run, call)
            kind, member = ("custom", "input") if tool.is_custom else ("function", "arguments")
            called = {"name": tool.name, member: tool.arguments}
            self.tool_calls.append({"id": call["call_id"], "type": kind, kind: called})
            yield self._chunk({"tool_calls": [{"index": index, **self.tool_calls[-1]}]})
            self.finish_reason = "tool_calls"

    def _finish(self, payload: Payload, **more: Any) -> Iterator[bytes]:
        self.used = payload.get("usage") or {}
        self._acme["status"] = payload["type"].removeprefix("run.")
        yield self._chunk({}, self.finish_reason, **more)
        if len(self._choices) == 1:
            yield self.ending()

    def _usage(self) -> Json:
        """Return what the runs of all choices used."""
        used = [one.used for one in self._choices]
        return usage_of({name: sum(one.get(name, 0) for one in used) for name in COUNTS})

    def _acme_of_all(self) -> Json:
        """Return the field `acme` of a completion: it is completed when all of its choices are."""
        fields = [one._acme for one in self._choices]
        statuses = [one["status"] for one in fields if one["status"] != "completed"]
        approvals = [approval for one in fields for approval in one["approvals"]]
        return {"status": statuses[0] if statuses else "completed", "approvals": approvals}

    def _fail(self, error: ServiceError) -> Iterator[bytes]:
        yield data_event({"error": render_error(error)})
        yield DONE
        for one in self._choices:
            one.is_finished = True

    def _acme_chunk(self, payload: Payload) -> bytes:
        return self._chunk({}, acme={"type": payload["type"], **event_fields(payload)})

    def _chunk(
        self, delta: Json, finish_reason: str | None = None, logprobs: Sequence[Json] = (), **more: Any
    ) -> bytes:
        choice = {
            "index": self._index,
            "delta": delta,
            "logprobs": logprobs_of(logprobs),
            "finish_reason": finish_reason,
        }
        return self._frame([choice], **more)

    def _frame(self, choices: list[Json], **more: Any) -> bytes:
        usage = {"usage": None} if self._include_usage else {}
        return data_event(
            {**self._common, "object": "chat.completion.chunk", "choices": choices, **usage, **more}
        )


def logprobs_of(content: Sequence[Json]) -> Json | None:
    """Return the log probabilities of a choice, or of a part of it."""
    return {"content": [*content], "refusal": None} if content else None


def approval_notice(approvals: Sequence[Json]) -> str:
    """Return a sentence for each approval that a run waits for, with the id by which it is found."""
    return BETWEEN_MESSAGES.join(
        f"Sign in to `{sign_in['server']}`: {sign_in['url']} (run {one['run_id']})"
        if (sign_in := one.get("sign_in"))
        else f"`{one['name']}` is called only when a person approves it (run {one['run_id']})."
        for one in approvals
    )


def event_fields(payload: Payload) -> Json:
    """Return what an event says, without what all events have."""
    return {name: value for name, value in payload.items() if name not in ENVELOPE_FIELDS}


def usage_of(usage: Json) -> Json:
    """Return a run's usage as Chat Completions has it."""
    tokens_in, tokens_out = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
    }
