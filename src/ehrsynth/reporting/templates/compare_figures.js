// Figures of runs: lists of traces for plotly, made anew from whatever is shown.

const INK = "#333333";
const GRID = { gridcolor: "#eeeeee", zeroline: false };
const DASHES = { fresh_real: "solid", independent: "dot", train_copy: "dash" };

// Nothing leaves the page: plotly would offer to send a figure, with its numbers, to its makers.
const SETTINGS = {
  showSendToCloud: false, plotlyServerURL: "", displaylogo: false, responsive: true,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};

// plotly reads texts as a little HTML of its own.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const short = (text, most = 44) =>
  plain(text.length > most ? `${text.slice(0, most / 2)}…${text.slice(1 - most / 2)}` : text);
const colour = (run) => page.colours[run.model];
const faded = (view, run) => (view.picked && view.picked !== run.name ? 0.15 : 0.8);
const known = (value) => value !== null && value !== undefined;

function about(run) {
  const options = Object.entries(run.options).map(([name, value]) => short(`${name}=${value}`, 70));
  return [`<b>${short(run.name, 60)}</b>`, `seed ${run.seed}`, ...options].join("<br>");
}

function said(run, metric) {
  const [value, low, high] = run.scores[metric] ?? [];
  const interval = known(low) ? ` (${number(low)} to ${number(high)})` : "";
  return `${plain(nameOf(metric))}: ${number(value)}${interval}`;
}

function wrapped(text, most = 15) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length > most) lines.push("");
    lines[lines.length - 1] += `${lines.at(-1) ? " " : ""}${word}`;
  }
  return lines.map(plain).join("<br>");
}

function axisOf(metric) {
  return { title: { text: `${plain(nameOf(metric))} (${page.metrics[metric].better} is better)` }, ...GRID };
}

function figure(id, traces, layout) {
  const place = byId(id);
  if (!traces.length) {
    Plotly.purge(place);
    place.replaceChildren(make("p", "Nothing of this is there for the runs that are shown.", { className: "soft" }));
    return null;
  }
  const fresh = !place.classList.contains("js-plotly-plot");
  if (fresh) place.replaceChildren();
  const drawn = Plotly.react(place, traces, {
    font: { family: "system-ui, sans-serif", size: 12, color: "#444444" },
    hovermode: "closest", hoverlabel: { align: "left", bgcolor: "#ffffff", font: { color: INK } },
    modebar: { orientation: "v" }, margin: { l: 70, r: 40, t: 30, b: 50 },
    ...layout,
    legend: {
      orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal",
      itemclick: false, itemdoubleclick: false, ...layout.legend,
    },
  }, SETTINGS);
  if (fresh) {
    place.on("plotly_click", ({ points: [point] }) => {
      const run = point.data.meta ?? point.customdata;
      if (run) pick(run);
    });
  }
  return drawn;
}

// A legend names every model once, by an entry without points.
function legendOf(view, mode) {
  return inOrder(view.runs.map((run) => run.model)).map((model) => ({
    x: [null], y: [null], name: short(model), mode, hoverinfo: "skip",
    line: { color: page.colours[model] }, marker: { color: page.colours[model], size: 9 },
  }));
}

// The anchors of the set as lines through their values of some metrics, which stand at x; place tells how high.
function anchorLines(view, metrics, x, place = (value) => value) {
  return Object.entries(page.anchors).map(([anchor, words]) => {
    const values = metrics.map((metric) => view.set.anchors[metric]?.[anchor] ?? null);
    return {
      x, y: values.map(place), text: values.map(number), name: words, mode: "lines",
      line: { color: INK, width: 2, dash: DASHES[anchor] }, hovertemplate: `${words}: %{text}<extra></extra>`,
    };
  });
}

function runLine(view, run, points) {
  return {
    name: short(run.name), meta: run.name, showlegend: false, mode: "lines+markers", opacity: faded(view, run),
    hovertemplate: "%{hovertext}<extra></extra>", ...points,
    line: { color: colour(run), width: view.picked === run.name ? 4 : 1.3, ...points.line },
    marker: { color: colour(run), size: 4, ...points.marker },
  };
}

// From the worst value of a metric that is shown, at 0, to the best, at 1.
function scaleOf(view, runs, metric) {
  const all = [...runs.map((run) => run.scores[metric]?.[0]), ...Object.values(view.set.anchors[metric])];
  const values = all.filter(known);
  const ends = [Math.min(...values), Math.max(...values)];
  const [worst, best] = page.metrics[metric].better === "lower" ? ends.reverse() : ends;
  const place = (value) => (!known(value) ? null : best === worst ? 0.5 : (value - worst) / (best - worst));
  return { worst, best, place };
}

function parallel(view) {
  const { axes } = view;
  const runs = view.runs.filter((run) => axes.some((metric) => metric in run.scores));
  const scales = axes.map((metric) => scaleOf(view, runs, metric));
  const x = axes.map((_, index) => index);
  const lines = runs.map((run) => runLine(view, run, {
    x,
    y: axes.map((metric, index) => scales[index].place(run.scores[metric]?.[0])),
    hovertext: axes.map((metric) => `${about(run)}<br>${said(run, metric)}`),
  }));
  const anchors = anchorLines(view, axes, x, (value, index) => scales[index].place(value));
  const end = (at, y, value) => ({
    x: at, y, text: number(value), font: { size: 11 }, showarrow: false,
    yanchor: y ? "bottom" : "top", yshift: y ? 3 : -3,
  });
  told.lines = lines.length;
  return figure("parallel", lines.length ? [...lines, ...anchors, ...legendOf(view, "lines")] : [], {
    height: 520, margin: { l: 60, r: 60, t: 60, b: 90 }, legend: { y: 1.08 },
    annotations: scales.flatMap(({ best, worst }, at) => [end(at, 1, best), end(at, 0, worst)]),
    shapes: x.map((at) => ({
      type: "line", x0: at, x1: at, y0: 0, y1: 1, line: { color: "#bbbbbb", width: 1 }, layer: "below",
    })),
    xaxis: {
      tickvals: x, ticktext: axes.map((metric) => wrapped(nameOf(metric))), tickangle: 0, ticklabelstandoff: 18,
      showgrid: false, zeroline: false, range: [-0.3, x.length - 0.7],
    },
    yaxis: { visible: false, range: [-0.07, 1.07] },
  });
}

function curves(view) {
  const { metric } = view;
  const runs = view.runs.filter((run) => run.checkpoints[metric]?.some(known));
  const lines = runs.map((run) => {
    const { epoch: epochs, [metric]: values } = run.checkpoints;
    return runLine(view, run, {
      x: epochs, y: values,
      hovertext: values.map((value, index) => `${about(run)}<br>epoch ${epochs[index]}: ${number(value)}`),
      line: { dash: run.status === "done" ? "solid" : "dot" },
      marker: {
        size: epochs.map((epoch) => (epoch === run.epoch ? 9 : 4)),
        symbol: epochs.map((epoch) => (epoch === run.epoch ? "circle-open" : "circle")),
      },
    });
  });
  const epochs = runs.flatMap((run) => run.checkpoints.epoch);
  const anchors = anchorLines(view, [metric, metric], [Math.min(...epochs), Math.max(...epochs)]);
  told.curves = lines.length;
  return figure("curves", lines.length ? [...lines, ...anchors, ...legendOf(view, "lines")] : [], {
    height: 500, xaxis: { title: { text: "epoch" }, type: view.log ? "log" : "linear", ...GRID },
    yaxis: metric ? axisOf(metric) : {},
  });
}
