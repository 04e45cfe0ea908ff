"""Service accounts: machines of the operator, approved by a signature of Vault, that get tokens by OAuth."""
