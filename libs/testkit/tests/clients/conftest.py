"""Generators of clients: tried where they can be installed; `make test` says so otherwise."""

from testkit.client_environments import available

collect_ignore = (
    [] if {"testkit-generators", "testkit-node"} <= available() else ["test_generated_clients.py"]
)
