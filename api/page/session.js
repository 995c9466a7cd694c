// The key of whoever looks: in this tab only. It leaves the page in one place, the header of a request (api.js).

const NAME = "ratemill-key";

export const key = () => sessionStorage.getItem(NAME);

export const keep = (text) => sessionStorage.setItem(NAME, text.trim());

export const forget = () => sessionStorage.removeItem(NAME);

// Take a key (#key=rm_…), or a link (#link=rml_…), which is used like one, out of the address, whose last part is never sent, and out of
// the history, before anything else happens.
export function takeFromAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const given = said.get("key") ?? said.get("link");
  if (given === null) return false;
  history.replaceState(null, "", location.pathname + location.search);
  keep(given);
  return true;
}
