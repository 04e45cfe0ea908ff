import { ApiError, SignedOut, checked } from "./errors.js";
import type { Session } from "./schemas.js";
import type { SessionStore } from "./stores.js";

const REFRESH_BEFORE_MS = 30_000;

/** Post JSON without a token. */
export async function post(url: string, body: unknown): Promise<Response> {
  const headers = { "Content-Type": "application/json" };
  return checked(await fetch(url, { method: "POST", headers, body: JSON.stringify(body) }));
}

/**
 * Return an access token that is valid for a while, and is not the one that was refused.
 * A refresh token that is used twice ends the session: clients take turns, and use what another one has got.
 */
export async function accessToken(baseUrl: string, store: SessionStore, refused?: string): Promise<string> {
  const isValid = (session: Session | null): session is Session =>
    session !== null &&
    session.access_token !== refused &&
    Date.parse(session.expires_at) - Date.now() > REFRESH_BEFORE_MS;
  const session = await store.load();
  if (isValid(session)) return session.access_token;
  return store.lock(async () => {
    const current = await store.load();
    if (!current) throw new SignedOut("Sign in first.");
    return isValid(current) ? current.access_token : refresh(baseUrl, store, current);
  });
}

async function refresh(baseUrl: string, store: SessionStore, session: Session): Promise<string> {
  try {
    const response = await post(`${baseUrl}/api/v1/auth/refresh`, { refresh_token: session.refresh_token });
    const renewed = (await response.json()) as Session;
    await store.save(renewed);
    return renewed.access_token;
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error;
    await store.save(null);
    throw new SignedOut("The session has ended. Sign in again.", { cause: error });
  }
}
