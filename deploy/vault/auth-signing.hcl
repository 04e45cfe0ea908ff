# What auth's own token may do besides, where AUTH_SIGNER=vault: sign access tokens with the one key, and read its
# public parts. Making and rotating keys is an operator's (auth-signing-operator.hcl); nobody exports or deletes.
#
#   vault policy write auth-signing deploy/vault/auth-signing.hcl
#   vault token create -policy=auth-service -policy=auth-signing -period=24h -orphan

path "transit/sign/auth-access-tokens" {
  capabilities = ["update"]
}

path "transit/keys/auth-access-tokens" {
  capabilities = ["read"]
}
