/** What the client sends and returns, from the OpenAPI documents. */

import type { components as Auth } from "./openapi/auth.js";
import type { components as Chat } from "./openapi/chat-agent.js";
import type { components as Conversations } from "./openapi/conversation.js";

type ChatRequest = Chat["schemas"]["ChatRequest"];

/** A message to an agent; only `message` is required. */
export type MessageRequest = Pick<ChatRequest, "message"> & Partial<ChatRequest>;
/** An event of a run, told apart by its `type`; `run.queued` is not in the log, and has no `seq`. */
export type RunEvent = Chat["schemas"]["RunEvent"];
/** The events of one type: `EventOf<"message.delta">`. */
export type EventOf<Type extends RunEvent["type"]> = Extract<RunEvent, { type: Type }>;
export type Decision = Chat["schemas"]["Answer"];
export type Run = Chat["schemas"]["Run"];
export type RunDetail = Chat["schemas"]["RunDetail"];
export type RunSummaryPage = Chat["schemas"]["RunSummaryPage"];
export type Usage = Chat["schemas"]["Usage"];
export type Problem = Chat["schemas"]["Problem"];
export type Conversation = Conversations["schemas"]["Conversation"];
export type ConversationDetail = Conversations["schemas"]["ConversationDetail"];
export type ConversationPage = Conversations["schemas"]["ConversationPage"];
/** The tokens of somebody who is signed in. */
export type Session = Auth["schemas"]["TokenResponse"];
