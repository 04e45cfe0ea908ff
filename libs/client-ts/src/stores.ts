import type { Session } from "./schemas.js";

/** Where the tokens of a session are; all clients that share it share the session. */
export interface SessionStore {
  load(): Session | null | Promise<Session | null>;
  save(session: Session | null): void | Promise<void>;
  /** Do something that no other client of the session does at the same time. */
  lock<T>(work: () => Promise<T>): Promise<T>;
}

/** A session in the memory of this process. */
export class MemoryStore implements SessionStore {
  #session: Session | null = null;
  #last: Promise<unknown> = Promise.resolve();

  load(): Session | null {
    return this.#session;
  }

  save(session: Session | null): void {
    this.#session = session;
  }

  lock<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }
}

/** A session in `localStorage`, which all tabs of an origin share. */
export class BrowserStore implements SessionStore {
  readonly #memory = new MemoryStore();

  constructor(readonly key = "acme.session") {}

  load(): Session | null {
    return JSON.parse(localStorage.getItem(this.key) ?? "null") as Session | null;
  }

  save(session: Session | null): void {
    if (session) localStorage.setItem(this.key, JSON.stringify(session));
    else localStorage.removeItem(this.key);
  }

  lock<T>(work: () => Promise<T>): Promise<T> {
    // Without https there are no locks between tabs.
    const locks = (navigator as Partial<Navigator>).locks;
    return locks ? (locks.request(this.key, work) as Promise<T>) : this.#memory.lock(work);
  }
}

export const defaultStore = (): SessionStore =>
  typeof document === "undefined" ? new MemoryStore() : new BrowserStore();
