"""Pages that links in mails lead to where there is no frontend: each makes one call to auth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from sandbox.acme_calls import RequestRefused, call
from sandbox.billing_page import open_billing

_TEMPLATE = Environment(loader=PackageLoader("sandbox"), autoescape=True).get_template("page.html")
# The address of the page carries the token.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Field:
    """A question on a page."""

    label: str
    kind: str = "text"


@dataclass(frozen=True)
class Page:
    """What a page is for, and the call of auth that it makes with the token and what was typed."""

    title: str
    button: str
    path: str
    done: str
    fields: Mapping[str, Field] = field(default_factory=dict)
    # Sign in with `email` and `password` first, and make the call as that person.
    signs_in: bool = False


PASSWORD = Field("New password", "password")
PAGES: Mapping[str, Page] = {
    "verify-email": Page(
        "Confirm your e-mail address", "Confirm", "email/verify", "The address is confirmed. You can sign in."
    ),
    "reset-password": Page(
        "Set a new password",
        "Set password",
        "password/reset",
        "The password is set. You can sign in.",
        {"password": PASSWORD},
    ),
    "confirm-email-change": Page(
        "Use this e-mail address", "Confirm", "email/change/confirm", "Your account uses this address now."
    ),
    "restore-account": Page(
        "Keep your account", "Restore", "account/restore", "The account is restored. You can sign in."
    ),
    "magic-link": Page(
        "Sign in",
        "Sign in",
        "magic-link/verify",
        "You are signed in; auth answered with the tokens of the session.",
        {"binding": Field("Binding, from the answer to the request for this link")},
    ),
    "invitation": Page(
        "Accept the invitation",
        "Accept",
        "invites/accept",
        "You are a member of the team now.",
        {"email": Field("Your e-mail address", "email"), "password": Field("Your password", "password")},
        signs_in=True,
    ),
}
BILLING = Page(
    "Billing of your team",
    "Continue at Stripe",
    "",
    "",
    {
        "plan": Field("Plan, for a team on the free one: starter or pro"),
        "email": Field("Your e-mail address", "email"),
        "password": Field("Your password", "password"),
    },
)


def create_pages(gateway_url: str) -> FastAPI:
    """Build the pages, for the auth behind a gateway."""
    app = FastAPI(title="Acme sandbox pages", openapi_url=None)

    @app.get("/billing", response_class=HTMLResponse)
    async def show_billing() -> HTMLResponse:
        """Render the page on which a plan is changed."""
        return _render(BILLING)

    @app.post("/billing", response_model=None)
    async def use_billing(request: Request) -> HTMLResponse | RedirectResponse:
        """Lead to Stripe's page."""
        typed = dict(parse_qsl((await request.body()).decode(errors="replace")))
        try:
            url = await run_in_threadpool(open_billing, gateway_url, str(request.url), typed)
        except RequestRefused as refusal:
            return _render(BILLING, problem=str(refusal), status=refusal.status)
        return RedirectResponse(url, HTTPStatus.SEE_OTHER)

    @app.get("/{name}", response_class=HTMLResponse)
    async def show(page: PageDep) -> HTMLResponse:
        """Ask; opening a link alone, as programs that scan mail do, uses nothing up."""
        return _render(page)

    @app.post("/{name}", response_class=HTMLResponse)
    async def use(page: PageDep, request: Request) -> HTMLResponse:
        """Make the call, and say what came of it."""
        typed = dict(parse_qsl((await request.body()).decode(errors="replace")))
        answers = {name: typed.get(name, "") for name in page.fields}
        token = request.query_params.get("token", "")
        try:
            await run_in_threadpool(_submit, gateway_url, page, token, answers)
        except RequestRefused as refusal:
            return _render(page, problem=str(refusal), status=refusal.status)
        return _render(page, done=page.done)

    return app


def _get_page(name: str) -> Page:
    if (page := PAGES.get(name)) is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return page


PageDep = Annotated[Page, Depends(_get_page)]


def _render(page: Page, *, done: str = "", problem: str = "", status: int = 200) -> HTMLResponse:
    return HTMLResponse(_TEMPLATE.render(page=page, done=done, problem=problem), status, _HEADERS)


def _submit(gateway_url: str, page: Page, token: str, answers: dict[str, str]) -> None:
    """Make the page's call; raises RequestRefused."""
    headers, body = {}, {"token": token, **answers}
    if page.signs_in:
        session = call(f"{gateway_url}/api/v1/auth/token", answers)
        headers, body = {"Authorization": f"Bearer {session.get('access_token')}"}, {"token": token}
    call(f"{gateway_url}/api/v1/auth/{page.path}", body, headers)
