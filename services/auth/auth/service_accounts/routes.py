"""The routes of service accounts."""

from typing import Annotated
from uuid import UUID

from fastapi import status
from servicekit.app import ResourcesDep
from servicekit.auth.dependencies import public, require
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db
from servicekit.schemas import Cursor, Limit, Page

from auth.access.sensitive_actions import SensitiveAction
from auth.routing import auth_router
from auth.security.rate_limits import rate_limited
from auth.service_accounts import credentials, issuance, schemas
from auth.services import Services
from auth.sessions.authorization import sensitive

Manager = Annotated[Principal, require("service_accounts:manage")]

router = auth_router("service accounts")


@router.post(
    "/service-accounts/issue",
    status_code=status.HTTP_201_CREATED,
    dependencies=[public, rate_limited("service-accounts/issue")],
)
async def issue_credential(
    request: schemas.Issuance, services: Services, resources: ResourcesDep
) -> schemas.IssuedCredential:
    """Issue a service account's credential for a payload that Vault's key has signed."""
    return await issuance.issue(services, resources, request)


@router.get("/service-accounts/tokens")
async def list_credentials(
    caller: Manager, db: Db, limit: Limit = 50, cursor: Cursor = None
) -> Page[schemas.ServiceCredential]:
    """List the credentials of the tenant's service accounts, newest first."""
    return await credentials.list_credentials(db, caller, limit, cursor)


@router.post("/service-accounts/tokens/{credential_id}/revoke", status_code=status.HTTP_204_NO_CONTENT)
async def revoke_credential(
    credential_id: UUID,
    caller: Annotated[Principal, sensitive(SensitiveAction.REVOKE_SERVICE_CREDENTIAL)],
    db: Db,
) -> None:
    """Revoke a credential: it gets no further access token."""
    await credentials.revoke(db, caller, credential_id)
