"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

// The whole view is in the address: `#results&q=vmap&vs=loop-grad&theme=dark`.
const state = new URLSearchParams(location.hash.slice(1));
function remember(name, value) {
  if (value) state.set(name, value);
  else state.delete(name);
  history.replaceState(null, "", `#${state.toString().replace(/=(?=&|$)/g, "")}`);
}

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.sort ?? "";
      const text = (row) => row.cells[column].textContent;
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x && y) return up ? x - y : y - x;
        // What has no number is last, whichever way.
        if (x || y) return x ? -1 : 1;
        return up ? text(a).localeCompare(text(b)) : text(b).localeCompare(text(a));
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
all("table.sortable").forEach(sortable);

const theme = document.createElement("button");
theme.className = "theme";
function paint() {
  const chosen = state.get("theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  theme.textContent = dark ? "Light theme" : "Dark theme";
  return dark;
}
theme.addEventListener("click", () => {
  remember("theme", paint() ? "light" : "dark");
  paint();
});
paint();
document.querySelector(".downloads").append(theme);

// Cases as objects, out of the packed download that the page carries.
async function unpacked() {
  const href = byId("json").href;
  const packed = Uint8Array.from(atob(href.slice(href.indexOf(",") + 1)), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { columns, data } = (await new Response(stream).json()).cases;
  return data.map((row) => Object.fromEntries(row.map((value, k) => [columns[k], value])));
}

const pretty = (value, units) => {
  const [scale, unit] = units.find(([least]) => value >= least) ?? units.at(-1);
  return `${Number((value / scale).toPrecision(3))} ${unit}`;
};
const seconds = (value) => pretty(value, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]]);
const bytes = (value) => pretty(value, [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]]);

function find(form, cases) {
  const asked = Object.fromEntries(new FormData(form));
  const away = (row) => ["n", "m", "B"].reduce((sum, k) => sum + Math.abs(Math.log(row[k] / asked[k])), 0);
  const here = cases.filter(
    (row) => row.status === "ok" && row.exact !== false && !row.chosen && row.operator === asked.op && row.where === asked.where
      && row.create_graph === Boolean(asked.train)
      && (!asked.mem || (row.peak_bytes !== null && row.peak_bytes <= asked.mem * 2 ** 20)),
  );
  if (!here.length) return "No measured case fits.";
  const nearest = here.reduce((a, b) => (away(b) < away(a) ? b : a));
  const name = (row) => [row.workload, JSON.stringify(row.params), row.B, row.n, row.m, row.dtype].join();
  const exact = away(nearest) < 1e-9;
  const ways = here.filter((row) => name(row) === name(nearest)).sort((a, b) => a.seconds - b.seconds);
  const best = ways.slice(0, 3).map((row) => {
    const memory = row.peak_bytes === null ? "" : `, ${bytes(row.peak_bytes)} at the peak`;
    return `${row.way}: ${seconds(row.seconds)}${row.factor > 1 ? ` (${row.factor.toFixed(2)}×)` : ""}${memory}`;
  });
  const where = `${nearest.workload}, n = ${nearest.n}, m = ${nearest.m}, B = ${nearest.B}`;
  return `${exact ? "Measured" : "Nearest measured case"}: ${where}.\n${best.join("\n")}`;
}

const finder = byId("finder");
if (finder) {
  finder.hidden = false;
  for (const field of finder.elements) {
    const given = field.name && state.get(field.name);
    if (given && field.type === "checkbox") field.checked = true;
    else if (given) field.value = given;
  }
  const cases = unpacked();
  const show = async () => { finder.elements.found.value = find(finder, await cases); };
  finder.addEventListener("input", (event) => {
    const field = event.target;
    remember(field.name, field.type === "checkbox" ? (field.checked ? "yes" : "") : field.value);
    show();
  });
  finder.addEventListener("submit", (event) => event.preventDefault());
  show();
}

const chooser = byId("chooser");
if (chooser) {
  chooser.hidden = false;
  const { q, vs } = chooser.elements;
  const original = new Map(all("table.matrix td[data-sort]").map((cell) => [cell, cell.textContent]));
  const apply = () => {
    for (const table of all("#results table.matrix")) {
      const rows = [...table.tBodies[0].rows];
      const other = rows.find((row) => row.cells[0].textContent === vs.value);
      for (const row of rows) {
        row.hidden = !row.cells[0].textContent.includes(q.value);
        [...row.cells].forEach((cell, k) => {
          const text = original.get(cell);
          if (!text?.includes("(")) return;
          const base = other?.cells[k].dataset.sort;
          const ratio = base ? `(${(cell.dataset.sort / base).toFixed(2)}× ${vs.value})` : "(–)";
          cell.textContent = vs.value ? text.replace(/\([^)]*\)$/, ratio) : text;
        });
      }
    }
  };
  q.value = state.get("q") ?? "";
  vs.value = state.get("vs") ?? "";
  chooser.addEventListener("input", (event) => {
    remember(event.target.name, event.target.value);
    apply();
  });
  chooser.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

// A link into what is folded opens it.
function arrive() {
  const id = location.hash.slice(1).split("&")[0];
  const target = id && !id.includes("=") ? byId(id) : null;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target?.scrollIntoView();
}
addEventListener("hashchange", arrive);
arrive();
addEventListener("beforeprint", () => {
  for (const details of all("details")) details.open = true;
});
