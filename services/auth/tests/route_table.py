"""The routes of a small service, which tell who asks: for tests of what opens other services."""

from typing import Annotated

from fastapi import APIRouter
from servicekit.auth.dependencies import Caller, require
from servicekit.auth.tokens import Principal

router = APIRouter()


@router.get("/reads")
async def reads(caller: Annotated[Principal, require("conversations:read")]) -> str:
    return f"{caller.subject} {caller.tenant_id}"


@router.get("/deletes")
async def deletes(caller: Annotated[Principal, require("conversations:delete")]) -> str:
    return caller.subject


@router.get("/manages")
async def manages(caller: Annotated[Principal, require("billing:manage")]) -> str:
    return caller.subject


@router.get("/belongs")
async def belongs(caller: Caller) -> str:
    return str(caller.tenant_id)
