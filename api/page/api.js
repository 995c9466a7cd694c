// Requests to the API that served this page, and their errors in words.
import { key } from "./session.js";

// status 0: no answer at all.
export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// Parameters that are null or undefined are left out. Raises ApiError; an AbortError passes through.
export async function open(path, parameters, signal) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  let answer;
  try {
    answer = await fetch(query ? `${path}?${query}` : path, { headers: { authorization: `Bearer ${key()}` }, cache: "no-store", signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "Ratemill does not answer");
  }
  if (!answer.ok) throw new ApiError(answer.status, await detailOf(answer));
  return answer;
}

export async function read(path, parameters, signal) {
  const answer = await open(path, parameters, signal);
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the answer broke off");
  }
}

async function detailOf(answer) {
  try {
    return (await answer.json()).detail ?? answer.statusText;
  } catch {
    return answer.statusText || `status ${answer.status}`;
  }
}
