"""What a tenant may use: entitlements, budgets, and reservations of runs."""
