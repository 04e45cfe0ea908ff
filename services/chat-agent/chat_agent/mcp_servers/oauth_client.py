"""Registers with an authorization server (RFC 7591), and redeems codes and refresh tokens there."""

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, Field, ValidationError

from chat_agent.mcp_servers.definition import OAuth
from chat_agent.mcp_servers.errors import McpSignInFailed
from chat_agent.mcp_servers.oauth_http import GrantRefused, OAuthHttp, object_in
from chat_agent.mcp_servers.oauth_metadata import AuthorizationServer

# A token is not used when it is about to expire.
MARGIN = timedelta(seconds=30)
OFFLINE_ACCESS = "offline_access"


class OAuthClient(BaseModel):
    """A client of an authorization server."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    redirect_uri: str
    # How it was registered to authenticate itself, and for which scopes.
    token_endpoint_auth_method: str | None = None
    scopes: list[str] = Field(default_factory=list)
    expires_at: datetime | None = None

    def is_registered_for(self, server: AuthorizationServer, config: OAuth, scopes: list[str]) -> bool:
        """Return whether people can sign in with it as a server is registered now."""
        is_current = self.expires_at is None or datetime.now(UTC) + MARGIN < self.expires_at
        is_same = (self.issuer, self.redirect_uri) == (server.issuer, config.redirect_uri)
        return is_current and is_same and {*scopes} <= {*self.scopes}


class Attempt(BaseModel):
    """A sign-in that was begun: what its completion is checked against."""

    server: AuthorizationServer
    client: OAuthClient
    verifier: str
    # The address of the server, and what it calls itself, where that is another address (RFC 8707).
    resource: str
    indicator: str | None = None


class Grant(BaseModel):
    """What a person has granted: tokens, and where they are refreshed."""

    server: AuthorizationServer
    client: OAuthClient
    resource: str
    indicator: str | None = None
    access_token: str
    refresh_token: str | None = None
    expires_at: datetime | None = None

    def is_usable(self, rejected: str | None) -> bool:
        """Return whether the access token is not known to be refused or about to expire."""
        is_fresh = self.expires_at is None or datetime.now(UTC) + MARGIN < self.expires_at
        return is_fresh and self.access_token != rejected


class TokenResponse(BaseModel):
    """The answer of a token endpoint."""

    access_token: str = Field(min_length=1, max_length=16_000, pattern="^[!-~]+$")
    token_type: str
    expires_in: float | None = Field(None, ge=0, le=10**9)
    refresh_token: str | None = Field(None, max_length=16_000)


class Registration(BaseModel):
    """The answer of a registration endpoint."""

    client_id: str = Field(min_length=1, max_length=2000)
    client_secret: str | None = Field(None, max_length=2000)
    # Zero: it does not expire.
    client_secret_expires_at: int | None = Field(None, ge=0, le=10**11)
    token_endpoint_auth_method: str | None = Field(None, max_length=100)


async def register(
    http: OAuthHttp, server: AuthorizationServer, config: OAuth, scopes: list[str]
) -> OAuthClient:
    """Return a new client of an authorization server; raises McpSignInFailed."""
    if server.registration_endpoint is None:
        raise McpSignInFailed("The authorization server registers no clients: set `auth.client_id`.")
    about = {
        "client_name": "Acme",
        "redirect_uris": [config.redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": auth_method(server, is_secret=False),
    }
    # Some grant only scopes that a client was registered for, others know no scopes of a resource here.
    for more in ({"scope": " ".join(scopes)}, {}) if scopes else ({},):
        response = await http.send("POST", server.registration_endpoint, json={**about, **more})
        if response.is_success:
            break
    try:
        registered = Registration.model_validate(object_in(response) if response.is_success else None)
    except ValidationError:
        raise McpSignInFailed("The authorization server does not register a client.") from None
    expires_at = registered.client_secret_expires_at
    return OAuthClient(
        issuer=server.issuer,
        client_id=registered.client_id,
        client_secret=registered.client_secret,
        redirect_uri=config.redirect_uri,
        token_endpoint_auth_method=registered.token_endpoint_auth_method,
        scopes=scopes,
        expires_at=datetime.fromtimestamp(expires_at, UTC) if expires_at else None,
    )


def authorization_url(attempt: Attempt, state: str, scopes: list[str]) -> str:
    """Return where the person signs in."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest())
    query = {
        "response_type": "code",
        "client_id": attempt.client.client_id,
        "redirect_uri": attempt.client.redirect_uri,
        "state": state,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "resource": attempt.indicator or attempt.resource,
        **({"scope": " ".join(scopes)} if scopes else {}),
        # What OpenID Connect requires for a refresh token.
        **({"prompt": "consent"} if OFFLINE_ACCESS in scopes else {}),
    }
    parts = urlsplit(attempt.server.authorization_endpoint)
    joined = "&".join(filter(None, (parts.query, urlencode(query))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, joined, ""))


