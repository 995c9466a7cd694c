// Costs as they change: server-sent events where the API has them, else asking every two seconds.
import { ApiError, open, read } from "./api.js";

const ASK_EVERY_MS = 2_000;
const SILENT_MS = 45_000; // a stream that says nothing for so long, not even a comment, is broken
const WAITS_MS = [1_000, 2_000, 5_000, 10_000];

// Call onCosts(document) for each change until the signal aborts. onLive() tells that what is shown is up to date, onLost(error) that
// it may not be, and that it is tried again. Ends by raising ApiError when trying again cannot help (400, 401, 403).
export async function follow(parameters, signal, { onCosts, onLive, onLost }) {
  const asOnce = async () => {
    onCosts(await read("v1/costs", parameters, signal));
    onLive();
  };
  let [streams, failures] = [true, 0];
  while (!signal.aborted) {
    try {
      await asOnce();
      failures = 0;
      if (streams) streams = await followStream(parameters, signal, onCosts, onLive);
      else await pause(ASK_EVERY_MS, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError) || [400, 401, 403].includes(error.status)) throw error;
      onLost(error);
      await pause(WAITS_MS[Math.min(failures, WAITS_MS.length - 1)], signal);
      failures += 1;
    }
  }
}

// False when this API has no stream, or no room for one more. Raises ApiError when the stream ends.
async function followStream(parameters, outer, onCosts, onLive) {
  const own = new AbortController();
  const signal = AbortSignal.any([outer, own.signal]);
  let watch = 0;
  const heard = () => {
    clearTimeout(watch);
    watch = setTimeout(() => own.abort(), SILENT_MS);
  };
  try {
    heard();
    const answer = await open("v1/costs/stream", parameters, signal);
    for await (const event of eventsOf(answer.body.pipeThrough(new TextDecoderStream()), heard)) {
      onLive();
      if (event.name === "costs") onCosts(JSON.parse(event.data));
    }
    throw new ApiError(0, "the connection was closed");
  } catch (error) {
    if (error instanceof ApiError && [404, 405, 429].includes(error.status)) return false;
    if (own.signal.aborted && !outer.aborted) throw new ApiError(0, "Ratemill has gone silent");
    throw error;
  } finally {
    clearTimeout(watch);
  }
}

// Events of a text/event-stream; a comment is an event without a name.
async function* eventsOf(stream, heard) {
  const reader = stream.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new ApiError(0, "the connection was interrupted");
    });
    if (done) return;
    heard();
    text += value.replaceAll("\r", "");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")]);
      const of = (name) => fields.filter(([field]) => field === name).map(([, given]) => given);
      yield { name: of("event")[0] ?? (of("data").length ? "message" : ""), data: of("data").join("\n") };
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
