"""The addresses of service accounts."""

from typing import Annotated
from uuid import UUID

from fastapi import status
from servicekit.app import ResourcesDep
from servicekit.auth.dependencies import public, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.security.rate_limits import limited
from auth.service_accounts import credentials, issuance, schemas
from auth.services import PartsOfAuth
from auth.sessions.authorization import sensitive

Manager = Annotated[Principal, require("service_accounts:manage")]

router = auth_router("service accounts")


@router.post(
    "/service-accounts/issue",
    status_code=status.HTTP_201_CREATED,
    dependencies=[public, limited("service-accounts/issue")],
)
async def issue_credential(
    asked: schemas.Issuance, parts: PartsOfAuth, resources: ResourcesDep
) -> schemas.IssuedCredential:
    """Issue a service account's credential for a payload that Vault's key has signed."""
    return await issuance.issue(parts, resources, asked)


@router.get("/service-accounts/tokens")
async def list_credentials(
    caller: Manager, session: Session, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.ServiceCredential]:
    """List the credentials of the tenant's service accounts, newest first."""
    return await credentials.page(session, caller, limit, cursor)


@router.post("/service-accounts/tokens/{credential_id}/revoke", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_credential(
    credential_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_SERVICE_CREDENTIAL)],
    session: Session,
) -> None:
    """Revoke a credential: it gets no further access token."""
    await credentials.revoke(session, caller, credential_id)
