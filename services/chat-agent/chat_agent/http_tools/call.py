"""Calls a tenant's HTTP tool. Whatever the server does, it costs that call and nothing more."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2
import orjson
from agents import FunctionTool
from agents.tool_context import ToolContext

from chat_agent.agents.approvals import Policy, approval_policy
from chat_agent.agents.tool import Limits, RunContext, guarded, is_for_members
from chat_agent.clients.public_http import RequestForbidden, ResponseTooLarge
from chat_agent.clients.tenant_http import TooManyRequests
from chat_agent.errors import ToolFailed
from chat_agent.http_tools.definition import HttpTool
from chat_agent.http_tools.errors import ServerUnavailable
from chat_agent.http_tools.request import build_request
from chat_agent.tenant_secrets.masking import Mask

RETRIES = 2
MAX_REDIRECTS = 5
# Of the text of a failure, with what the server says of it; often the model can mend it.
MAX_ERROR = 2000
# For the note that an output was cut.
ROOM = 100
TRANSIENT_STATUSES = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


def function_tool(name: str, tool: HttpTool) -> FunctionTool:
    """Return a tool as agents have it."""
    plain = FunctionTool(
        name=name,
        description=tool.description,
        params_json_schema=tool.model_schema,
        on_invoke_tool=HttpCall(tool),
        strict_json_schema=False,
        needs_approval=approval_policy(policy_of(tool)),
        is_enabled=is_for_members if tool.audience == "members" else True,
    )
    retries = RETRIES if tool.is_idempotent else 0
    limits = Limits(tool.is_idempotent, tool.timeout_seconds, retries, tool.max_output + ROOM, tool.trusted)
    return guarded(plain, limits, counted_as="http")


def policy_of(tool: HttpTool) -> Policy:
    """Return when a person is asked."""
    match tool.approval:
        case "never" | "always":
            return tool.approval == "always"
        case policy:
            return policy


@dataclass(frozen=True)
class HttpCall:
    """Makes the request of a call, and returns what is answered."""

    tool: HttpTool

    async def __call__(self, context: ToolContext[RunContext], arguments: str) -> str:
        """Call the endpoint; raises ToolFailed with a text that has none of the secrets."""
        run = context.context
        values = self.checked(arguments)
        secrets = {name: await run.read_secret(name) for name in sorted(self.tool.secrets)}
        mask = Mask(secrets.values())
        try:
            answer = await self.answer(run.http, build_request(run.http, self.tool, values, secrets))
        except ToolFailed as error:
            # Not from the original: its text, and those of its causes, may have a secret.
            # Cut after that: a part of a secret would not be found.
            raise type(error)(mask.limited(str(error), MAX_ERROR)) from None
        return mask.limited(answer, self.tool.max_output)

    def checked(self, arguments: str) -> dict[str, Any]:
        """Return the arguments of the model; raises ToolFailed where they do not match the schema."""
        try:
            values = orjson.loads(arguments or "{}")
        except ValueError:
            raise ToolFailed("The arguments are not JSON.") from None
        if mismatch := self.tool.validator.mismatch(values):
            raise ToolFailed(f"The arguments do not match the schema{mismatch.described('the arguments')}.")
        # A schema may allow more, by patterns of names: those have no place in the request.
        if unknown := values.keys() - self.tool.model_schema["properties"].keys():
            raise ToolFailed(f"There is no argument called {min(unknown)[:64]!r}.")
        return dict(values)

    async def answer(self, http: httpx2.AsyncClient, request: httpx2.Request) -> str:
        """Send a request, and return the text of its response; raises ToolFailed."""
        return text_of(await self.response(http, request))

    async def response(self, http: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
        """Send a request; raises ToolFailed where there is no response that may be read."""
        try:
            return await send(http, request)
        except RequestForbidden as error:
            raise ToolFailed(f"The address may not be called: {error}.") from None
        except ResponseTooLarge as error:
            raise ToolFailed(f"The response is too large: {error}.") from None
        except (httpx2.ProtocolError, httpx2.UnsupportedProtocol):
            raise ToolFailed("The server does not speak HTTP as it should.") from None
        except TooManyRequests as error:
            raise ToolFailed(f"{error}.") from None
        except httpx2.TimeoutException:
            raise ServerUnavailable("The server does not answer in time.") from None
        except (httpx2.TransportError, OSError):
            raise ServerUnavailable("The server cannot be reached, or ends the connection.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise ToolFailed("The request cannot be sent, or its response not be read.") from None


async def send(http: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
    """Send a request, and follow redirects on the same server; raises ToolFailed for one that leads away."""
    for _ in range(MAX_REDIRECTS + 1):
        response = await http.send(request, follow_redirects=False)
        following = response.next_request
        if following is None:
            return response
        if origin(following.url) != origin(request.url):
            raise ToolFailed("The server redirects to another address, which is not called.")
        request = following
    raise ToolFailed(f"The server redirects more than {MAX_REDIRECTS} times.")


def origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Return the server of an address."""
    return url.scheme, url.host, url.port


def text_of(response: httpx2.Response) -> str:
    """Return what a server answered; raises ToolFailed for errors, and for what is neither JSON nor text."""
    if not response.is_success:
        raise failure_of(response)
    if not response.content:
        return f"The request succeeded ({response.status_code})."
    kind = media_type(response)
    if kind == "application/json" or kind.endswith("+json"):
        try:
            # Compact, and without escapes in which a secret would be hidden.
            return orjson.dumps(orjson.loads(response.content)).decode()
        except ValueError:
            raise ToolFailed("The response is not JSON, although it says so.") from None
    if kind.startswith("text/") and kind != "text/html":
        return response.content.decode(errors="replace")
    raise ToolFailed(f"The response is neither JSON nor text, but {kind or 'of no type'}.")


def failure_of(response: httpx2.Response) -> ToolFailed:
    """Return the failure of a response that is an error."""
    text = f"The server answered {response.status_code}."
    if media_type(response) != "text/html" and response.content:
        text += f" {response.content.decode(errors='replace')}"
    kind = ServerUnavailable if response.status_code in TRANSIENT_STATUSES else ToolFailed
    return kind(text)


def media_type(response: httpx2.Response) -> str:
    """Return the type of a response, without parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()
