"""MCP servers of tenants (https://modelcontextprotocol.io), whose tools their agents call."""
