/**
 * A small client of Acme for browsers: a session that all tabs share, requests, and streams that resume.
 * It has no dependencies; copy it, or read docs/howto/frontend.md for what it does and why.
 */

const SESSION = "acme.session";
const REFRESH_BEFORE_MS = 30_000;
const LONGEST_PAUSE_MS = 10_000;
// In a row, without an event between them: about a minute.
const MAX_FAILURES = 12;
const ENDED = new Set(["run.completed", "run.failed", "run.cancelled", "run.waiting"]);
const TRANSIENT = new Set([429, 502, 503, 504]);

/** A response that is not the expected one; `code` is stable, `message` is for people. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? "";
    this.requestId = problem.request_id ?? "";
    this.retryAfterMs = retryAfter ? Number(retryAfter) * 1000 : undefined;
  }
}

/** There is no session, or it has ended: the person has to sign in. */
export class SignedOut extends Error {}

export class Client {
  /** `onRetry` is called with the error whenever a stream has broken off and is about to be resumed. */
  constructor(baseUrl = "", onRetry = () => {}) {
    this.baseUrl = baseUrl;
    this.onRetry = onRetry;
  }

  /** The tokens of this browser's session, or null. */
  get session() {
    return JSON.parse(localStorage.getItem(SESSION) ?? "null");
  }

  async signIn(email, password) {
    const response = await this.#post("/api/v1/auth/token", { email, password });
    localStorage.setItem(SESSION, JSON.stringify(await response.json()));
  }

  async signOut() {
    const { refresh_token } = this.session ?? {};
    localStorage.removeItem(SESSION);
    if (refresh_token) {
      await this.#post("/api/v1/auth/logout", { refresh_token }).catch(() => {});
    }
  }

  /** Call a route as the person who is signed in; throws ApiError and SignedOut. */
  async request(path, { headers = {}, ...options } = {}) {
    let token = await this.#accessToken();
    for (const isLast of [false, true]) {
      const response = await reach(this.baseUrl + path, {
        ...options,
        headers: { ...headers, Authorization: `Bearer ${token}` },
      });
      if (response.status !== 401 || isLast) return checked(response);
      token = await this.#accessToken(token);
    }
  }

  async json(path, options) {
    const response = await this.request(path, options);
    return response.status === 204 ? null : response.json();
  }

  /** Send a message, and yield the events of its run until it ends or waits for an approval. */
  async *send(message, { signal } = {}) {
    const options = {
      method: "POST",
      // A repeated request returns the run that the first one has started.
      headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
      body: JSON.stringify(message),
      signal,
    };
    yield* this.#events(() => ["/api/v1/chat/stream", options], { signal });
  }

  /** Yield the events of a run after a number, until it ends or waits for an approval. */
  async *follow(runId, { after = 0, signal } = {}) {
    yield* this.#events(() => [eventsOf(runId), { headers: { "Last-Event-ID": `${after}` }, signal }], {
      runId,
      after,
      signal,
    });
  }

  /** Read a stream; where it breaks off, resume it after the last event. */
  async *#events(first, { runId, after = 0, signal }) {
    let next = first();
    for (let failures = 0; ; ) {
      // In an outage the gateway answers with a stream that has no event.
      let failure = new TypeError("The stream ended without an event.");
      try {
        const response = await this.request(...next);
        if (response.status === 204) return;
        let hasEnded = false;
        for await (const event of readEvents(response.body)) {
          failures = 0;
          after = event.id ?? after;
          runId ??= event.data.run_id;
          // A run that is read from its beginning may have waited, and gone on.
          hasEnded = ENDED.has(event.type);
          yield event;
        }
        if (hasEnded) return;
      } catch (error) {
        failure = error;
      }
      const isTransient = failure instanceof ApiError ? TRANSIENT.has(failure.status) : failure instanceof TypeError;
      if (!isTransient || signal?.aborted || ++failures > MAX_FAILURES) throw failure;
      this.onRetry(failure);
      await pause(failure.retryAfterMs ?? Math.random() * Math.min(LONGEST_PAUSE_MS, 250 * 2 ** failures));
      if (runId) next = [eventsOf(runId), { headers: { "Last-Event-ID": `${after}` }, signal }];
    }
  }

  /** A token that is good for a while; only one tab at a time exchanges the refresh token. */
  async #accessToken(refused) {
    const isGood = (session) =>
      session && session.access_token !== refused && Date.parse(session.expires_at) - Date.now() > REFRESH_BEFORE_MS;
    if (isGood(this.session)) return this.session.access_token;
    // A refresh token that is used twice ends the session: tabs take turns, and use what another one has got.
    return navigator.locks.request(SESSION, async () => {
      const session = this.session;
      if (!session) throw new SignedOut("Sign in first.");
      if (isGood(session)) return session.access_token;
      try {
        const response = await this.#post("/api/v1/auth/refresh", { refresh_token: session.refresh_token });
        const renewed = await response.json();
        localStorage.setItem(SESSION, JSON.stringify(renewed));
        return renewed.access_token;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error;
        localStorage.removeItem(SESSION);
        throw new SignedOut("The session has ended. Sign in again.");
      }
    });
  }

  async #post(path, body) {
    return checked(
      await reach(this.baseUrl + path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      }),
    );
  }
}

/** Yield the server-sent events of a body; comments, which keep the connection open, are left out. */
export async function* readEvents(body) {
  let buffer = "";
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    const frames = (buffer + text).split("\n\n");
    buffer = frames.pop();
    for (const frame of frames) {
      const fields = new Map();
      for (const line of frame.split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).trimStart());
      }
      if (fields.has("data")) {
        // `run.queued` has no number: it is not a part of the log.
        const id = fields.has("id") ? Number(fields.get("id")) : undefined;
        yield { id, type: fields.get("event"), data: JSON.parse(fields.get("data")) };
      }
    }
  }
}

/** Yield what a stream gives; not every browser iterates over streams itself. */
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) yield chunk.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** `fetch`, whose message of a failed connection differs by browser and is not for people. */
async function reach(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    throw error instanceof TypeError ? new TypeError("The server cannot be reached.", { cause: error }) : error;
  }
}

async function checked(response) {
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(response.status, problem, response.headers.get("Retry-After"));
}

const eventsOf = (runId) => `/api/v1/runs/${runId}/events`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
