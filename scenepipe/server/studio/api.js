// Talks to the server. The key stays in this tab (sessionStorage), and goes out in a header only.

const KEPT = "scenepipe.key";

export const key = {
  get: () => sessionStorage.getItem(KEPT) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEPT, value) : sessionStorage.removeItem(KEPT)),
};

/** The server said no; `message` is its own. */
export class Refused extends Error {
  constructor(status, error = {}) {
    super(error.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = error.code;
  }
}

async function ask(path, body, signal) {
  const headers = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  const given = { headers, signal, cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(given, { method: "POST", body: JSON.stringify(body) });
  }
  const answer = await fetch(path, given);
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.error);
}

export const get = async (path) => (await ask(path)).json();
export const post = async (path, body, signal) => (await ask(path, body, signal)).json();

/** The chunks of a streamed reply. Throws where the stream ends before it says that it is done. */
export async function* stream(path, body, signal) {
  const answer = await ask(path, { ...body, stream: true }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Refused(answer.status, { message: "the stream broke off" });
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
      if (data === "[DONE]") return;
      if (!data) continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(answer.status, chunk.error);
      yield chunk;
    }
  }
}
