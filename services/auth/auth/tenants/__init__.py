"""Tenants: their life cycle, members, settings and invites."""
