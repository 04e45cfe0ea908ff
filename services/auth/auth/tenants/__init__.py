"""Tenants: what becomes of them, who belongs to them as what, and how people get in."""
