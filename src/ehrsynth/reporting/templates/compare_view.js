"use strict";
// What is shown. It stands in the address behind "#", as #model=vae&seed=0&metric=fidelity/apd: a view can be sent.

const told = document.body.dataset; // for tests, and for whoever asks why a page stays empty
addEventListener("error", (event) => { told.error = event.message; });
addEventListener("unhandledrejection", (event) => { told.error = String(event.reason); });
addEventListener("securitypolicyviolation", (event) => { told.blocked = event.violatedDirective; });

const page = JSON.parse(document.getElementById("data").textContent);
const UNSET = "not set";
const byId = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
const spaced = (name) => name.replace(/_/g, " ");
const valueOf = (run, facet) =>
  facet === "model" ? run.model : facet === "seed" ? String(run.seed) : run.options[facet] ?? UNSET;

function make(tag, content = [], attributes = {}) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...[content].flat()); // texts become text, never markup
  return element;
}

function asked() {
  return new URLSearchParams(location.hash.slice(1));
}

function ask(key, values) {
  const query = asked();
  query.delete(key);
  values.forEach((value) => query.append(key, value));
  show(query);
}

function show(query) {
  history.replaceState(null, "", `#${query}`);
  draw();
}

function currentView() {
  const query = asked();
  const set = page.sets.find((other) => other.title === query.get("rows")) ?? page.sets[0];
  const facets = ["model", "seed", ...set.options];
  const runs = set.runs.filter((run) =>
    facets.every((facet) => !query.has(facet) || query.getAll(facet).includes(valueOf(run, facet))));
  const measured = Object.keys(page.metrics).filter((metric) => runs.some((run) => metric in run.scores));
  const curves = Object.keys(page.metrics).filter((metric) => set.runs.some((run) => metric in run.checkpoints));
  const chosen = (key, known, usual) => (known.includes(query.get(key)) ? query.get(key) : usual);
  return {
    query, set, facets, runs, measured, curves,
    groups: unique(runs.map((run) => run.group).filter(Boolean)),
    axes: (query.has("score") ? query.getAll("score") : page.axes).filter((metric) => measured.includes(metric)),
    metric: chosen("metric", curves, curves.find((metric) => set.plane?.axes.includes(metric)) ?? curves[0]),
    ranking: set.rankings.find((other) => other.profile === query.get("profile")) ?? set.rankings[0],
    picked: runs.find((run) => run.name === query.get("run"))?.name,
    log: query.has("log"),
  };
}

function inOrder(values) {
  return unique(values).sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

function tick(label, checked, change) {
  const box = make("input", [], { type: "checkbox", checked });
  box.addEventListener("change", () => change(box.checked));
  return make("label", [box, " ", ...label]);
}

function swatch(model) {
  const dot = make("span", [], { className: "swatch" });
  dot.style.background = page.colours[model];
  return dot;
}

// One drop-down a facet; nothing ticked means all.
function fillFacets(view) {
  const open = [...byId("facets").querySelectorAll("details[open]")].map((details) => details.dataset.facet);
  byId("facets").replaceChildren(...view.facets.map((facet) => {
    const values = inOrder(view.set.runs.map((run) => valueOf(run, facet)));
    const ticked = view.query.getAll(facet);
    const ticks = values.map((value) => tick(
      facet === "model" ? [swatch(value), value] : [value], ticked.includes(value),
      (on) => ask(facet, on ? [...ticked, value] : ticked.filter((other) => other !== value))));
    const summary = make("summary", `${facet}: ${ticked.length ? ticked.join(", ") : `all ${values.length}`}`);
    summary.classList.toggle("narrowed", ticked.length > 0);
    const details = make("details", [summary, make("div", ticks)], { open: open.includes(facet) });
    details.dataset.facet = facet;
    details.hidden = values.length < 2 && !ticked.length;
    return details;
  }));
}

function fillSelect(id, values, current, said = (value) => value) {
  const option = (value) => make("option", said(value), { value, selected: value === current });
  byId(id).replaceChildren(...values.map(option));
}

function fillMetrics(view) {
  const families = unique(view.curves.map((metric) => page.metrics[metric].family));
  const option = (metric) => make("option", nameOf(metric), { value: metric, selected: metric === view.metric });
  byId("metric").replaceChildren(...families.map((label) =>
    make("optgroup", view.curves.filter((metric) => page.metrics[metric].family === label).map(option), { label })));
}

function fillScores(view) {
  byId("scores").replaceChildren(...view.measured.map((metric) =>
    tick([nameOf(metric)], view.axes.includes(metric), (on) =>
      ask("score", view.measured.filter((other) => (other === metric ? on : view.axes.includes(other)))))));
}

function fillControls(view) {
  fillSelect("rows", page.sets.map((set) => set.title), view.set.title);
  fillSelect("profile", view.set.rankings.map((other) => other.profile), view.ranking?.profile, spaced);
  byId("log").checked = view.log;
  fillFacets(view);
  fillMetrics(view);
  fillScores(view);
}

function nameOf(metric) {
  const { arrow, family, words } = page.metrics[metric];
  return `${arrow} ${family}: ${words}`;
}

function pick(run) {
  ask("run", run === asked().get("run") ? [] : [run]);
}

function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size < 1e-12) return "0";
  const text = size < 1e-4 || size >= 1e5 ? value.toExponential(2)
    : size < 1000 ? value.toPrecision(3) : Math.round(value).toLocaleString("en");
  return text.replace("-", "−");
}

for (const id of ["profile", "metric"]) byId(id).addEventListener("change", () => ask(id, [byId(id).value]));
byId("rows").addEventListener("change", () => show(new URLSearchParams({ rows: byId("rows").value })));
byId("log").addEventListener("change", () => ask("log", byId("log").checked ? ["1"] : []));
byId("all").addEventListener("click", () => {
  const query = asked();
  [...currentView().facets, "run"].forEach((key) => query.delete(key));
  show(query);
});
addEventListener("hashchange", () => draw());
