"""API keys of tenants: made by a person, for a machine, with some of the person's rights."""
