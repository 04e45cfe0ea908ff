import { checked } from "./errors.js";
import type {
  Conversation,
  ConversationDetail,
  ConversationPage,
  Decision,
  MessageRequest,
  Run,
  RunDetail,
  RunEvent,
  RunSummaryPage,
  Session,
} from "./schemas.js";
import { type SessionStore, defaultStore } from "./stores.js";
import { readRun } from "./stream.js";
import { accessToken, post } from "./tokens.js";

export interface ClientOptions {
  /** The gateway's address; without it, the page's own origin. */
  baseUrl?: string;
  /** An API key, or an access token that somebody else renews; without it, `signIn` starts a session. */
  token?: string;
  /** Where the session is: in a browser `localStorage`, which tabs share, elsewhere memory. */
  store?: SessionStore;
}

export interface StreamOptions {
  /** Stops reading; the run goes on until `cancel`. */
  signal?: AbortSignal;
}

/** A client of Acme: a session, requests, and runs as streams of events that resume. */
export class AcmeClient {
  readonly baseUrl: string;
  readonly store: SessionStore;
  readonly #token: string | undefined;

  constructor({ baseUrl = "", token, store = defaultStore() }: ClientOptions = {}) {
    this.baseUrl = baseUrl.replace(/\/+$/, "");
    this.store = store;
    this.#token = token;
  }

  /** Start a session; where a second factor is required, an ApiError says so. */
  async signIn(email: string, password: string): Promise<Session> {
    const response = await post(`${this.baseUrl}/api/v1/auth/token`, { email, password });
    const session = (await response.json()) as Session;
    await this.store.save(session);
    return session;
  }

  /** End the session, here at once, and at the server if it can be reached. */
  async signOut(): Promise<void> {
    const session = await this.store.load();
    await this.store.save(null);
    if (session) {
      const body = { refresh_token: session.refresh_token };
      await post(`${this.baseUrl}/api/v1/auth/logout`, body).catch(() => {});
    }
  }

  /** Call any route with a token; throws ApiError, SignedOut, and TypeError where nothing answers. */
  async request(path: string, options: RequestInit = {}): Promise<Response> {
    const token = this.#token ?? (await accessToken(this.baseUrl, this.store));
    const response = await this.#fetch(path, options, token);
    if (response.status !== 401 || this.#token !== undefined) return checked(response);
    await response.body?.cancel();
    return checked(await this.#fetch(path, options, await accessToken(this.baseUrl, this.store, token)));
  }

  /** Send a message, and yield the events of its run until it ends or waits for an approval. */
  stream(message: string | MessageRequest, { signal }: StreamOptions = {}): AsyncGenerator<RunEvent> {
    const body = typeof message === "string" ? { message } : message;
    // A request that is repeated returns the run that the first one has started.
    const headers = { "Idempotency-Key": crypto.randomUUID() };
    const options = this.#json("POST", body, headers, signal);
    return readRun({ start: () => this.request("/api/v1/chat/stream", options), resume: this.#resume(signal), signal });
  }

  /** Yield the events of a run after a number, until it ends or waits for an approval. */
  follow(runId: string, { after = 0, signal }: StreamOptions & { after?: number } = {}): AsyncGenerator<RunEvent> {
    const resume = this.#resume(signal);
    return readRun({ start: () => resume(runId, after), resume, runId, after, signal });
  }

  /** Stop a run; its partial answer is stored. */
  cancel(runId: string): Promise<Run> {
    return this.#call(`${runPath(runId)}/cancel`, { method: "POST" });
  }

  /** Allow or refuse a tool call; after the last decision `follow` continues the run. */
  answerApproval(runId: string, approvalId: string, decision: Decision): Promise<Run> {
    return this.#call(`${runPath(runId)}/approvals/${encodeURIComponent(approvalId)}`, this.#json("POST", decision));
  }

  /** Return a run with its approvals. */
  run(runId: string): Promise<RunDetail> {
    return this.#call(runPath(runId));
  }

  /** List runs, the newest first: after a reload, those of a conversation say what to follow. */
  runs(filter: { conversation_id?: string; status?: string; limit?: number; cursor?: string } = {}): Promise<RunSummaryPage> {
    return this.#call(`/api/v1/runs${query(filter)}`);
  }

  /** List conversations, the most recently updated first. */
  conversations(page: { limit?: number; cursor?: string } = {}): Promise<ConversationPage> {
    return this.#call(`/api/v1/conversations${query(page)}`);
  }

  /** Return a conversation with its newest messages. */
  conversation(conversationId: string): Promise<ConversationDetail> {
    return this.#call(conversationPath(conversationId));
  }

  /** Change the title of a conversation; its place in the list stays. */
  renameConversation(conversationId: string, title: string): Promise<Conversation> {
    return this.#call(conversationPath(conversationId), this.#json("PATCH", { title }));
  }

  async #call<T>(path: string, options?: RequestInit): Promise<T> {
    return (await (await this.request(path, options)).json()) as T;
  }

  #fetch(path: string, options: RequestInit, token: string): Promise<Response> {
    const headers = new Headers(options.headers);
    headers.set("Authorization", `Bearer ${token}`);
    return fetch(this.baseUrl + path, { ...options, headers });
  }

  #resume(signal: AbortSignal | undefined): (runId: string, after: number) => Promise<Response> {
    return (runId, after) =>
      this.request(`${runPath(runId)}/events`, { headers: { "Last-Event-ID": `${after}` }, signal: signal ?? null });
  }

  #json(method: string, body: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): RequestInit {
    const json = { "Content-Type": "application/json", ...headers };
    return { method, body: JSON.stringify(body), headers: json, signal: signal ?? null };
  }
}

const conversationPath = (conversationId: string): string =>
  `/api/v1/conversations/${encodeURIComponent(conversationId)}`;
const runPath = (runId: string): string => `/api/v1/runs/${encodeURIComponent(runId)}`;

function query(values: Record<string, string | number | undefined>): string {
  const set = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`]]));
  return set.length ? `?${new URLSearchParams(set)}` : "";
}
