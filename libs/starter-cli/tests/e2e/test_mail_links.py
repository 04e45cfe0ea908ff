"""Links in mails, followed as a person does: to a page that is there, and that does what the mail says."""

import re
from collections.abc import Callable

import httpx
from sandbox.pages import PAGES
from starter_cli.paths import service_dir
from starter_cli.stack import Stack

from .conftest import PASSWORD, Inbox, Person, until, until_available

OTHER_PASSWORD = "nine green tortoises whistle"


def link(inbox: Inbox, to: str, page: str) -> str:
    """Wait for a mail that links to a page, and return the link."""
    pattern = re.compile(rf"http://\S+/{page}\?token=\S+")
    found = until(lambda: [match for mail in inbox.mails(to) for match in pattern.findall(mail["text"])])
    return str(found[-1])


def press(url: str, **typed: str) -> httpx.Response:
    """Open a page, and press its button."""
    shown = httpx.get(url, trust_env=False, timeout=60)
    assert shown.status_code == 200, url
    assert set(typed) <= set(re.findall(r'name="(\w+)"', shown.text))
    return until_available(lambda: httpx.post(url, data=typed, timeout=60, trust_env=False))


def test_there_is_a_page_for_every_link_of_an_email(stack: Stack) -> None:
    package = service_dir("notification") / "notification"
    texts = [(package / name).read_text() for name in ("email_templates.py", "team_templates.py")]
    pages = {page for text in texts for page in re.findall(r'page="([a-z-]+)"', text)}
    assert pages == PAGES.keys()
    for page in pages:
        assert httpx.get(f"{stack.layout.pages_url}/{page}", trust_env=False, timeout=60).status_code == 200
    assert httpx.get(f"{stack.layout.pages_url}/nothing", trust_env=False, timeout=60).status_code == 404


def test_an_address_is_confirmed_and_a_password_reset(
    register: Callable[..., str], inbox: Inbox, stranger: Person
) -> None:
    email = register()
    confirm = link(inbox, email, "verify-email")
    for _ in range(2):  # a program that scans mail may have opened it
        assert httpx.get(confirm, trust_env=False, timeout=60).status_code == 200
    assert "The address is confirmed" in press(confirm).text
    assert stranger.sign_in(email, PASSWORD).status_code == 200
    # Whoever comes after it learns the same.
    assert "The address is confirmed" in press(confirm).text
    assert stranger.http.post("/api/v1/auth/password/forgot", json={"email": email}).is_success
    reset = link(inbox, email, "reset-password")
    assert "at least 15 characters" in press(reset, password="short").text
    assert "The password is set" in press(reset, password=OTHER_PASSWORD).text
    assert stranger.sign_in(email, OTHER_PASSWORD).status_code == 200


def test_an_invitation_is_accepted(
    owner: Person, inbox: Inbox, register: Callable[..., str], someone: Callable[[], Person]
) -> None:
    email, guest = register(), someone()
    press(link(inbox, email, "verify-email"))
    invite = owner.http.post("/api/v1/auth/tenants/current/invites", json={"email": email, "role": "member"})
    assert invite.is_success, invite.text
    invitation = link(inbox, email, "invitation")
    assert press(invitation, email=email, password="not the password").status_code == 400
    assert "You are a member" in press(invitation, email=email, password=PASSWORD).text
    assert guest.sign_in(email, PASSWORD).status_code == 200
    tenants = guest.http.get("/api/v1/auth/me").json()
    assert owner.tenant_id in str(guest.http.get("/api/v1/auth/tenants").json()) + str(tenants)


def test_both_names_of_this_machine_may_call_from_a_browser(stack: Stack, stranger: Person) -> None:
    port = stack.layout.ports["gateway"]
    for origin in (f"http://localhost:{port}", f"http://127.0.0.1:{port}", "http://127.0.0.1:3000"):
        request = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = stranger.http.options("/api/v1/auth/token", headers=request)
        assert answer.headers.get("access-control-allow-origin") == origin
