// The table of groups or line items: columns that sort, a search, more rows on demand. Elements of rows are kept over updates.
import { byId, h, renderRows, setText } from "./dom.js";

const STEP = 100;

export class Table {
  // onSort(sort) and onMore() are called when somebody asks for them; a sort is "-cost" or "name".
  constructor({ onSort, onMore }) {
    Object.assign(this, { _onSort: onSort, _onMore: onMore, _shown: STEP, _kind: "" });
    byId("more").addEventListener("click", () => {
      this._shown += STEP;
      onMore();
    });
  }

  // columns: {id, label, number, wide, cell(row) -> content, compare(a, b), text(row)}; wide ones are left out on a phone.
  // kind names what the rows are of: with another one, the table begins anew.
  show({ kind, columns, rows, key, sort, query, foot, more, empty, noun }) {
    if (kind !== this._kind) {
      [this._kind, this._shown] = [kind, STEP];
      for (const part of ["table-head", "table-body"]) byId(part).replaceChildren();
    }
    this._showHead(columns, sort);
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const texts = columns.filter((column) => column.text);
    const found = words.length ? rows.filter((row) => {
      const text = texts.map((column) => column.text(row)).join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    }) : rows;
    const sorted = sortRows(found, columns, sort);
    const shown = sorted.slice(0, this._shown);
    renderRows(byId("table-body"), shown, key, (row) => columns.map((column, at) => cellOf(column, at, row)));
    byId("table-foot").replaceChildren(...(foot ? [foot(found)] : []));
    byId("more").hidden = sorted.length <= this._shown && !more;
    byId("table-scroll").hidden = rows.length === 0;
    byId("table-empty").hidden = rows.length !== 0;
    if (rows.length === 0) setText(byId("table-empty"), empty);
    const part = shown.length < sorted.length || more ? `${shown.length} of ${more ? "more than " : ""}${sorted.length} ${noun}` : "";
    setText(byId("table-note"), words.length ? `${found.length} of ${rows.length}${more ? " loaded" : ""} ${noun} match` : part);
  }

  _showHead(columns, sort) {
    const head = byId("table-head");
    const [id, down] = parseSort(sort);
    if (!head.firstChild) {
      const cells = columns.map((column) => {
        const classes = [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ") || null;
        if (!column.compare) return h("th", { scope: "col", class: classes }, column.label);
        return h("th", { scope: "col", class: classes, "data-id": column.id }, h("button", { type: "button", onclick: () => this._sortBy(column) }, column.label));
      });
      head.append(h("tr", {}, cells));
    }
    this._sort = sort;
    for (const cell of head.querySelectorAll("th[data-id]")) {
      if (cell.dataset.id === id) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  _sortBy(column) {
    const [id, down] = parseSort(this._sort);
    const descending = id === column.id ? !down : Boolean(column.number);
    this._onSort((descending ? "-" : "") + column.id);
  }
}

const parseSort = (sort) => (sort.startsWith("-") ? [sort.slice(1), true] : [sort, false]);

function sortRows(rows, columns, sort) {
  const [id, down] = parseSort(sort);
  const column = columns.find((one) => one.id === id && one.compare);
  return column ? [...rows].sort((a, b) => (down ? column.compare(b, a) : column.compare(a, b))) : rows;
}

function cellOf(column, at, row) {
  const classes = [column.number && "number", column.wide && "wide", column.style].filter(Boolean).join(" ") || null;
  return at === 0 ? h("th", { scope: "row", class: classes }, column.cell(row)) : h("td", { class: classes }, column.cell(row));
}
