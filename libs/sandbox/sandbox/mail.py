"""A mail API that delivers to a page: Resend's POST /emails and /emails/batch, and an inbox to read."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException

from sandbox.inbox_store import Attempt, Fault, InboxStore, StoredMail
from sandbox.messages import Json
from sandbox.send_request import ResendError, SendRequest

_PAGES = Environment(loader=PackageLoader("sandbox"), autoescape=True)
# The mails are strangers' HTML: no script runs, and nothing is fetched.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def _get_store(request: Request) -> InboxStore:
    mailbox: InboxStore = request.app.state.mailbox
    return mailbox


def _authenticate(request: Request) -> None:
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise ResendError(401, "There is no API key in the Authorization header.")
    if key.startswith("re_invalid"):
        raise ResendError(403, "This API key is not valid.")


StoreDep = Annotated[InboxStore, Depends(_get_store)]


async def _parse_request(request: Request, box: StoreDep) -> SendRequest:
    try:
        return SendRequest(request, box, await request.json())
    except ValueError as error:
        raise ResendError(400, "The body is not JSON.") from error


SendRequestDep = Annotated[SendRequest, Depends(_parse_request)]

resend = APIRouter(prefix="/emails", dependencies=[Depends(_authenticate)])
inbox = APIRouter()


@resend.post("")
async def send_email(send_request: SendRequestDep) -> Json:
    """Accept a mail."""
    return await send_request.send()


@resend.post("/batch")
async def send_batch(send_request: SendRequestDep) -> Json:
    """Accept up to 100 mails: all or none, or with `x-batch-validation: permissive` those that are valid."""
    return await send_request.send_batch()


@resend.get("/{mail_id}")
async def show_email(mail_id: str, box: StoreDep) -> Json:
    """Return an accepted mail as Resend does."""
    mail = _get_mail(box, mail_id)
    return mail.model_dump(exclude={"idempotency_key"}) | {"object": "email", "last_event": mail.last_event}


def _get_mail(box: InboxStore, mail_id: str) -> StoredMail:
    if (mail := box.get(mail_id)) is None:
        raise ResendError(404, "There is no such mail.")
    return mail


def _to_json(box: InboxStore, mail: StoredMail) -> Json:
    return mail.model_dump() | {"last_event": mail.last_event, "attempts": box.attempts_for(mail)}


@inbox.get("/", response_class=HTMLResponse)
async def show_page(box: StoreDep) -> HTMLResponse:
    """Render the page of all mails, newest first."""
    page = _PAGES.get_template("inbox.html").render(mails=box.inbox()[::-1])
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


@inbox.get("/inbox")
async def read_inbox(box: StoreDep, to: str | None = None) -> list[Json]:
    """List the mails, oldest first."""
    return [_to_json(box, mail) for mail in box.inbox(to)]


@inbox.get("/inbox/{mail_id}")
async def read_mail(mail_id: str, box: StoreDep) -> Json:
    """Return one mail."""
    return _to_json(box, _get_mail(box, mail_id))


@inbox.delete("/inbox", status_code=204)
async def clear_inbox(box: StoreDep) -> None:
    """Delete everything."""
    box.clear()


@inbox.post("/_sandbox/faults", status_code=201)
async def add_fault(fault: Fault, box: StoreDep) -> Fault:
    """Make the next requests to send fail."""
    box.faults.append(fault)
    return fault


@inbox.delete("/_sandbox/faults", status_code=204)
async def clear_faults(box: StoreDep) -> None:
    """Call the faults off."""
    box.faults.clear()


@inbox.get("/_sandbox/attempts")
async def list_attempts(box: StoreDep, key: str | None = None) -> list[Attempt]:
    """List the requests to send, oldest first; those with one idempotency key, or all."""
    return [attempt for attempt in box.attempts if key is None or attempt.idempotency_key == key]


def create_mail(data: Path | None = None, clock: Callable[[], float] = time.time) -> FastAPI:
    """Build the mail API; with a folder the mails outlive the process."""
    app = FastAPI(title="Acme sandbox mail", openapi_url=None)
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
    app.state.mailbox = InboxStore(data / "mails.jsonl" if data else None, clock)
    app.include_router(resend)
    app.include_router(inbox)
    for kind, handler in _ERROR_HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _resend_error(_: Request, error: Exception) -> Response:
    return (error if isinstance(error, ResendError) else ResendError(500, str(error))).response()


def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return ResendError(status, "The sandbox has nothing here.").response()


def _invalid(_: Request, error: Exception) -> Response:
    return ResendError(422, str(error)).response()


_ERROR_HANDLERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    ResendError: _resend_error,
    HTTPException: _http_error,
    RequestValidationError: _invalid,
}
