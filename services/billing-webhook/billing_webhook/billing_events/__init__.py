"""What happened to a tenant's billing, for its frontends and for other services."""