def new_secret() -> str:
    """Return a random text for a state or a verifier."""
    return secrets.token_urlsafe(32)


async def redeem_code(http: OAuthHttp, attempt: Attempt, code: str) -> Grant:
    """Redeem a code; raises GrantRefused, McpSignInFailed, McpServerUnavailable."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": attempt.client.redirect_uri,
        "code_verifier": attempt.verifier,
    }
    resource = attempt.indicator or attempt.resource
    tokens = await request_tokens(http, attempt.server, attempt.client, resource, form)
    return Grant(
        server=attempt.server,
        client=attempt.client,
        resource=attempt.resource,
        indicator=attempt.indicator,
        **members_of(tokens),
    )


async def refresh(http: OAuthHttp, grant: Grant) -> Grant:
    """Redeem a refresh token; raises GrantRefused, McpSignInFailed, McpServerUnavailable."""
    if grant.refresh_token is None:
        raise GrantRefused
    form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
    resource = grant.indicator or grant.resource
    tokens = await request_tokens(http, grant.server, grant.client, resource, form)
    # A server that does not rotate refresh tokens sends none.
    changes = {"refresh_token": grant.refresh_token, **members_of(tokens)}
    return grant.model_copy(update=changes)


async def revoke(http: OAuthHttp, grant: Grant) -> None:
    """Revoke the tokens of a grant (RFC 7009), where that is possible."""
    if grant.server.revocation_endpoint is not None:
        form = {"token": grant.refresh_token or grant.access_token}
        await post_form(http, grant.server.revocation_endpoint, grant.server, grant.client, form)


async def request_tokens(
    http: OAuthHttp, server: AuthorizationServer, client: OAuthClient, resource: str, form: dict[str, str]
) -> TokenResponse:
    """Return what a token endpoint answers; raises GrantRefused, McpSignInFailed, McpServerUnavailable."""
    body = {**form, "resource": resource}
    answer = await post_form(http, server.token_endpoint, server, client, body)
    try:
        tokens = TokenResponse.model_validate(answer)
    except ValidationError:
        raise McpSignInFailed("The authorization server's tokens cannot be read.") from None
    if tokens.token_type.lower() != "bearer":
        raise McpSignInFailed("The authorization server's tokens are no bearer tokens.")
    return tokens


async def post_form(
    http: OAuthHttp, url: str, server: AuthorizationServer, client: OAuthClient, form: dict[str, str]
) -> dict[str, Any]:
    """Return the answer to a form of a client, authenticated by what the server takes (RFC 6749, 2.3)."""
    name, secret = client.client_id, client.client_secret
    named = {**form, "client_id": name}
    method = client.token_endpoint_auth_method
    if secret is None or method == "none":
        return await http.post_form(url, named)
    if (method or auth_method(server, is_secret=True)) == "client_secret_post":
        return await http.post_form(url, {**named, "client_secret": secret})
    # Some find a client by its name in the form only.
    return await http.post_form(url, named, (quote_plus(name), quote_plus(secret)))


def auth_method(server: AuthorizationServer, *, is_secret: bool) -> str:
    """Return how a client is authenticated: the first way of ours that the server takes.

    Raises McpSignInFailed where it takes none of them, such as `private_key_jwt` alone.
    """
    ways = ("client_secret_basic", "client_secret_post")
    known = ways if is_secret else ("none", *ways)
    supported = server.token_endpoint_auth_methods_supported
    if supported and not {*known} & {*supported}:
        ways_of_ours = ", ".join(known)
        raise McpSignInFailed(f"The authorization server authenticates no client by {ways_of_ours}.")
    return next((one for one in known if one in supported), known[0])


def members_of(tokens: TokenResponse) -> dict[str, object]:
    """Return the members of a grant that come with new tokens."""
    lifetime = tokens.expires_in
    expires_at = None if lifetime is None else datetime.now(UTC) + timedelta(seconds=lifetime)
    rotated = {"refresh_token": tokens.refresh_token} if tokens.refresh_token else {}
    return {"access_token": tokens.access_token, "expires_at": expires_at, **rotated}
