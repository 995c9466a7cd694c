// The key of whoever looks: in this tab only. It leaves the page in one place, the header of a request (api.js).

const NAME = "ratemill-key";

export const key = () => sessionStorage.getItem(NAME);

export const keep = (text) => sessionStorage.setItem(NAME, text.trim());

export const forget = () => sessionStorage.removeItem(NAME);

// Take a key out of the address (#key=rm_…), which is never sent, and out of the history, before anything else happens.
export function takeFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given === null) return false;
  history.replaceState(null, "", location.pathname + location.search);
  keep(given);
  return true;
}
