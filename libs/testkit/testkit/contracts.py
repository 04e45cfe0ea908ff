"""Does a service answer as its OpenAPI documents say? Asked of every operation by schemathesis, over HTTP.

    @pytest.fixture(scope="module")
    def service(settings):
        with live_service(create_app(settings)) as service:
            yield service

    @pytest.mark.parametrize("operation", operations("conversation"))
    def test_answers_as_its_documents_say(operation, service, issuer):
        assert_answers_as_documented(operation, service, issuer)

The documents are those in the service's folder `contract`: what its clients have.

Each operation gets a few requests that fit its description and a few that do not, always the same ones.
Whoever asks is signed in: on the public port as the owner of a tenant, on the internal one as a service with
every scope that acts for this owner.

Checked of every answer: it is no 5xx; its status, media type, headers and body are as described; and a
request that does not fit is refused. Left out, since it would complain of what is meant to be so:

- that each fitting request is accepted: JSON Schema cannot tell a good cursor, a known id, storable text;
- that wrong tokens are refused: the services' own tests and servicekit's try many more of them;
- that other methods are refused and deleted things stay gone: the services' own tests.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from servicekit.auth.api_keys import SCOPE as API_KEYS
from servicekit.auth.permissions import PERMISSIONS

from testkit.combined_app import CombinedApp
from testkit.eventually import until
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.openapi_diff import METHODS
from testkit.pacts import ON_BEHALF_OF, ROOT, TENANT, USER

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
# What refuses a request that does not fit; one that is also larger than its route takes is 413, or 414.
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "413", "414", "415", "422", "428", "429", "5xx"]
EXAMPLES = 12
# Of a request without a body, and of one that is always the same.
EXAMPLES_WITHOUT_BODY = 6
EXAMPLES_OF_NOTHING = 2

Operation = APIOperation[Any, Any, Any, Any]
Headers = Mapping[str, str]
# Makes something through the public port, and gives its ids as the paths name them.
MakeResources = Callable[[httpx.Client], Mapping[str, str]]


def operations(service: str, *, without: Collection[str] = ()) -> list[Any]:
    """Return every operation of a service's documents, for `parametrize`, except those of `without`."""
    files = sorted((ROOT / "services" / service / "contract").glob("*openapi.json"), reverse=True)
    documents = [json.loads(file.read_text()) for file in files]
    by_label = {one.label: one for document in documents for one in operations_of(document)}
    unknown_labels = set(without) - by_label.keys()
    assert not unknown_labels, f"{service} has no {', '.join(sorted(unknown_labels))}"
    return [pytest.param(one, id=label) for label, one in by_label.items() if label not in without]


def operations_of(document: Mapping[str, Any]) -> list[Operation]:
    """Read a document."""
    # Requests are signed in by us; a made-up token would be replaced, and what was wrong with it, too.
    generation = GenerationConfig(with_security_parameters=False)
    checks = ChecksConfig.from_dict({"negative_data_rejection": {"expected-statuses": REFUSALS}})
    project = ProjectConfig(generation=generation, checks=checks)
    config = SchemathesisConfig(projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_dict(dict(document), config=config)
    loaded = [one for one in schema.get_all_operations() if isinstance(one, Ok)]
    expected = sum(len(METHODS & item.keys()) for item in document["paths"].values())
    assert len(loaded) == expected, "schemathesis cannot read all of the document"
    return [one.ok() for one in loaded]


@dataclass(frozen=True)
class LiveService:
    """A service that answers at a URL: on its public port, and below `/internal/` on its internal one."""

    name: str
    url: str


@contextlib.contextmanager
def live_service(app: FastAPI) -> Iterator[LiveService]:
    """Run a service until the block ends: once for all operations, since to start it costs most."""
    with (
        serving(CombinedApp(app)) as url,
        httpx.Client(base_url=url, verify=NO_AUTHORITIES, timeout=60) as client,
    ):
        # Until then 503 is the right answer, on a machine that is busy.
        until(lambda: client.get("/readyz").json().get("checks", {}).get("keys", "ok") == "ok")
        yield LiveService(app.state.resources.name, url)


def assert_answers_as_documented(
    operation: Operation,
    service: LiveService,
    issuer: Issuer,
    *,
    make_resources: MakeResources = lambda _: {},
) -> None:
    """Call one operation of a running service; raises where a response is not as its document says.

    With `make_resources`, every second fitting request is for something that exists.
    """
    headers = auth_headers(operation, service.name, issuer)
    person = owner_headers(issuer)
    with (
        httpx.Client(base_url=service.url, headers=person, verify=NO_AUTHORITIES, timeout=60) as client,
        requests.Session() as session,
    ):
        # Proxies are looked up in the environment for each request otherwise.
        session.trust_env = False
        target = Target(service.url, headers, lambda: make_resources(client), session)
        for mode in modes(operation):
            send_requests(operation, mode, target)


def modes(operation: Operation) -> list[GenerationMode]:
    """Return what kinds of requests there are: no request can misfit an operation that takes nothing."""
    return [*GenerationMode] if takes_something(operation) else [GenerationMode.POSITIVE]


def examples(operation: Operation) -> int:
    """Return how many requests of a kind tell apart what an operation takes."""
    if operation.body:
        return EXAMPLES
    return EXAMPLES_WITHOUT_BODY if takes_something(operation) else EXAMPLES_OF_NOTHING


def takes_something(operation: Operation) -> bool:
    """Return whether one request of an operation may differ from another."""
    return bool([*operation.iter_parameters(), *operation.body])


@dataclass(frozen=True)
class Target:
    """Where, as whom and for what an operation is asked."""

    url: str
    headers: Headers
    resource_ids: Callable[[], Mapping[str, str]]
    session: requests.Session


def send_requests(operation: Operation, mode: GenerationMode, target: Target) -> None:
    """Send an operation requests of one kind, and check the answers."""
    numbers = count()

    @settings(
        max_examples=examples(operation),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case[Any]) -> None:
        if mode.is_positive and next(numbers) % 2 and case.path_parameters:
            existing = target.resource_ids()
            case.path_parameters.update(
                {key: existing[key] for key in case.path_parameters if key in existing}
            )
        case.call_and_validate(
            base_url=target.url, headers=dict(target.headers), session=target.session, checks=CHECKS
        )

    send()


def auth_headers(operation: Operation, service: str, issuer: Issuer) -> Headers:
    """Return the headers of a caller who may use an operation."""
    if not operation.path.startswith("/internal/"):
        return owner_headers(issuer)
    token = issuer.service_token("contract-test", audience=service, scope=" ".join([*PERMISSIONS, API_KEYS]))
    return {"Authorization": f"Bearer {token}", "Acme-On-Behalf-Of": ON_BEHALF_OF}


def owner_headers(issuer: Issuer) -> Headers:
    """Return the headers of the owner of a tenant."""
    return {"Authorization": f"Bearer {issuer.token(tenant_id=TENANT, subject=USER, role='owner')}"}
