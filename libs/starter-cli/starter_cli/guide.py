"""What to try next, ready to be copied."""

import json

from rich.console import Console

from starter_cli import environment, holder, owner
from starter_cli.layout import CHECKOUT, Layout
from starter_cli.progress import say
from starter_cli.stack import Stack

JSON = "-H 'Content-Type: application/json'"
BEARER = '-H "Authorization: Bearer $TOKEN"'
# Sets TOKEN and TENANT from the answer to a sign-in.
READ_SESSION = 'import json, sys; print("TOKEN=%(access_token)s TENANT=%(tenant_id)s" % json.load(sys.stdin))'


def show(stack: Stack, console: Console) -> None:
    """Print where everything is, and commands that can be copied as they stand."""
    where = ["", *places(stack.layout)]
    for line in [*where, "", "Try, in another terminal:", "", *commands(stack), ""]:
        say(console, line)


def places(layout: Layout) -> list[str]:
    """Say where everything is."""
    first = owner.of(layout)
    return [
        f"gateway   {layout.gateway_url}",
        f"sign in   {first.email}  {first.password}",
        f"inbox     {layout.inbox_url}  (the mail to whoever registers)",
        f"docs      {CHECKOUT / 'README.md'}; of the API: {layout.gateway_url}/docs/chat-agent",
        f"logs      {layout.folders.logs}",
        f"stop      {holder.stop_command(layout.folders)}",
    ]


def commands(stack: Stack) -> list[str]:
    """Give commands that sign in, stream an answer, and read what was kept and counted."""
    api = f"{stack.gateway_url}/api/v1"
    credentials = json.dumps({"email": stack.owner.email, "password": stack.owner.password})
    message = json.dumps({"message": "Which is larger, 9.11 or 9.9?"})
    return [
        f"eval \"$(curl -s {api}/auth/token {JSON} -d '{credentials}' | python3 -c '{READ_SESSION}')\"",
        f"curl -sN {api}/chat/stream {BEARER} {JSON} -d '{message}'",
        f"curl -s {api}/conversations {BEARER}",
        f"curl -s {api}/billing/tenants/$TENANT/usage {BEARER}",
    ]


def who_answers(console: Console) -> None:
    """Say plainly whether a model answers, or the script that stands in for one."""
    if environment.has_real_model():
        say(console, f"OPENAI_API_KEY is set: answers come from the model at {environment.model_address()}.")
        return
    say(
        console,
        "Answers come from a scripted stand-in, not from a model; with OPENAI_API_KEY set, from a real one.",
        "yellow",
    )
    if environment.taken("OPENAI_BASE_URL"):
        say(
            console,
            "OPENAI_BASE_URL is not used without OPENAI_API_KEY; set any value for a server that needs none.",
            "yellow",
        )
