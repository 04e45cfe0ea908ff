export { AcmeClient, type ClientOptions } from "./client.js";
export { ApiError, SignedOut } from "./errors.js";
export type * from "./schemas.js";
export { type Frame, readFrames } from "./sse.js";
export { BrowserStore, MemoryStore, type SessionStore } from "./stores.js";
