"""HTTP tools: endpoints of a tenant's own servers that its agents may call."""
