"""Gemini's streamGenerateContent below the SDK's Responses model (https://ai.google.dev/api/generate-content)."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from chat_agent.model.chat_stream import count_of
from chat_agent.model.dialects.client import Dialect, DialectClient
from chat_agent.model.dialects.gemini_requests import to_body
from chat_agent.model.dialects.response_writer import ResponseWriter, usage_of
from chat_agent.model.json import InvalidModelResponse, Json, encode
from chat_agent.model.reasoning import seal
from chat_agent.model.transport import Connections, ErrorBody, Transport

# The answer was stopped for what it says, or the question for what it asks.
REFUSALS = {
    *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"),
    *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
}
ENDINGS = {"STOP", "MAX_TOKENS", *REFUSALS}
REFUSAL = "The model refused to answer."
# Sent with the status 400.
KEY_INVALID = "API_KEY_INVALID"


class ContentReader:
    """Reads the chunks of one answer, each of which is a whole object."""

    is_paused = False

    def __init__(self, request: Json) -> None:
        self._writer = ResponseWriter(request["model"])
        # Gemini has no such setting: the calls after the first are made again, if they still are of use.
        self._is_parallel = request.get("parallel_tool_calls") is not False
        self._has_started = self._has_called = False
        self._ending: str | None = None
        self._usage: Json | None = None
        # How much text the message has that is open, and which parts of it are signed.
        self._length = 0
        self._signed: list[str] = []

    def items(self) -> list[Json]:
        """Return what was said so far, as items of Responses."""
        return self._writer.items

    def read(self, event: Json) -> Iterator[Json]:
        """Yield what a chunk stands for."""
        if not self._has_started:
            self._has_started = True
            yield self._writer.start()
        self._usage = event.get("usageMetadata") or self._usage
        self._ending = blocked(event) or self._ending
        for candidate in (event.get("candidates") or [])[:1]:
            self._ending = candidate.get("finishReason") or self._ending
            for part in (candidate.get("content") or {}).get("parts") or []:
                yield from self._part(part)

    def _part(self, part: Json) -> Iterator[Json]:
        if "functionCall" in part:
            yield from self._call(part["functionCall"], part.get("thoughtSignature"))
        elif part.get("thought"):
            yield from self._end_message()
            yield from self._writer.write("reasoning", part.get("text") or "")
        elif "text" in part:
            yield from self._text(part["text"], part.get("thoughtSignature"))

    def _text(self, text: str, signature: str | None) -> Iterator[Json]:
        """Write text; a part with a signature goes back as it came, so it is noted which one that was."""
        yield from self._writer.write("message", text)
        if signature:
            self._signed.append(f"{self._length}:{self._length + len(text)}:{signature}")
        self._length += len(text)

    def _call(self, call: Json, signature: str | None) -> Iterator[Json]:
        if self._has_called and not self._is_parallel:
            return
        self._has_called = True
        yield from self._end_message()
        if signature:
            yield from self._writer.sign(seal("gemini", "call", signature))
        call_id = call.get("id") or f"call_{uuid4().hex}"
        yield from self._writer.open("function_call", call_id=call_id, name=call["name"])
        yield from self._writer.write("function_call", encode(call.get("args") or {}, default=str).decode())
        yield from self._writer.close()

    def _end_message(self) -> Iterator[Json]:
        signed, self._signed, self._length = self._signed, [], 0
        for place in signed:
            yield from self._writer.sign_last(seal("gemini", "text", place))

    def finish(self) -> Iterator[Json]:
        """Yield the last events; raises InvalidModelResponse for an answer that broke off."""
        yield from self._end_message()
        if self._ending in REFUSALS or self._ending is None:
            yield from self._writer.write("refusal", REFUSAL)
        elif self._ending not in ENDINGS:
            raise InvalidModelResponse(f"the answer ended with {self._ending[:40]}")
        yield from self._writer.finish(counted(self._usage), is_truncated=self._ending == "MAX_TOKENS")


def blocked(event: Json) -> str | None:
    """Return why a question was blocked, as an ending."""
    return "PROHIBITED_CONTENT" if (event.get("promptFeedback") or {}).get("blockReason") else None


def counted(usage: Json | None) -> Json | None:
    """Return usage as Responses say it: Gemini's output does not include thoughts."""
    if usage is None:
        return None
    count = {name: count_of(value) for name, value in usage.items() if name.endswith("Count")}
    cached, thoughts = count.get("cachedContentTokenCount", 0), count.get("thoughtsTokenCount", 0)
    prompt = count.get("promptTokenCount", 0) + count.get("toolUsePromptTokenCount", 0)
    return usage_of(
        fresh=max(prompt - cached, 0),
        cached=cached,
        cache_write=0,
        output=count.get("candidatesTokenCount", 0) + thoughts,
        reasoning=thoughts,
    )


def error_body(body: Json) -> ErrorBody:
    """Read the body of an error, which says for how long to wait, and whether it is about the key."""
    error = body.get("error")
    if not isinstance(error, dict):
        return ErrorBody()
    details: list[Any] = [one for one in error.get("details") or [] if isinstance(one, dict)]
    delay = next((one["retryDelay"] for one in details if isinstance(one.get("retryDelay"), str)), None)
    is_about_key = any(one.get("reason") == KEY_INVALID for one in details)
    code = str(error.get("status") or "").lower()
    return ErrorBody(
        {"message": error.get("message"), "code": code},
        delay.removesuffix("s") if delay else None,
        401 if is_about_key else None,
    )


def stream_error(event: Json) -> tuple[int, ErrorBody] | None:
    """Return the status and the error that a chunk reports."""
    error = event.get("error")
    if not isinstance(error, dict):
        return None
    return count_of(error.get("code")) or 500, error_body(event)


def is_last(event: Json) -> bool:
    """Return whether nothing more has to come."""
    candidates = event.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else {}
    return bool(isinstance(first, dict) and first.get("finishReason")) or "promptFeedback" in event


def path_of(request: Json) -> str:
    """Return where the model is called."""
    return f"v1beta/models/{quote(request['model'], safe='')}:streamGenerateContent?alt=sse"


DIALECT = Dialect(
    path=path_of,
    body=to_body,
    reader=ContentReader,
    error=stream_error,
    terminal=frozenset(),
    is_last=is_last,
)


def connect(
    base_url: str, api_key: str, connect_seconds: float, connections: Connections | None = None
) -> DialectClient:
    """Return a client of Gemini."""
    headers = {"x-goog-api-key": api_key}
    return DialectClient(Transport(base_url, headers, connect_seconds, error_body, connections), DIALECT)
