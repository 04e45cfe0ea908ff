"""Stripe's events: received, stored, processed."""
