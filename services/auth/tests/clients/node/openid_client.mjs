// Gets access tokens with openid-client, by each way to prove who asks that it has and auth takes; verifies them by the
// issuer's keys, and uses them where there is something to use them for.
import { createRemoteJWKSet, jwtVerify } from "jose";
import * as openid from "openid-client";

const { issuer, scope, credential, keyed, key, resource } = JSON.parse(process.argv[2]);
const options = { execute: [openid.allowInsecureRequests] };

async function token(clientId, authentication) {
  const server = await openid.discovery(new URL(issuer), clientId, undefined, authentication, options);
  const { access_token, token_type, scope: granted } = await openid.clientCredentialsGrant(server, { scope });
  const { payload } = await jwtVerify(access_token, createRemoteJWKSet(new URL(server.serverMetadata().jwks_uri)), { issuer });
  const answer = resource && (await openid.fetchProtectedResource(server, access_token, new URL(resource), "GET"));
  return { access_token, token_type, scope: granted, subject: payload.sub, status: answer?.status };
}

// Whoever proves nothing is told so in a way that the client understands.
async function refusal(clientId, authentication) {
  return token(clientId, authentication).then(
    () => "a token",
    ({ status, error }) => `${status} ${error}`,
  );
}

const privateKey = await crypto.subtle.importKey("jwk", key, { name: "Ed25519" }, false, ["sign"]);
const { client_id: id, client_secret: secret } = credential;
console.log(
  JSON.stringify({
    client_secret_basic: await token(id, openid.ClientSecretBasic(secret)),
    client_secret_post: await token(id, openid.ClientSecretPost(secret)),
    private_key_jwt: await token(keyed.client_id, openid.PrivateKeyJwt(privateKey)),
    refusal: await refusal(id, openid.ClientSecretPost("not the secret")),
  }),
);
