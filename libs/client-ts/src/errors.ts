import type { Problem } from "./schemas.js";

/** The server refused a request, or failed; `code` is stable, `message` is a sentence for people. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly code: string;
  readonly requestId: string;

  constructor(
    readonly status: number,
    readonly problem: Partial<Problem>,
    readonly retryAfterMs?: number,
  ) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}.`);
    this.code = problem.code ?? "";
    this.requestId = problem.request_id ?? "";
  }

  /** Whether the same request may succeed a little later. */
  get isTransient(): boolean {
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** There is no session, or it has ended: the person has to sign in. */
export class SignedOut extends Error {
  override name = "SignedOut";
}

/** Return a successful response; raise what any other one says. */
export async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
  // It may also be a date, which is no number.
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  throw new ApiError(response.status, problem, Number.isNaN(seconds) ? undefined : seconds * 1000);
}
