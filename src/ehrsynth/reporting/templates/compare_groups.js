// Figures of groups, which are the runs that differ in nothing but the seed: utility against privacy, ranking, costs.

const SIGNS = { fresh_real: "star", independent: "x", train_copy: "diamond" };
const STEPS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#9aa0a6"];
const SIDES = ["top center", "bottom center", "top right", "bottom left"]; // of labels, which crowd less this way
const MOST_LABELS = 24;

const membersOf = (view, group) => view.runs.filter((run) => run.group === group);
const colourOf = (view, group) => colour(membersOf(view, group)[0]);

function runDots(view, utility, privacy) {
  const runs = view.runs.filter((run) => run.scores[utility] && run.scores[privacy]);
  const value = (metric) => runs.map((run) => run.scores[metric][0]);
  const reach = ([middle, ...ends], end) => Math.abs((ends[end] ?? middle) - middle);
  const spread = (metric, end) => runs.map((run) => reach(run.scores[metric], end));
  const interval = (metric) => ({
    array: spread(metric, 1), arrayminus: spread(metric, 0), color: "#c9ced3", thickness: 1, width: 0,
  });
  return {
    name: "runs", mode: "markers", showlegend: false, x: value(utility), y: value(privacy),
    error_x: interval(utility), error_y: interval(privacy), customdata: runs.map((run) => run.name),
    marker: {
      size: runs.map((run) => (run.name === view.picked ? 12 : 5)), color: runs.map(colour),
      opacity: runs.map((run) => faded(view, run)),
    },
    hovertemplate: "%{hovertext}<extra></extra>",
    hovertext: runs.map((run) => [about(run), said(run, utility), said(run, privacy)].join("<br>")),
  };
}

function pareto(view) {
  const { plane, anchors } = view.set;
  const groups = view.groups.filter((group) => plane && Object.hasOwn(plane.points, group));
  if (!groups.length) return figure("pareto", [], {});
  const [utility, privacy] = plane.axes;
  const at = (some, axis) => some.map((group) => plane.points[group][axis]);
  groups.sort((a, b) => plane.points[a][0] - plane.points[b][0]);
  const onFront = (group) => plane.front.includes(group);
  const front = groups.filter(onFront);
  const traces = [
    runDots(view, utility, privacy),
    {
      name: "Pareto front", mode: "lines", x: at(front, 0), y: at(front, 1), hoverinfo: "skip",
      line: { color: INK, dash: "dash", width: 1.2 },
    },
    {
      name: "groups", mode: "markers+text", showlegend: false, x: at(groups, 0), y: at(groups, 1),
      textfont: { size: 11 },
      text: groups.map((group) => (groups.length <= MOST_LABELS || onFront(group) ? short(group, 26) : "")),
      textposition: groups.map((_, index) => SIDES[index % SIDES.length]),
      marker: {
        size: 12, color: groups.map((group) => colourOf(view, group)),
        line: { color: INK, width: groups.map((group) => (onFront(group) ? 2.5 : 0)) },
      },
      hovertemplate: "%{hovertext}<extra></extra>",
      hovertext: groups.map((group) => {
        const where = plane.points[group].map(number).join(", ");
        return `<b>${short(group)}</b>${onFront(group) ? ", on the front" : ""}<br>${where}`;
      }),
    },
    ...Object.entries(page.anchors).map(([anchor, words]) => ({
      name: words, mode: "markers", marker: { symbol: SIGNS[anchor], size: 13, color: INK },
      x: [anchors[utility]?.[anchor] ?? null], y: [anchors[privacy]?.[anchor] ?? null],
      hovertemplate: `${words}: %{x:.3g}, %{y:.3g}<extra></extra>`,
    })),
    ...legendOf(view, "markers"),
  ];
  const better = (metric) => ({
    ...axisOf(metric), autorange: page.metrics[metric].better === "lower" ? "reversed" : true,
  });
  told.groups = groups.length;
  return figure("pareto", traces, { height: 560, xaxis: better(utility), yaxis: better(privacy) });
}

// A row for every group.
function rowsOf(id, names, traces, layout) {
  return figure(id, names.length ? traces : [], {
    height: 110 + 24 * names.length,
    yaxis: {
      type: "category", autorange: "reversed", automargin: true,
      tickvals: names, ticktext: names.map((name) => short(name)),
    },
    ...layout,
  });
}

// The groups of a ranking that are among some, best first.
function placed(ranking, groups) {
  if (!ranking) return [];
  const rank = (group) => ranking.groups[group].rank;
  return Object.keys(ranking.groups).filter((group) => groups.includes(group)).sort((a, b) => rank(a) - rank(b));
}

function ranking(view) {
  const names = placed(view.ranking, view.groups);
  const rows = names.map((group) => view.ranking.groups[group]);
  const reach = (end) => rows.map((row) => Math.abs((row[end] ?? row.rank) - row.rank));
  const words = ({ place, rank, low, high, basis }) => {
    const interval = known(low) ? ` (${low.toFixed(2)} to ${high.toFixed(2)})` : "";
    return `place ${place}, weighted rank ${rank.toFixed(2)}${interval}<br>interval from: ${plain(basis)}`;
  };
  return rowsOf("ranking", names, [{
    x: rows.map((row) => row.rank), y: names, mode: "markers", showlegend: false,
    error_x: { array: reach("high"), arrayminus: reach("low"), color: "#8a9299", thickness: 1.6, width: 0 },
    marker: { size: 10, color: names.map((group) => colourOf(view, group)) },
    hovertemplate: "%{hovertext}<extra></extra>",
    hovertext: names.map((group, index) => `<b>${short(group)}</b><br>${words(rows[index])}`),
  }], { xaxis: { title: { text: "weighted rank (lower is better)" }, ...GRID } });
}

function stepsOf(view) {
  return unique(view.runs.flatMap((run) => Object.keys(run.seconds)));
}

function secondsOf(run, steps) {
  return steps.reduce((sum, step) => sum + (run.seconds[step] ?? 0), 0);
}

function costs(view) {
  const steps = stepsOf(view);
  const spent = (group, some) => {
    const members = membersOf(view, group);
    return members.reduce((sum, run) => sum + secondsOf(run, some), 0) / members.length;
  };
  const peak = (group) => Math.max(...membersOf(view, group).map((run) => run.memory ?? 0));
  const names = view.groups.filter((group) => spent(group, steps)).sort((a, b) => spent(b, steps) - spent(a, steps));
  const remembered = names.some(peak);
  const bar = (name, values, color, words, xaxis = "x") => ({
    type: "bar", orientation: "h", name, y: names, x: values, xaxis, marker: { color },
    hovertemplate: `${words}<extra></extra>`,
  });
  const traces = steps.map((step, index) => {
    const values = names.map((group) => spent(group, [step]));
    return bar(short(step), values, STEPS[index % STEPS.length], `${short(step)}: %{x:.1f} s`);
  });
  if (remembered) traces.push(bar("peak memory", names.map(peak), INK, "%{x:.2f} GB", "x2"));
  return rowsOf("costs", names, traces, {
    barmode: "stack", xaxis: { title: { text: "seconds" }, domain: [0, remembered ? 0.7 : 1], ...GRID },
    xaxis2: { title: { text: "GB" }, domain: [0.74, 1], ...GRID },
  });
}
