"""What people do with their own account: passwords, address, profile, export, and leaving."""
