"""Subscriptions: commands to Stripe, and Stripe's state applied to our rows."""
