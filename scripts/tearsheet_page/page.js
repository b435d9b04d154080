"use strict";
// The list of decisions: filter, order, pages. All state is in the address (#decision=BUY&gain=loss&page=2), so that
// a view can be passed on as a link. Text is only ever read from the rows and written as text.
(() => {
  const body = document.getElementById("decision-rows");
  const form = document.getElementById("filter");
  const count = document.getElementById("count");
  const pagers = [...document.querySelectorAll(".pager")];
  if (!body || !form) return;

  const amount = (text) => (text === undefined ? NaN : Number(text));
  const rows = [...body.rows].map((row, time) => {
    const earned = amount(row.dataset.earned);
    const result = earned > 0 ? "gain" : earned < 0 ? "loss" : "none";
    if (result !== "none") row.cells[6].className = row.cells[7].className = result;
    return {
      row, time, earned, result,
      share: amount(row.dataset.share),
      decision: row.cells[1].textContent,
      status: row.cells[2].textContent,
      // The last cell of a long answer holds its end twice, which no search can notice.
      text: `${row.cells[0].textContent} ${row.cells[8].textContent}`.toLowerCase(),
    };
  });

  // Field, direction. What was never filled has no amount and comes last, whatever the direction.
  const orders = {
    "time": ["time", 1],
    "-time": ["time", -1],
    "gain": ["earned", -1],
    "loss": ["earned", 1],
    "gain-share": ["share", -1],
    "loss-share": ["share", 1],
  };

  const names = ["decision", "status", "gain", "text", "sort", "rows"];
  const defaults = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
  let page = 1;
  let shown = [];

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of names) {
      const field = form.elements[name];
      const value = given.get(name) ?? defaults[name];
      field.value = value;
      if (field.value !== value) field.value = defaults[name];  // not one of the choices
    }
    page = Math.max(1, Math.trunc(Number(given.get("page"))) || 1);
  }

  function write() {
    const state = new URLSearchParams();
    for (const name of names) {
      if (form.elements[name].value !== defaults[name]) state.set(name, form.elements[name].value);
    }
    if (page > 1) state.set("page", page);
    const text = state.toString();
    try {
      history.replaceState(null, "", text ? `#${text}` : "#decisions");
    } catch {
      // Some browsers limit how often, or forbid it for files: the list works without.
    }
  }

  function filter() {
    const value = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
    const text = value.text.trim().toLowerCase();
    shown = rows.filter((entry) =>
      (!value.decision || entry.decision === value.decision) &&
      (!value.status || entry.status === value.status) &&
      (!value.gain || entry.result === value.gain) &&
      (!text || entry.text.includes(text)));
    const [field, way] = orders[value.sort];
    const missing = (entry) => Number(Number.isNaN(entry[field]));
    shown.sort((a, b) => missing(a) - missing(b) || way * (a[field] - b[field]) || a.time - b.time);
  }

  function show() {
    const size = form.elements.rows.value === "all" ? Math.max(shown.length, 1) : Number(form.elements.rows.value);
    const pages = Math.max(1, Math.ceil(shown.length / size));
    page = Math.min(page, pages);
    const first = (page - 1) * size;
    const some = shown.slice(first, first + size);
    body.replaceChildren(...some.map((entry) => entry.row));
    const number = new Intl.NumberFormat("en-US");
    const total = shown.reduce((sum, entry) => sum + (entry.earned || 0), 0);
    const money = number.format(Math.abs(Math.round(total)));
    const sign = Math.round(total) === 0 ? "" : total > 0 ? "+" : "\u2212";
    count.textContent = shown.length
      ? `Rows ${number.format(first + 1)} to ${number.format(first + some.length)} of ${number.format(shown.length)}, ` +
        `out of ${number.format(rows.length)} decisions. Those ${number.format(shown.length)} earned ${sign}$${money} together.`
      : `None of ${number.format(rows.length)} decisions.`;
    for (const pager of pagers) {
      pager.querySelector(".where").textContent = `Page ${number.format(page)} of ${number.format(pages)}`;
      for (const button of pager.querySelectorAll("button")) {
        const back = button.dataset.step === "first" || button.dataset.step === "previous";
        button.disabled = back ? page === 1 : page === pages;
      }
    }
  }

  function changed() {
    page = 1;
    filter();
    show();
    write();
  }

  function follow() {
    if (!location.hash.includes("=")) return;
    read();
    filter();
    show();
    document.getElementById("decisions").scrollIntoView();
  }

  let waiting = 0;
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    if (event.target.name === "text") waiting = setTimeout(changed, 150);
    else changed();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(changed));
  for (const pager of pagers) {
    pager.addEventListener("click", (event) => {
      const step = event.target.dataset.step;
      if (!step) return;
      page = { first: 1, previous: page - 1, next: page + 1, last: Infinity }[step];
      show();
      write();
      if (pager === pagers.at(-1)) form.scrollIntoView();
    });
    pager.hidden = false;
  }
  addEventListener("hashchange", follow);

  // A fold that a link leads into opens; on paper all of them are open.
  const unfold = () => {
    const place = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (place instanceof HTMLDetailsElement) place.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("#tests details, #provenance details")) fold.open = true;
  });

  form.hidden = false;
  filter();
  show();
  follow();
})();
