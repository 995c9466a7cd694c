// How the pipeline stands: GET /v1/pipeline, for keys that may read it. Others see a page without it.
import { ApiError, read } from "./api.js";
import { byId, h, setText } from "./dom.js";
import { age, count } from "./words.js";

const EVERY_MS = 5_000;
const STATUS = { ok: "Up to date", behind: "Behind", stale: "Stale" };

// Ask until the signal aborts.
export async function followPipeline(signal) {
  while (!signal.aborted) {
    try {
      show(await read("v1/pipeline", {}, signal));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      if ([401, 403, 404].includes(error.status)) {
        byId("pipeline").hidden = true;
        return;
      }
      unknown();
    }
    await new Promise((resolve) => { setTimeout(resolve, EVERY_MS); });
  }
}

function show(health) {
  byId("pipeline").hidden = false;
  const status = byId("pipeline-status");
  setText(status, STATUS[health.status] ?? health.status);
  status.dataset.state = health.status;
  byId("pipeline-facts").replaceChildren(...facts(health).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function unknown() {
  setText(byId("pipeline-status"), "Not known");
  byId("pipeline-status").dataset.state = "unknown";
  byId("pipeline-facts").replaceChildren();
}

function facts(health) {
  const known = (value) => value !== null && value !== undefined;
  const said = [["Behind by", !known(health.freshness_s) ? "not known" : health.freshness_s ? age(health.freshness_s) : "nothing"]];
  if (known(health.lag_records)) {
    const since = known(health.lag_s) && health.lag_s > 0 ? `, ${age(health.lag_s)}` : "";
    said.push(["Waiting", health.lag_records ? `${count(health.lag_records)} records${since}` : "nothing"]);
  }
  if (known(health.dead_letters_last_hour)) said.push(["Dead letters, last hour", count(health.dead_letters_last_hour)]);
  if (known(health.unpriced)) {
    const since = health.unpriced && known(health.oldest_unpriced_s) ? `, oldest ${age(health.oldest_unpriced_s)}` : "";
    said.push(["Without a price", `${count(health.unpriced)}${since}`]);
  }
  return said;
}
