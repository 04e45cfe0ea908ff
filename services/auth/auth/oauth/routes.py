"""HTTP routes of the token endpoints, the key set and discovery."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Header, Response
from fastapi.responses import JSONResponse
from servicekit.app import ResourcesDep
from servicekit.auth.dependencies import public
from servicekit.auth.permissions import PERMISSIONS
from servicekit.auth.tokens import ALGORITHM

from auth import schemas
from auth.errors import OAUTH_MEDIA_TYPE, UnsupportedGrantType
from auth.oauth import internal_clients, jwks, token_endpoint
from auth.routing import auth_router, no_store
from auth.security.rate_limits import rate_limited
from auth.service_accounts.issuance import token_endpoint_url
from auth.service_accounts.schemas import TokenRequest
from auth.services import Services

router = auth_router("oauth")
well_known = APIRouter(prefix="/.well-known", tags=["keys"], dependencies=[public])


internal_router = APIRouter(
    prefix="/internal/v1/oauth", tags=["machines"], dependencies=[public, Depends(no_store)]
)


GRANT_TYPE = "client_credentials"
OAUTH_ERROR = {
    "description": "An OAuth error (RFC 6749 section 5.2): a problem with `error` beside its members.",
    "content": {OAUTH_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
OAUTH_ERRORS: dict[int | str, dict[str, Any]] = {400: OAUTH_ERROR, 401: OAUTH_ERROR}


@well_known.get(
    "/jwks.json",
    response_class=jwks.JwkSetResponse,
    response_model=schemas.JwkSet,
    responses={304: {"description": "The keys are those that the ETag names."}},
)
async def get_key_set(
    services: Services, if_none_match: Annotated[list[str] | None, Header(include_in_schema=False)] = None
) -> Response:
    """Return the keys that access tokens are verified with."""
    return await jwks.respond(services, if_none_match or [])


@well_known.get("/openid-configuration")
@well_known.get("/oauth-authorization-server", operation_id="getAuthorizationServerMetadata")
async def get_discovery(services: Services) -> schemas.Discovery:
    """Return the metadata of the authorization server (OpenID Connect Discovery, RFC 8414)."""
    issuer = services.settings.auth_issuer
    return schemas.Discovery(
        issuer=issuer,
        jwks_uri=f"{issuer.rstrip('/')}/.well-known/jwks.json",
        token_endpoint=token_endpoint_url(services.settings),
        token_endpoint_auth_methods_supported=[
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        token_endpoint_auth_signing_alg_values_supported=token_endpoint.ASSERTION_ALGORITHMS,
        grant_types_supported=[GRANT_TYPE],
        # There is no authorization endpoint, and the member is required and must not be empty.
        response_types_supported=["none"],
        id_token_signing_alg_values_supported=[ALGORITHM],
        subject_types_supported=["public"],
        scopes_supported=sorted(PERMISSIONS),
    )


@internal_router.post("/token", response_class=JSONResponse, responses=OAUTH_ERRORS)
async def service_token(
    request: Annotated[schemas.MachineCredentials, Form()], services: Services
) -> schemas.MachineToken:
    """Issue a service's token for one other service (client credentials, RFC 6749 section 4.4)."""
    if request.grant_type != GRANT_TYPE:
        raise UnsupportedGrantType
    issued = await internal_clients.issue(
        services.access_tokens, services.settings.auth_service_secrets, request
    )
    lifetime = int(services.access_tokens.lifetime.total_seconds())
    return schemas.MachineToken(access_token=issued.token, expires_in=lifetime, scope=" ".join(issued.scopes))


@router.post(
    "/oauth/token",
    response_class=JSONResponse,
    responses=OAUTH_ERRORS,
    dependencies=[public, rate_limited("oauth/token")],
)
async def issue_access_token(
    request: Annotated[TokenRequest, Form()],
    services: Services,
    resources: ResourcesDep,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> schemas.MachineToken:
    """Issue an access token for a service credential (client_credentials; secret or assertion)."""
    issued = await token_endpoint.exchange(services, resources, request, authorization)
    return schemas.MachineToken(
        access_token=issued.token, expires_in=issued.lifetime, scope=" ".join(issued.scopes)
    )
