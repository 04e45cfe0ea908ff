"""What a tenant used: the ledger, and what is computed from it."""
