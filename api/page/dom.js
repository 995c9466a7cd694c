// Making and changing elements. Text is always set as text: nothing that comes from the API is ever read as HTML.

export const byId = (id) => document.getElementById(id);

// h("td", {class: "number", onclick: …}, "text", element): attributes that are null, undefined or false are left out.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Show rows in this order, keeping the elements of those that were there: focus and selection survive an update.
// cells(row) gives the cells of a row; key(row) what names it.
export function renderRows(body, rows, key, cells) {
  const before = new Map([...body.children].map((element) => [element.dataset.key, element]));
  const focused = document.activeElement;
  rows.forEach((row, at) => {
    const name = key(row);
    const element = before.get(name) ?? h("tr", { "data-key": name });
    before.delete(name);
    update(element, cells(row));
    if (body.children[at] !== element) body.insertBefore(element, body.children[at] ?? null);
  });
  for (const element of before.values()) element.remove();
  if (focused !== document.activeElement && focused.isConnected) focused.focus();
}

function update(row, cells) {
  if (row.children.length !== cells.length) return row.replaceChildren(...cells);
  cells.forEach((cell, at) => {
    const old = row.children[at];
    if (old.isEqualNode(cell)) return;
    const control = old.querySelector("button");
    // A control that may hold the focus stays; what it stands for has not changed, since its row has not.
    if (control && cell.querySelector("button")) setText(control, cell.querySelector("button").textContent);
    else old.replaceWith(cell);
  });
}

// The radio buttons of a fieldset: options are [value, label]. Returns nothing; `chosen` is called with a value.
export function renderSegments(fieldset, options, value, chosen) {
  const shown = [...fieldset.querySelectorAll("input")].map((input) => input.value);
  if (shown.join() !== options.map(([name]) => name).join()) {
    fieldset.querySelectorAll("label").forEach((label) => label.remove());
    for (const [name, text] of options) {
      const input = h("input", { type: "radio", name: fieldset.id, value: name, onchange: () => chosen(name) });
      fieldset.append(h("label", {}, input, h("span", {}, text)));
    }
  }
  for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === value;
}

export function renderOptions(select, options, value) {
  const wanted = options.map(([name, text]) => h("option", { value: name }, text));
  const same = wanted.length === select.options.length && wanted.every((option, at) => option.isEqualNode(select.options[at]));
  if (!same) select.replaceChildren(...wanted);
  select.value = value;
}
