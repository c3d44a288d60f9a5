"use strict";

// The tables of models can be sorted and filtered. Without this script they are plain tables.
(() => {
  const opposite = { ascending: "descending", descending: "ascending" };
  const tables = [...document.querySelectorAll("table.sortable")];
  const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  };

  const isMissing = (value) => value === "" || value === "-";

  const compare = (one, other) => {
    const areNumbers = typeof one === "number" && typeof other === "number";
    return areNumbers ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });
  };

  const sort = (table, head) => {
    const heads = [...table.tHead.rows[0].cells];
    const [body, column] = [table.tBodies[0], heads.indexOf(head)];
    const order = opposite[head.getAttribute("aria-sort")] ?? head.dataset.first ?? "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => [valueOf(row, column), row]);
    keyed.sort(([one], [other]) =>
      isMissing(one) || isMissing(other) ? isMissing(one) - isMissing(other) : sign * compare(one, other));
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    body.append(...keyed.map(([, row]) => row));
  };

  tables.forEach((table) => [...table.tHead.rows[0].cells].forEach((head) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.replaceChildren(button);
  }));

  const field = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const filter = () => {
    const wanted = field.value.toLowerCase().split(/\s+/);
    rows.forEach((row) => { row.hidden = !wanted.every((word) => words.get(row).includes(word)); });
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = `${left} of ${rows.length} rows`;
  };
  field.addEventListener("input", filter);
  field.closest("p").hidden = false;
  filter();
})();

// On paper everything is open.
(() => {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
})();
