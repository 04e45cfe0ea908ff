"""Agents as data: definitions that a tenant writes, publishes as numbered versions, and rolls back."""
