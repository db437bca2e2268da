/** The server refused: what was sent can't be recorded, and sending it again won't help. */
export class Refused extends Error {}
/** The server can't be reached, or knows this browser no more: to be tried again. */
export class Unreachable extends Error {}

export async function answer(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new Unreachable("the server doesn't answer");
  }
  if (response.ok) return response;
  const text = await response.text();
  if (response.status === 401) throw new Unreachable("the server was started again: open its new address in this browser");
  if (response.status >= 500) throw new Unreachable(problemOf(text));
  throw new Refused(problemOf(text));
}

function problemOf(text: string): string {
  try {
    const value = JSON.parse(text) as { problem?: string; detail?: unknown };
    return value.problem ?? JSON.stringify(value.detail ?? value);
  } catch {
    return text.slice(0, 300);
  }
}

export async function get<T>(path: string): Promise<T> {
  return (await (await answer(path)).json()) as T;
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers = { "content-type": "application/json" };
  const told = await answer(path, { method: "POST", headers, body: JSON.stringify(body) });
  return (await told.json()) as T;
}

export const candidateUrl = (id: string) => `/api/candidate/${encodeURIComponent(id)}`;
export const chipUrl = (round: string, id: string, year: number, kind: string) =>
  `/chip/${round}/${encodeURIComponent(id)}/${year}/${kind}`;
