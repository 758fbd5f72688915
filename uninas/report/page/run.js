// The run: candidates, what is better, the front, lines of descent, texts.

const COSTS = ["params", "flops", "operations", "activations", "peak"];

class Run {
  constructor() {
    this.rows = [];
    this.byNumber = new Map();
    this.changes = new Map(); // number -> [base, changes]
    this.components = [];
    this.choices = []; // names of the choices of a space of choices
    this.about = null;
    this.texts = new Map(); // the last few, as lines
  }

  /** What one of the rows is called. */
  get noun() {
    return this.about.measured ? "network" : "candidate";
  }

  /** Take what the page or the server has: columns become one object per candidate. */
  add({ about, columns, changes }) {
    this.about = about;
    [this.scoreName, this.scoreWay] = about.objectives[0];
    const names = Object.keys(columns).filter((name) => name !== "components" && name !== "choices");
    const fresh = columns.number.map((number, at) => {
      const row = Object.fromEntries(names.map((name) => [name, columns[name][at]]));
      row.flops = row.macs === null ? null : 2 * row.macs;
      for (const name of Object.keys(columns.components)) row[`component ${name}`] = columns.components[name][at];
      for (const name of Object.keys(columns.choices)) row[`choice ${name}`] = columns.choices[name][at];
      this.rows.push(row);
      this.byNumber.set(number, row);
      this.changes.set(number, changes[at]);
      return row;
    });
    for (const name of Object.keys(columns.components)) {
      // Costs have columns of their own.
      if (!this.components.includes(name) && !COSTS.includes(name)) this.components.push(name);
    }
    for (const name of Object.keys(columns.choices)) if (!this.choices.includes(name)) this.choices.push(name);
    this.rows.sort((one, other) => one.number - other.number);
    this.lastRung = about.rungs.length - 1;
    return fresh;
  }

  /** What candidates can be compared by: name -> label and which way is better ("lower", "higher" or unknown). */
  measures() {
    const ways = Object.fromEntries(this.about.objectives);
    return new Map([
      ["score", { label: this.scoreName, way: this.scoreWay }],
      ...[
        ["params", "parameters"],
        ["flops", "FLOPs (2 × MACs)"],
        ["operations", "operations"],
        ["activations", "activations (elements)"],
        ["peak", "peak of live activations (elements)"],
      ].map(([name, label]) => [name, { label, way: ways[name] ?? "lower" }]),
      ["seconds", { label: "seconds to score", way: "lower" }],
      ...this.components.map((name) => [`component ${name}`, { label: name, way: ways[name] }]),
    ]);
  }

  /** The unit in which a measure is read: [1e6, "M"]. One for all its values, so that columns and axes can be compared. */
  unit(name) {
    const largest = this.rows.reduce((most, row) => Math.max(most, Math.abs(row[name] ?? 0)), 0);
    return (
      [
        [1e9, "G"],
        [1e6, "M"],
        [1e3, "k"],
      ].find(([size]) => largest >= 10 * size || (size > 1e3 && largest >= size)) ?? [1, ""]
    );
  }

  /** Candidates whose scores count: those of the last rung that have one. */
  scored() {
    return this.rows.filter((row) => row.score !== null && row.rung === this.lastRung);
  }

  /** The name under which the run searches for a measure -> the name that it has here. */
  measure(name) {
    return name === this.scoreName ? "score" : COSTS.includes(name) ? name : `component ${name}`;
  }

  better(way, one, other) {
    return way === "higher" ? one > other : one < other;
  }

  best() {
    return this.scored().reduce(
      (best, row) => (best === null || this.better(this.scoreWay, row.score, best.score) ? row : best),
      null,
    );
  }

  /** The best so far after each candidate: [[number, score], ...], where it changes. */
  record() {
    const steps = [];
    for (const row of this.scored()) {
      const last = steps.at(-1);
      if (!last || this.better(this.scoreWay, row.score, last[1])) steps.push([row.number, row.score]);
    }
    return steps;
  }

  /** Candidates that no other beats in both measures, from the lowest x on; empty where better is not known. */
  front(x, y) {
    const measures = this.measures();
    const [wayX, wayY] = [measures.get(x).way, measures.get(y).way];
    if (!wayX || !wayY) return [];
    const sign = wayX === "higher" ? -1 : 1;
    const sorted = this.scored()
      .filter((row) => row[x] !== null && row[y] !== null)
      .sort((one, other) => sign * (one[x] - other[x]) || (this.better(wayY, one[y], other[y]) ? -1 : 1));
    const front = [];
    for (const row of sorted) {
      if (front.length === 0 || this.better(wayY, row[y], front.at(-1)[y])) front.push(row);
    }
    return front.sort((one, other) => one[x] - other[x]);
  }

  /** A candidate and its ancestors by the first parent. */
  line(number) {
    const line = [];
    for (let row = this.byNumber.get(number); row; row = this.byNumber.get(row.parent)) {
      line.push(row);
      if (row.parent === null || row.parent >= row.number) break;
    }
    return line;
  }

  children(number) {
    return this.rows.filter((row) => row.parent === number || row.mate === number);
  }

  /** The lines of a candidate's text, made from those it is described by; null where the page has no text. */
  lines(number) {
    const way = [];
    let at = number;
    while (!this.texts.has(at)) {
      const change = this.changes.get(at);
      if (!change || way.length > this.rows.length) return null;
      way.push([at, change[1]]);
      if (change[0] === null) break;
      at = change[0];
    }
    let lines = this.texts.get(at) ?? [];
    for (const [made, changes] of way.reverse()) {
      lines = applied(lines, changes);
      this.texts.set(made, lines);
    }
    for (const old of this.texts.keys()) {
      if (this.texts.size <= 64) break;
      if (old !== number) this.texts.delete(old);
    }
    return lines;
  }
}

/** The lines after changes: each takes away `gone` lines at a place of the old text and puts others there. */
function applied(lines, changes) {
  const made = [];
  let at = 0;
  for (const [place, gone, come] of changes) {
    for (; at < place; at += 1) made.push(lines[at]);
    made.push(...come);
    at += gone;
  }
  for (; at < lines.length; at += 1) made.push(lines[at]);
  return made;
}
