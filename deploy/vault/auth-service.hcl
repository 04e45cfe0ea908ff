# What auth's own token may do in Vault, and nothing else: verify with the one key, and renew itself. Who may
# issue service accounts has a policy of their own, with `sign` alone.
#
#   vault policy write auth-service deploy/vault/auth-service.hcl
#   vault token create -policy=auth-service -period=24h -orphan

path "transit/verify/auth-service" {
  capabilities = ["update"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
