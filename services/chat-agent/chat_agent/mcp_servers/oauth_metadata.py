"""Where people sign in: metadata of a server (RFC 9728) and of its authorization server (RFC 8414)."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, Field, ValidationError

from chat_agent.mcp_servers.errors import McpServerUnavailable, McpSignInFailed
from chat_agent.mcp_servers.oauth_http import OAuthHttp

RESOURCE_METADATA = re.compile(r'resource_metadata="([!-~]{1,1000}?)"')
# What a server wants of a token, and that it does not have it (RFC 6750).
SCOPE = re.compile(r'scope="([ !#-\[\]-~]{1,1000})"')
ACCEPT = "application/json, text/event-stream"
PROBE = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}}


class ResourceMetadata(BaseModel):
    """What a server says of itself."""

    resource: str
    authorization_servers: list[str] = Field(min_length=1)
    scopes_supported: list[str] = Field(default_factory=list)


class AuthorizationServer(BaseModel):
    """What an authorization server says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    code_challenge_methods_supported: list[str] = Field(default_factory=list)
    authorization_response_iss_parameter_supported: bool = False
    token_endpoint_auth_methods_supported: list[str] = Field(default_factory=list)
    scopes_supported: list[str] = Field(default_factory=list)


class Discovery(NamedTuple):
    """Where people sign in for an MCP server, and for what."""

    server: AuthorizationServer
    # What the MCP server calls itself.
    resource: str
    scopes: list[str]


async def discover(http: OAuthHttp, url: str) -> Discovery:
    """Return the authorization server of an MCP server, and what to ask it for; raises McpSignInFailed."""
    resource = await resource_metadata(http, url)
    issuer = resource.authorization_servers[0]
    try:
        addresses = [*addresses_of_issuer(issuer)]
    except ValueError:
        raise McpSignInFailed("The address of the authorization server cannot be read.") from None
    for address in addresses:
        if (found := await http.get(address)) is not None:
            return Discovery(check_server(http, issuer, found), resource.resource, resource.scopes_supported)
    raise McpSignInFailed("The authorization server of the MCP server has no metadata.")


async def resource_metadata(http: OAuthHttp, url: str) -> ResourceMetadata:
    """Return what a server says of itself, at the address that it names or at the usual ones."""
    challenge = await challenge_of(http, url)
    for address in addresses_of_resource(challenge, url):
        if (found := await http.get(address)) is not None:
            try:
                metadata = ResourceMetadata.model_validate(found)
            except ValidationError:
                raise McpSignInFailed("The metadata of the MCP server cannot be read.") from None
            if not is_part_of(url, metadata.resource):
                raise McpSignInFailed("The metadata of the MCP server is that of another resource.")
            scopes = dict.fromkeys([*scopes_in(challenge), *metadata.scopes_supported])
            return metadata.model_copy(update={"scopes_supported": [*scopes]})
    raise McpSignInFailed("The MCP server does not say where people sign in.")


async def challenge_of(http: OAuthHttp, url: str) -> str:
    """Return what a server answers to a request without a token; raises McpServerUnavailable."""
    try:
        response = await http.send("POST", url, json=PROBE, headers={"Accept": ACCEPT})
    except McpServerUnavailable:
        raise McpServerUnavailable("The MCP server does not answer.") from None
    is_challenge = response.status_code == HTTPStatus.UNAUTHORIZED
    return response.headers.get("www-authenticate", "") if is_challenge else ""


def addresses_of_resource(challenge: str, url: str) -> list[str]:
    """Return where the metadata of a server may be."""
    parts = urlsplit(url)
    known = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-protected-resource"
    named = RESOURCE_METADATA.findall(challenge)[:1]
    return [*named, f"{known}{parts.path.rstrip('/')}", known]


def scopes_in(challenge: str) -> list[str]:
    """Return the scopes that a server wants of a token."""
    found = SCOPE.search(challenge)
    return found[1].split() if found else []


def addresses_of_issuer(issuer: str) -> Iterator[str]:
    """Yield where the metadata of an authorization server may be."""
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}/.well-known", parts.path.rstrip("/")
    yield f"{base}/oauth-authorization-server{path}"
    yield f"{base}/openid-configuration{path}"
    if path:
        yield f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def check_server(http: OAuthHttp, issuer: str, found: dict[str, Any]) -> AuthorizationServer:
    """Return the metadata of an issuer; raises McpSignInFailed where it is another's, or knows no S256."""
    try:
        server = AuthorizationServer.model_validate(found)
    except ValidationError:
        raise McpSignInFailed("The metadata of the authorization server cannot be read.") from None
    if server.issuer.rstrip("/") != issuer.rstrip("/"):
        raise McpSignInFailed("The metadata of the authorization server is that of another issuer.")
    if "S256" not in server.code_challenge_methods_supported:
        raise McpSignInFailed("The authorization server does not say that it checks PKCE by S256.")
    optional = (server.registration_endpoint, server.revocation_endpoint)
    for url in (server.authorization_endpoint, server.token_endpoint, *filter(None, optional)):
        http.check_url(url)
    return server


def is_part_of(url: str, resource: str) -> bool:
    """Return whether an address is that of a resource, or below it."""
    try:
        own, named = httpx2.URL(url), httpx2.URL(resource)
    except httpx2.InvalidURL:
        return False
    same_origin = (own.scheme, own.host, own.port) == (named.scheme, named.host, named.port)
    path = named.path.rstrip("/")
    return same_origin and (own.path.rstrip("/") == path or own.path.startswith(f"{path}/"))
