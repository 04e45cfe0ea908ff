/** The events of a run: docs/reference/chat-agent.md says when each comes. */

import type { Usage } from "./schemas.js";

interface Event<Type extends string> {
  type: Type;
  run_id: string;
  conversation_id: string;
}

/** An event of the run's log; its number is what a stream resumes after. */
interface Numbered<Type extends string> extends Event<Type> {
  seq: number;
  at: string;
}

/** The run waits for others of its conversation. It is not in the log, and has no number. */
export interface RunQueued extends Event<"run.queued"> {
  ahead: number;
  active_run: { id: string; status: string };
}

export interface RunStarted extends Numbered<"run.started"> {
  agent: string;
  model: string;
}

/** Another attempt continues the run: remove the withdrawn items, which come again. */
export interface RunResumed extends Numbered<"run.resumed"> {
  withdrawn: string[];
  reason: "worker_lost" | "handed_over" | "answered";
}

export type ItemKind = "message" | "reasoning" | "tool_call" | "tool_output" | "handoff";

export interface ItemStarted extends Numbered<"item.started"> {
  item: { id: string; kind: ItemKind };
}

export interface ItemCompleted extends Numbered<"item.completed"> {
  item: {
    id: string;
    kind: ItemKind;
    role?: string;
    text?: string;
    refusal?: boolean;
    call_id?: string;
    name?: string;
    arguments?: string;
    output?: string;
    /** It was cut off. */
    incomplete?: boolean;
  };
}

export interface Delta<Type extends "message.delta" | "reasoning.delta"> extends Numbered<Type> {
  item_id: string;
  delta: string;
}

export interface ToolCalled extends Numbered<"tool.called"> {
  call_id: string;
  name: string;
  arguments: string;
}

export interface ToolOutput extends Numbered<"tool.output"> {
  call_id: string;
  name: string;
  output: string;
}

export interface AgentChanged extends Numbered<"agent.changed"> {
  from: string;
  to: string;
}

/** A person has to decide: `answerApproval`. */
export interface ApprovalRequired extends Numbered<"approval.required"> {
  approval_id: string;
  call_id: string;
  name: string;
  arguments: string;
}

interface Last<Type extends string> extends Numbered<Type> {
  output: string | null;
  agent: string;
  handoffs: string[];
  usage: Usage;
}

/** The run waits for a person; after the decision `follow` continues. */
export interface RunWaiting extends Last<"run.waiting"> {}

export interface RunEnded<Type extends "run.completed" | "run.failed" | "run.cancelled"> extends Last<Type> {
  /** A limit of tokens cut the answer. */
  truncated?: boolean;
  code?: string;
  detail?: string | null;
  quota?: Record<string, unknown>;
}

export type RunEvent =
  | RunQueued
  | RunStarted
  | RunResumed
  | ItemStarted
  | ItemCompleted
  | Delta<"message.delta">
  | Delta<"reasoning.delta">
  | ToolCalled
  | ToolOutput
  | AgentChanged
  | ApprovalRequired
  | RunWaiting
  | RunEnded<"run.completed">
  | RunEnded<"run.failed">
  | RunEnded<"run.cancelled">;
