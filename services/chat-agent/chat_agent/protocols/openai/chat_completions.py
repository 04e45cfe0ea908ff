"""The voice of OpenAI's Chat Completions."""

from collections.abc import Iterator
from typing import Any

from servicekit.errors import ServiceError

from chat_agent.model import failures
from chat_agent.models import Run
from chat_agent.protocols.encoder import DONE, Told, Voice, data
from chat_agent.protocols.openai.errors import rendered
from chat_agent.protocols.retransmission import AnswerWithdrawn, Repetition

BETWEEN_MESSAGES = "\n\n"
OF_THE_LOG = {"type", "run_id", "conversation_id", "at"}
Json = dict[str, Any]


class ChatCompletion(Voice):
    """Says a run as chunks of one choice, or, once it has heard all, as a whole completion.

    Tools, handoffs and approvals go into the field `acme`: as `tool_calls` a client would run them itself.
    """

    def __init__(
        self, run: Run, *, metadata: dict[str, str] | None = None, include_usage: bool = False
    ) -> None:
        self.content = ""
        self.reasoning = ""
        self.finish_reason = "stop"
        self.usage: Json | None = None
        self._common: Json = {
            "id": f"chatcmpl-{run.id.hex}",
            "created": int(run.created_at.timestamp()),
            "model": run.agent,
            "system_fingerprint": None,
        }
        if metadata is not None:
            self._common["metadata"] = {**metadata, "conversation_id": str(run.conversation_id)}
        self._include_usage = include_usage
        self._repetition = Repetition()
        self._before = ""
        # What a completion has no words for.
        self._acme: Json = {"status": "completed", "approvals": []}

    def whole(self) -> Json:
        """Give the completion, when all was heard."""
        refused = self.finish_reason == "content_filter"
        message: Json = {
            "role": "assistant",
            "content": self.content,
            "refusal": self.content if refused else None,
            "annotations": [],
            **({"reasoning_content": self.reasoning} if self.reasoning else {}),
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        completion = {**self._common, "object": "chat.completion", "choices": [choice], "usage": self.usage}
        return {**completion, "acme": self._acme}

    def run_started(self, _: Told) -> Iterator[bytes]:
        """Begin the one choice."""
        yield self._chunk({"role": "assistant", "content": ""})

    def message_started(self, item: Told) -> Iterator[bytes]:
        """Set one message apart from the one before."""
        message = self._repetition.begin(item["id"])
        self._before = BETWEEN_MESSAGES if self.content and not message.heard else ""
        yield from ()

    def message_delta(self, told: Told) -> Iterator[bytes]:
        """Say what is new of it."""
        try:
            new = self._repetition.new(told["item_id"], told["delta"])
        except AnswerWithdrawn as error:
            yield from self._fail(error)
            return
        if new:
            text, self._before = self._before + new, ""
            self.content += text
            yield self._chunk({"content": text})

    def reasoning_delta(self, told: Told) -> Iterator[bytes]:
        """Say what the model thinks, as compatible servers do it."""
        self.reasoning += told["delta"]
        yield self._chunk({"reasoning_content": told["delta"]})

    def message_completed(self, item: Told) -> Iterator[bytes]:
        """Note how the message ended."""
        if item.get("incomplete"):
            return
        self.finish_reason = "content_filter" if item.get("refusal") else "stop"
        try:
            self._repetition.close(item["id"])
        except AnswerWithdrawn as error:
            yield from self._fail(error)

    def run_resumed(self, told: Told) -> Iterator[bytes]:
        """Expect what was sent to be said again as it was; it cannot be taken back."""
        self._repetition.withdraw(told["withdrawn"])
        yield self._aside(told)

    def tool_called(self, told: Told) -> Iterator[bytes]:
        """Say that a tool is called."""
        yield self._aside(told)

    def tool_output(self, told: Told) -> Iterator[bytes]:
        """Say what a tool gave back."""
        yield self._aside(told)

    def agent_changed(self, told: Told) -> Iterator[bytes]:
        """Say that another agent goes on."""
        yield self._aside(told)

    def approval_required(self, told: Told) -> Iterator[bytes]:
        """Say that a person must allow something."""
        self._acme["approvals"].append(said_of(told))
        yield self._aside(told)

    def run_completed(self, told: Told) -> Iterator[bytes]:
        """End well, unless something that was sent has not been said again."""
        if self._repetition.is_owed:
            yield from self._fail(AnswerWithdrawn())
        else:
            yield from self._finish(told)

    def run_cancelled(self, told: Told) -> Iterator[bytes]:
        """End because somebody wished so: there is no word for it, and clients know what to do at `stop`."""
        self.finish_reason = "stop"
        yield from self._finish(told, acme={"type": told["type"]})

    def run_waiting(self, told: Told) -> Iterator[bytes]:
        """End what is said for now; the run rests until it is allowed to go on."""
        yield from self._finish(told, acme={"type": told["type"]})

    def run_failed(self, told: Told) -> Iterator[bytes]:
        """End by the name of what went wrong."""
        yield from self._fail(failures.named(told["code"], told["detail"]))

    def _finish(self, told: Told, **more: Any) -> Iterator[bytes]:
        self.usage = usage_of(told.get("usage") or {})
        self._acme["status"] = told["type"].removeprefix("run.")
        yield self._chunk({}, self.finish_reason, **more)
        if self._include_usage:
            yield self._frame([], usage=self.usage)
        yield DONE

    def _fail(self, error: ServiceError) -> Iterator[bytes]:
        yield data({"error": rendered(error)})
        yield DONE
        self.is_over = True

    def _aside(self, told: Told) -> bytes:
        return self._chunk({}, acme={"type": told["type"], **said_of(told)})

    def _chunk(self, delta: Json, finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._frame([choice], **more)

    def _frame(self, choices: list[Json], **more: Any) -> bytes:
        usage = {"usage": None} if self._include_usage else {}
        return data({**self._common, "object": "chat.completion.chunk", "choices": choices, **usage, **more})


def said_of(told: Told) -> Json:
    """Give what an event says, without what all events have."""
    return {name: value for name, value in told.items() if name not in OF_THE_LOG}


def usage_of(usage: Json) -> Json:
    """Give a run's usage as Chat Completions has it."""
    tokens_in, tokens_out = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
    }
