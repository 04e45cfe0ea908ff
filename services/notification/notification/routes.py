"""HTTP routes of notification."""

from fastapi import APIRouter
from servicekit.auth.dependencies import Caller
from servicekit.database import Session
from servicekit.schemas import Cursor, Limit, Page

from notification import deliveries, schemas

router = APIRouter(prefix="/api/v1/notifications", tags=["notifications"])


@router.get("")
async def list_notifications(
    caller: Caller, db: Session, limit: Limit = 20, cursor: Cursor = None
) -> Page[schemas.Notification]:
    """List the emails that were sent to the caller or will be, newest first."""
    return await deliveries.list_page(db, caller, limit, cursor)
