"""Only auth issues credentials: each unsafe route of the other services is listed here, with a reason."""

import pytest
from servicekit.auth.dependencies import every_route
from testkit.contract_documents import app_of, services

SAFE = {"GET", "HEAD", "OPTIONS"}
RUNS = "runs agents for the caller; what they may call is in the caller's own token"
TENANT = "/api/v1/billing/tenants/{tenant_id}"
CALL = "/internal/v1/tenants/{tenant_id}/reservations/{run_id}/calls/{call}"
AGENT = "defines what an agent says and may call; its tools act with the rights of whoever runs it"
STRIPE_PAGE = "opens a page of Stripe for the tenant's own customer"
SUBSCRIPTION = "changes what the tenant pays for; needs a fresh proof, see docs/permissions.md"
USAGE = "writes down what the tenant has used"
# Why none of them yields a credential or a right. One that does belongs into a table as auth has it.
ROUTES = {
    "billing-webhook": {
        f"POST {TENANT}/budgets": "limits what the tenant may use",
        f"PATCH {TENANT}/budgets/{{budget_id}}": "changes a limit",
        f"DELETE {TENANT}/budgets/{{budget_id}}": "removes a limit",
        f"POST {TENANT}/checkout-sessions": STRIPE_PAGE,
        f"POST {TENANT}/portal-sessions": STRIPE_PAGE,
        f"POST {TENANT}/subscription": SUBSCRIPTION,
        f"PATCH {TENANT}/subscription": SUBSCRIPTION,
        f"POST {TENANT}/subscription/cancel": SUBSCRIPTION,
        f"POST {TENANT}/subscription/pause": SUBSCRIPTION,
        f"POST {TENANT}/subscription/preview": "computes what a change would cost",
        f"POST {TENANT}/subscription/resume": SUBSCRIPTION,
        f"POST {TENANT}/usage": USAGE,
        f"POST {TENANT}/usage/batch": USAGE,
        f"POST {TENANT}/usage/records/{{record_id}}/reverse": USAGE,
        f"PUT {CALL}": "reserves what a run may use",
        f"POST {CALL}/settle": "replaces a reservation with what was used",
        "POST /webhooks/stripe": "takes what Stripe has signed; writes down who pays for what",
    },
    "chat-agent": {
        "DELETE /api/v1/end-users": "erases an end user of the caller's application",
        "POST /api/v1/memories": "writes what the caller wants agents to know of them",
        "PATCH /api/v1/memories/{memory_id}": "writes what is right instead",
        "DELETE /api/v1/memories": "removes all of it",
        "DELETE /api/v1/memories/{memory_id}": "removes it",
        "PUT /api/v1/agents/{name}": AGENT,
        "DELETE /api/v1/agents/{name}": AGENT,
        "POST /api/v1/agents/{name}/publish": AGENT,
        "POST /api/v1/agents/{name}/rollback": AGENT,
        "POST /api/v1/agents/{name}/validate": "says what is wrong with a definition",
        "POST /api/v1/agents/{name}/dry-run": RUNS,
        "POST /api/v1/agents/apply": AGENT,
        "POST /api/v1/agents/chat": RUNS,
        "POST /api/v1/agents/{name}/ag-ui": RUNS,
        "POST /api/v1/chat": RUNS,
        "POST /api/v1/chat/stream": RUNS,
        "POST /api/v1/chat/ui": RUNS,
        "POST /api/v1/runs": RUNS,
        "POST /api/v1/runs/{run_id}/approvals/{approval_id}": "lets one call of a tool go on, once",
        "POST /api/v1/runs/{run_id}/cancel": "stops a run",
        "PUT /api/v1/runs/{run_id}/feedback": "writes what a person says of an answer",
        "DELETE /api/v1/runs/{run_id}/feedback": "removes it",
        "PUT /api/v1/tools/{name}": "stores a tool of the tenant, which may name its secrets",
        "DELETE /api/v1/tools/{name}": "removes it",
        "PUT /api/v1/provider-keys/{provider}": "stores a key of the tenant, which no route returns",
        "DELETE /api/v1/provider-keys/{provider}": "removes it",
        "PUT /api/v1/secrets/{name}": "stores a secret of the tenant, which no route returns",
        "DELETE /api/v1/secrets/{name}": "removes it",
        "PUT /api/v1/mcp-servers/{name}": "registers a server of the tenant, which agents call",
        "DELETE /api/v1/mcp-servers/{name}": "removes it",
        "POST /api/v1/mcp-servers/{name}/confirm": "accepts the tools of a server",
        "POST /api/v1/mcp-servers/{name}/refresh": "reads the tools of a server",
        "POST /api/v1/mcp-servers/{name}/sign-in": "begins a sign-in at another service",
        "POST /api/v1/mcp-servers/{name}/sign-in/complete": "stores tokens of that, which no route returns",
        "DELETE /api/v1/mcp-servers/{name}/sign-in": "removes them",
        "POST /v1/chat/completions": RUNS,
        "POST /v1/completions": "calls a model",
        "POST /v1/conversations": "writes the caller's own texts",
        "POST /v1/conversations/{conversation_id}": "writes what an application notes about a conversation",
        "DELETE /v1/conversations/{conversation_id}": "removes texts",
        "POST /v1/conversations/{conversation_id}/items": "writes the caller's own texts",
        "DELETE /v1/conversations/{conversation_id}/items/{item_id}": "removes texts",
        "POST /v1/embeddings": "calls a model",
        "POST /v1/files": "stores the caller's own file",
        "DELETE /v1/files/{file_id}": "removes a file",
        "POST /v1/moderations": "calls a model",
        "POST /v1/responses": RUNS,
        "DELETE /v1/responses/{response_id}": "removes texts",
        "POST /v1/responses/{response_id}/cancel": "stops a run",
    },
    "conversation": {
        "POST /api/v1/conversations": "writes the caller's own texts",
        "PATCH /api/v1/conversations/{conversation_id}": "changes a title",
        "DELETE /api/v1/conversations/{conversation_id}": "removes texts",
        "POST /api/v1/conversations/{conversation_id}/items": "writes the caller's own texts",
        "PATCH /api/v1/conversations/{conversation_id}/summaries/{summary_id}": "changes a text",
        "DELETE /api/v1/conversations/{conversation_id}/summaries/{summary_id}": "removes texts",
        "PUT /internal/v1/conversations/{conversation_id}/summaries/{summary_id}": "writes a text",
        "DELETE /internal/v1/conversations": "removes texts",
        "DELETE /internal/v1/conversations/{conversation_id}": "removes texts",
        "PATCH /internal/v1/conversations/{conversation_id}": "writes what an application notes about it",
        "POST /internal/v1/conversations/{conversation_id}/items": "writes texts",
        "DELETE /internal/v1/conversations/{conversation_id}/items/{item_id}": "removes texts",
        "PUT /internal/v1/conversations/{conversation_id}": "writes texts for the one it acts for",
        "PUT /internal/v1/conversations/{conversation_id}/turns/{run_id}": "writes texts",
        "POST /internal/v1/conversations/{conversation_id}/turns/{run_id}/items": "writes texts",
        "DELETE /internal/v1/conversations/{conversation_id}/turns/{run_id}": "removes texts",
        "DELETE /internal/v1/conversations/{conversation_id}/items": "removes texts",
    },
    "notification": {},
}


def unsafe_routes(service):
    app = app_of(service)
    for part in (app, app.state.internal):
        for route in every_route(part.routes):
            yield from (f"{method} {route.path}" for method in set(route.methods or ()) - SAFE)


def test_every_service_is_looked_at():
    assert {*ROUTES, "auth"} == set(services())


@pytest.mark.parametrize("service", ROUTES)
def test_no_other_service_issues_a_credential(service):
    assert set(unsafe_routes(service)) == ROUTES[service].keys()
