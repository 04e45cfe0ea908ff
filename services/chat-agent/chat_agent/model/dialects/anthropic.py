"""Anthropic's Messages below the SDK's Responses model (https://platform.claude.com/docs/en/api/messages)."""

from collections.abc import Iterator

from chat_agent.model.chat_stream import count_of
from chat_agent.model.dialects.anthropic_requests import to_body
from chat_agent.model.dialects.client import Dialect, DialectClient
from chat_agent.model.dialects.response_writer import ResponseWriter, usage_of
from chat_agent.model.json import Json, encode
from chat_agent.model.reasoning import seal
from chat_agent.model.transport import Connections, ErrorBody, Transport

VERSION = "2023-06-01"
ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
TRUNCATED = {"max_tokens", "model_context_window_exceeded"}
REFUSAL = "The model refused to answer."
INPUT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class MessageReader:
    """Reads the events of one answer, which may come in several messages."""

    def __init__(self, request: Json) -> None:
        self._writer = ResponseWriter(request["model"])
        self._block: Json = {}
        self._has_started = False
        self._stop_reason: str | None = None
        # Of the messages before the newest, and of the newest, whose counts are replaced by later ones.
        self._earlier: list[Json] = []
        self._usage: Json = {}

    @property
    def is_paused(self) -> bool:
        """Whether the model waits to be sent its turn back."""
        return self._stop_reason == "pause_turn"

    def items(self) -> list[Json]:
        """Return what was said so far, as items of Responses."""
        return self._writer.items

    def read(self, event: Json) -> Iterator[Json]:
        """Yield what an event stands for; an unknown one, and `ping`, for nothing."""
        match event.get("type"):
            case "message_start":
                yield from self._start(event["message"])
            case "content_block_start":
                self._block = {**event["content_block"], "signature": "", "is_empty": True}
                yield from self._open(self._block)
            case "content_block_delta":
                yield from self._delta(event["delta"])
            case "content_block_stop":
                yield from self._close(self._block)
                self._block = {}
            case "message_delta":
                self._usage |= event.get("usage") or {}
                self._stop_reason = event["delta"].get("stop_reason") or self._stop_reason
                if self.is_paused:
                    yield from self._writer.close()

    def _start(self, message: Json) -> Iterator[Json]:
        self._earlier += [self._usage] if self._usage else []
        self._usage, self._stop_reason = dict(message.get("usage") or {}), None
        if not self._has_started:
            self._has_started = True
            yield self._writer.start()

    def _open(self, block: Json) -> Iterator[Json]:
        match block["type"]:
            case "text":
                yield from self._writer.write("message", block.get("text") or "")
            case "thinking":
                yield from self._writer.open("reasoning")
            case "redacted_thinking":
                yield from self._writer.close()
                yield from self._writer.sign(seal("anthropic", "redacted", block["data"]))
            case "tool_use":
                yield from self._writer.open("function_call", call_id=block["id"], name=block["name"])

    def _delta(self, delta: Json) -> Iterator[Json]:
        match delta.get("type"):
            case "text_delta":
                yield from self._writer.write("message", delta["text"])
            case "thinking_delta":
                yield from self._writer.write("reasoning", delta["thinking"])
            case "signature_delta":
                self._block["signature"] += delta["signature"]
            case "input_json_delta" if self._block.get("type") == "tool_use":
                self._block["is_empty"] = self._block["is_empty"] and not delta["partial_json"]
                yield from self._writer.write("function_call", delta["partial_json"])

    def _close(self, block: Json) -> Iterator[Json]:
        match block.get("type"):
            case "thinking":
                yield from self._writer.sign(seal("anthropic", "thinking", block["signature"]))
            case "tool_use":
                if block["is_empty"]:  # a call without arguments; or all of them came with its beginning
                    arguments = encode(block.get("input") or {}, default=str).decode()
                    yield from self._writer.write("function_call", arguments)
                yield from self._writer.close()

    def finish(self) -> Iterator[Json]:
        """Yield the last events."""
        if self._stop_reason == "refusal":
            yield from self._writer.write("refusal", REFUSAL)
        yield from self._writer.finish(self._total_usage(), is_truncated=self._stop_reason in TRUNCATED)

    def _total_usage(self) -> Json | None:
        messages = [*self._earlier, self._usage]
        if not any(messages):
            return None
        fresh, cached, written, output = (
            sum(count_of(usage.get(name)) for usage in messages) for name in (*INPUT_COUNTS, "output_tokens")
        )
        thoughts = [(usage.get("output_tokens_details") or {}).get("thinking_tokens") for usage in messages]
        return usage_of(
            fresh=fresh,
            cached=cached,
            cache_write=written,
            output=output,
            reasoning=sum(map(count_of, thoughts)),
        )


def error_body(body: Json) -> ErrorBody:
    """Read the body of an error."""
    error = body.get("error")
    return ErrorBody({**error, "code": error.get("type")} if isinstance(error, dict) else None)


def stream_error(event: Json) -> tuple[int, ErrorBody] | None:
    """Return the status and the error that an event reports."""
    if event.get("type") != "error":
        return None
    body = error_body(event)
    return ERROR_STATUSES.get(str((body.error or {}).get("type")), 500), body


def is_last(event: Json) -> bool:
    """Return whether nothing more has to come."""
    delta = event.get("delta")
    return event.get("type") == "message_delta" and isinstance(delta, dict) and bool(delta.get("stop_reason"))


DIALECT = Dialect(
    path=lambda _: "v1/messages",
    body=to_body,
    reader=MessageReader,
    error=stream_error,
    terminal=frozenset({"message_stop", "error"}),
    is_last=is_last,
)


def connect(
    base_url: str, api_key: str, connect_seconds: float, connections: Connections | None = None
) -> DialectClient:
    """Return a client of Anthropic."""
    headers = {"x-api-key": api_key, "anthropic-version": VERSION}
    return DialectClient(Transport(base_url, headers, connect_seconds, error_body, connections), DIALECT)
