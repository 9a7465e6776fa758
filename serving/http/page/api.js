/** The server's API: one question as a stream of chunks, and what went wrong in plain words. */

import { counted } from "./format.js";

const KEY = "lamas-api-key";

/**
 * Something that the person at the page should read. `retryAfter` is in seconds, null where asking again is no use;
 * `isAway` where no question would be answered now.
 */
export class Problem extends Error {
  constructor(message, { retryAfter = null, needsKey = false, isAway = false } = {}) {
    super(message);
    this.retryAfter = retryAfter;
    this.needsKey = needsKey;
    this.isAway = isAway;
  }
}

/** Keep a key until the tab is closed. */
export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Whether the server can answer; what it says of itself where it cannot. */
export async function isReady() {
  try {
    return (await fetch("ready", { cache: "no-store" })).ok;
  } catch {
    return null;
  }
}

/** Names of the models the server offers. */
export async function modelNames() {
  const response = await send("v1/models", { method: "GET" });
  return (await response.json()).data.map((model) => model.id);
}

/** The chunks of one streamed chat completion, parsed, in the order of their arrival. */
export async function* chat(body, signal) {
  const response = await send("v1/chat/completions", {
    method: "POST",
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  let isDone = false;
  for await (const data of events(response.body, signal)) {
    isDone ||= data === "[DONE]"; // and on to the stream's own end: one that is left looks to the server as if we had gone
    if (isDone) continue;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Problem(`The server gave up on this question: ${chunk.error.message}`, { retryAfter: 0 });
    yield chunk;
  }
  if (!isDone) throw new Problem("The connection ended before the answer was complete.", { retryAfter: 0 });
}

async function send(path, options) {
  const key = sessionStorage.getItem(KEY);
  const headers = {
    ...(options.body && { "Content-Type": "application/json" }),
    ...(key && { Authorization: `Bearer ${key}` }),
  };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    throw lostConnection(error, options.signal);
  }
  if (!response.ok) throw await refusal(response, key !== null);
  return response;
}

/** The data of each server-sent event. */
async function* events(stream, signal) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => Promise.reject(lostConnection(error, signal)));
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function lostConnection(error, signal) {
  if (signal?.aborted) return error;
  return new Problem("The connection to the server is lost. Is it still running, and are you still on its network?", {
    retryAfter: 0,
    isAway: true,
  });
}

async function refusal(response, hadKey) {
  const said = (await response.json().catch(() => null))?.error?.message ?? "";
  const wait = Math.ceil(Number(response.headers.get("Retry-After")) || 0);
  const later = wait ? ` Try again in ${counted(wait, "second")}.` : "";
  switch (response.status) {
    case 401:
      return new Problem(hadKey ? "The server does not know this key." : "This server needs an API key.", { needsKey: true });
    case 429:
      return new Problem(`The server has as many questions as it can take.${later}`, { retryAfter: wait });
    case 503:
      return new Problem(`The server cannot answer at the moment${said ? `: ${said}` : ""}.${later}`.replace("..", "."), {
        retryAfter: wait,
        isAway: true,
      });
    case 502:
    case 504:
      return new Problem(`The proxy in front of the server has no answer from it.${later}`, { retryAfter: wait });
    case 413:
      return new Problem("The question is longer than the server takes.");
    default:
      return new Problem(
        response.status < 500
          ? `The server does not accept this question: ${said || `status ${response.status}`}`
          : `The server failed on this question: ${said || `status ${response.status}`}`,
        { retryAfter: response.status < 500 ? null : 0 },
      );
  }
}
