// Tables; then everything is drawn, at once and after every change.

// Rows are {cells, run, className}. Cells are texts, numbers, null, or {text, value, href, under, mark, className,
// title}; the value is what sorts.
const sorting = {};

function table(id, heads, rows, references = []) {
  const by = sorting[id];
  if (by) rows.sort((a, b) => inLine(sortKey(a.cells[by.column]), sortKey(b.cells[by.column]), by.sign));
  const head = heads.map((text, column) => {
    const cell = make("th", by?.column === column ? `${text} ${by.sign > 0 ? "▴" : "▾"}` : text);
    const isNumber = ({ cells }) => typeof cells[column] === "number" || cells[column]?.className === "n";
    cell.classList.toggle("n", rows.some(isNumber));
    cell.addEventListener("click", () => {
      sorting[id] = { column, sign: by?.column === column ? -by.sign : 1 };
      draw();
    });
    return cell;
  });
  const body = [...references.map((cells) => ({ cells, className: "reference" })), ...rows].map((row) => {
    const line = make("tr", row.cells.map(cellOf), { className: row.className ?? "" });
    if (row.run) line.addEventListener("click", (event) => event.target.closest("a") || pick(row.run));
    return line;
  });
  byId(id).replaceChildren(make("thead", make("tr", head)), make("tbody", body));
}

function sortKey(cell) {
  return cell?.value ?? cell?.text ?? cell;
}

// Numbers by size, texts by their words; what is not there comes last either way.
function inLine(a, b, sign) {
  const absent = (value) => !known(value) || value === "";
  if (absent(a) || absent(b)) return absent(a) - absent(b);
  const numbers = typeof a === "number" && typeof b === "number";
  return sign * (numbers ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
}

function cellOf(content) {
  const cell = content !== null && typeof content === "object" ? content : { text: content };
  const isNumber = typeof cell.text === "number";
  const shown = isNumber || !known(cell.text) ? number(cell.text) : cell.text;
  const first = cell.mark ? make("span", shown, { className: `word ${cell.mark}` })
    : cell.href ? make("a", shown, { href: cell.href }) : shown;
  const lines = cell.under ? [first, make("br"), make("small", cell.under, { className: "soft" })] : [first];
  return make("td", lines, { className: cell.className ?? (isNumber ? "n" : ""), title: cell.title ?? "" });
}

function rankCell({ rank, low, high }) {
  const under = known(low) ? `${low.toFixed(2)} to ${high.toFixed(2)}` : "";
  return { text: rank.toFixed(2), value: rank, className: "n", under };
}

// What sets a group apart from the other groups of its model.
function optionsOf(set, group) {
  const { model, options } = set.runs.find((run) => run.group === group);
  const kin = set.runs.filter((run) => run.group && run.model === model);
  return Object.keys(options).filter((name) => unique(kin.map((run) => valueOf(run, name))).length > 1)
    .map((name) => `${name}=${options[name]}`).join(", ");
}

function placesTable(view) {
  const { set } = view;
  const order = placed(view.ranking, set.runs.map((run) => run.group));
  const shown = placed(view.ranking, view.groups);
  const next = (list, group) => list[list.indexOf(group) + 1];
  const against = (group) => { // the next of all groups, if that is shown
    if (!next(shown, group) || next(order, group) !== next(shown, group)) return "";
    const { tied } = view.ranking.groups[group];
    return tied ? { text: "not told apart", mark: "none" } : { text: "better", mark: "good" };
  };
  const count = (group) => {
    const [some, all] = [view.runs, set.runs].map((runs) => runs.filter((run) => run.group === group).length);
    return { text: some === all ? String(all) : `${some} of ${all}`, value: some, className: "n" };
  };
  const placeOf = (group) => view.ranking.groups[group].place;
  const isOnFront = (group) =>
    (!set.plane || !Object.hasOwn(set.plane.points, group) ? "–" : set.plane.front.includes(group) ? "front" : "no");
  const rows = shown.map((group) => ({ cells: [
    { text: String(placeOf(group)), value: placeOf(group), className: "n" },
    { text: group, under: optionsOf(set, group) },
    count(group),
    ...set.rankings.map(({ groups }) => rankCell(groups[group])),
    against(group),
    isOnFront(group),
    set.leaks[group] ? { text: set.leaks[group].short, mark: set.leaks[group].level } : "",
  ] }));
  const uses = set.rankings.map(({ profile }) => spaced(profile));
  table("places", ["place", "group", "runs", ...uses, "against the next", "Pareto", "does it leak?"], rows);
}

function rowOf(view, run, cells) {
  const link = run.report ? { text: run.name, href: run.report } : run.name;
  const seed = { text: String(run.seed), value: run.seed, className: "n" };
  const className = run.name === view.picked ? "picked" : "";
  return { run: run.name, className, cells: [link, run.model, seed, ...cells] };
}

function runsTable(view) {
  const { axes, set } = view;
  const rows = view.runs.map((run) => {
    const came = run.epoch ?? run.checkpoints.epoch.at(-1) ?? null;
    return rowOf(view, run, [
      { text: run.status, under: run.reason },
      { text: `${came ?? "–"} of ${run.epochs}`, value: came, className: "n" },
      ...set.options.map((name) => run.options[name] ?? ""),
      ...axes.map((metric) =>
        (metric in run.failed ? { text: "failed", title: run.failed[metric] } : run.scores[metric]?.[0] ?? null)),
    ]);
  });
  const references = Object.entries(page.anchors).map(([anchor, words]) => [
    words, "", "", "anchor", "", ...set.options.map(() => ""),
    ...axes.map((metric) => set.anchors[metric]?.[anchor] ?? null),
  ]);
  const heads = ["run", "model", "seed", "status", "epoch", ...set.options, ...axes.map(nameOf)];
  table("runs", heads, rows, axes.length ? references : []);
}

function spentTable(view) {
  const steps = stepsOf(view);
  const rows = view.runs.filter((run) => run.status === "done").map((run) =>
    rowOf(view, run, [...steps.map((step) => run.seconds[step] ?? null), secondsOf(run, steps), run.memory]));
  table("spent", ["run", "model", "seed", ...steps.map((step) => `${step}, s`), "all, s", "peak memory, GB"], rows);
}

function fillWords(view) {
  const { ranking: chosen } = view;
  byId("count").textContent = `${view.runs.length} of ${view.set.runs.length} runs`;
  byId("described").textContent = chosen ? `${chosen.description} Weights: ${chosen.paper}.` : "";
  const missing = "Not in this ranking, because some run has no such score; the other weights were scaled up to one";
  byId("unranked").textContent = [
    chosen?.missing.length ? `${missing}: ${chosen.missing.join(", ")}.` : "",
    chosen?.failed.length ? `A run in which one of these failed ranks last on it: ${chosen.failed.join(", ")}.` : "",
  ].join(" ");
}

function draw() {
  const view = currentView();
  fillControls(view);
  fillWords(view);
  placesTable(view);
  runsTable(view);
  spentTable(view);
  const drawn = [ranking, pareto, parallel, curves, costs].map((figureOf) => figureOf(view));
  Promise.all(drawn).then(() => { told.ready = "yes"; });
}

draw();
