# What `python -m auth keys rotate` and `revoke` need, where AUTH_SIGNER=vault: to make the key and its versions, and
# to read their public parts. Nothing here signs: who rotates keys cannot make tokens.
#
#   vault policy write auth-signing-operator deploy/vault/auth-signing-operator.hcl
#   vault token create -policy=auth-signing-operator -ttl=15m

path "transit/keys/auth-access-tokens" {
  capabilities = ["create", "update", "read"]
}

path "transit/keys/auth-access-tokens/rotate" {
  capabilities = ["update"]
}
