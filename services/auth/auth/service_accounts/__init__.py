"""Service accounts: machines of the operator's, vouched for by Vault, that get tokens by OAuth."""
