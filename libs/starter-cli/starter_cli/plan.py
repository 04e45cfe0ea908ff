"""Which components there are, how each is run, and what each needs before it can start."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

from sandbox.embedded import envoy_binary

from starter_cli import billing, databases, environment, owner, stripe_setup, variables
from starter_cli.components import Component, EmbeddedComponent, ProgramComponent
from starter_cli.paths import CHECKOUT, SERVICES, Layout, service_dir
from starter_cli.processes import PYTHON, Program
from starter_cli.startup import Step


@dataclass(frozen=True)
class Plan:
    """The components of a stack, by what they are."""

    foundation: Sequence[Component]
    services: Mapping[str, Sequence[Component]]
    gateway: Component

    @property
    def layers(self) -> Sequence[Sequence[Component]]:
        """All of them: what a component needs for its work is in a layer before its own."""
        auth, chat = self.services["auth"], self.services["chat-agent"]
        between = [
            component
            for components in self.services.values()
            if components not in (auth, chat)
            for component in components
        ]
        return [self.foundation, auth, between, chat, [self.gateway]]

    @property
    def components(self) -> Sequence[Component]:
        """All of them."""
        return [*self.foundation, *self.replicas, self.gateway]

    @property
    def replicas(self) -> Sequence[Component]:
        """Those that are services of ours."""
        return [component for components in self.services.values() for component in components]


def build(layout: Layout) -> Plan:
    """Plan a stack."""
    for service in SERVICES:
        # Now, and remembered: Python 3.11's parser fails when threads, as those of the steps, use it at once.
        variables.names_read_by(service)
    return Plan(
        foundation=[
            EmbeddedComponent("postgres", layout.postgres),
            EmbeddedComponent("valkey", layout.valkey),
            sandbox_component(layout),
        ],
        services={
            name: [
                service_component(layout, replica)
                for replica, service in layout.replicas.items()
                if service == name
            ]
            for name in SERVICES
        },
        gateway=gateway_component(layout),
    )


def build_steps(plan: Plan, layout: Layout, cancelled: Event) -> Sequence[Step]:
    """List what is to be done, and what it needs to be done before."""
    first_tenant = f"{owner.TENANT}, {owner.EMAIL}"
    return [
        *(start_step(component, cancelled) for component in plan.foundation),
        Step(
            "databases",
            partial(databases.create_and_migrate, layout, cancelled),
            "one a service",
            needs=["postgres"],
        ),
        Step(
            "first tenant", partial(owner.ensure_exists, layout, cancelled), first_tenant, needs=["databases"]
        ),
        *service_steps(plan, layout, cancelled),
        start_step(plan.gateway, cancelled, *(component.name for component in plan.replicas)),
    ]


def service_steps(plan: Plan, layout: Layout, cancelled: Event) -> Iterator[Step]:
    """List the starts of the services, and what prepares billing where Stripe is the sandbox's."""
    needs = ["databases", "valkey"]
    if not billing.uses_sandbox(layout):
        yield from (start_step(component, cancelled, *needs) for component in plan.replicas)
        return
    setup = partial(stripe_setup.run_setup, layout, cancelled)
    yield Step("stripe", setup, layout.stripe_url, ["sandbox"])
    for component in plan.replicas:
        is_billing = component in plan.services[billing.SERVICE]
        yield start_step(component, cancelled, *needs, *(["stripe"] if is_billing else []))
    grants = partial(stripe_setup.lift_limits, layout, cancelled)
    yield Step("entitlements", grants, f"{owner.TENANT}, no limits", ["auth", "first tenant"])


def start_step(component: Component, cancelled: Event, *needs: str) -> Step:
    """Make the step that starts a component."""
    return Step(component.name, partial(component.start, cancelled), component.address, needs)


def sandbox_component(layout: Layout) -> ProgramComponent:
    """Describe the outside world on this machine: a model, Stripe, and the inbox of its mail."""
    describe = partial(sandbox_program, layout)
    return ProgramComponent("sandbox", layout.sandbox_url, f"{layout.sandbox_url}/healthz", describe)


def sandbox_program(layout: Layout) -> Program:
    """Describe how the sandbox is run."""
    return Program(
        name="sandbox",
        argv=[*PYTHON, "sandbox.main", *sandbox_options(layout)],
        cwd=CHECKOUT,
        environment=environment.python_variables(),
        log=layout.data_dir.log("sandbox"),
    )


def sandbox_options(layout: Layout) -> Sequence[str]:
    """Choose how the sandbox behaves."""
    return [
        *("--port", str(layout.ports["sandbox"])),
        *("--data", str(layout.data_dir.mails)),
        *("--gateway", layout.gateway_url),
        *("--tokens-per-second", str(layout.tokens_per_second)),
    ]


def service_component(layout: Layout, replica: str) -> ProgramComponent:
    """Describe a replica of one of our services; it is ready when all that it needs answers."""
    ready_url = f"{layout.url(f'{replica}-internal')}/readyz"
    return ProgramComponent(
        replica, layout.url(replica), ready_url, partial(service_program, layout, replica)
    )


def service_program(layout: Layout, replica: str) -> Program:
    """Describe how a replica is run."""
    name = layout.replicas[replica]
    return Program(
        name=replica,
        argv=[*PYTHON, f"{SERVICES[name]}.main"],
        cwd=service_dir(name),
        environment=environment.for_service(layout, replica),
        log=layout.data_dir.log(replica),
    )


def gateway_component(layout: Layout) -> ProgramComponent:
    """Describe Envoy, with the configuration that it has everywhere."""
    ready_url = f"{layout.url('gateway-admin')}/ready"
    return ProgramComponent("gateway", layout.gateway_url, ready_url, partial(gateway_program, layout))


def gateway_program(layout: Layout) -> Program:
    """Describe how Envoy is run."""
    return Program(
        name="gateway",
        argv=["/bin/sh", CHECKOUT / "deploy" / "gateway" / "start.sh"],
        cwd=layout.data_dir.root,
        environment=environment.for_gateway(layout, str(envoy_binary())),
        log=layout.data_dir.log("gateway"),
    )
