// What mattered: kinds of moves that helped, choices by their importance, and candidates side by side.

const MOST_AXES = 8;
const MOST_LINES = 600;

/** Tables and drawings of what made candidates better; `choose` is called with the number of one. */
class Insight {
  constructor(run, choose) {
    this.run = run;
    this.choose = choose;
    this.open = null; // the choice whose values are shown
  }

  draw() {
    const shown = this.run.choices.length ? this.choices() : this.moves();
    byId("insight").hidden = shown.length === 0;
    byId("insight-body").replaceChildren(...shown);
  }

  // ---- spaces of moves -----------------------------------------------------------------------------------------------

  moves() {
    const kinds = new Map();
    for (const row of this.run.scored()) {
      const parent = row.parent === null ? undefined : this.run.byNumber.get(row.parent);
      if (!row.kind || !parent || parent.score === null) continue;
      if (!kinds.has(row.kind)) kinds.set(row.kind, []);
      kinds.get(row.kind).push(row.score - parent.score);
    }
    if (!kinds.size) return [];
    const sign = this.run.scoreWay === "higher" ? 1 : -1;
    const rows = [...kinds].map(([kind, gains]) => {
      const helped = gains.filter((gain) => sign * gain > 0);
      return { kind, tried: gains.length, helped: helped.length, gain: median(helped) };
    });
    rows.sort((one, other) => other.helped / other.tried - one.helped / one.tried || other.tried - one.tried);
    const body = rows.map(({ kind, tried, helped, gain }) => [
      kind,
      whole.format(tried),
      whole.format(helped),
      share(helped / tried),
      helped ? number(gain) : "–",
    ]);
    const heads = ["kind of move", "candidates", "better than the parent", "share", `median change of ${this.run.scoreName} then`];
    return [element("h3", {}, "Kinds of moves that helped"), plainTable(heads, body)];
  }

  // ---- spaces of choices ---------------------------------------------------------------------------------------------

  choices() {
    const found = this.importance();
    if (!found.length) return [];
    if (!found.some(({ name }) => name === this.open)) this.open = found[0].name;
    const rows = found.map(({ name, importance, best }) => [
      element("button", { type: "button", "aria-pressed": String(name === this.open), click: () => this.look(name) }, name),
      share(importance),
      best,
    ]);
    const heads = ["choice", "importance", `best value by mean ${this.run.scoreName}`];
    return [
      element(
        "div",
        { class: "columns" },
        element("div", {}, element("h3", {}, "Importance of choices"), plainTable(heads, rows)),
        element("div", {}, element("h3", {}, `Values of ${this.open}`), this.slices(this.open)),
      ),
      element("p", { class: "note" }, "Importance is the share of the variance of the score between the values of one choice alone."),
      element("h3", {}, "Parallel coordinates"),
      this.parallel(found.slice(0, MOST_AXES).map(({ name }) => name)),
    ];
  }

  look(name) {
    this.open = name;
    this.draw();
  }

  /** Choices by how much of the variance of scores lies between their values, most first. */
  importance() {
    const sign = this.run.scoreWay === "higher" ? 1 : -1;
    return this.run.choices
      .map((name) => {
        const groups = this.groups(name);
        const all = groups.flatMap(([, rows]) => rows.map((row) => row.score));
        const middle = mean(all);
        const total = all.reduce((sum, score) => sum + (score - middle) ** 2, 0);
        const between = groups.reduce((sum, [, rows]) => sum + rows.length * (mean(scores(rows)) - middle) ** 2, 0);
        const best = groups.reduce((one, other) =>
          sign * mean(scores(other[1])) > sign * mean(scores(one[1])) ? other : one, groups[0] ?? ["", []]);
        return { name, importance: total > 0 ? between / total : 0, best: best[0], values: groups.length };
      })
      .filter(({ values }) => values > 1)
      .sort((one, other) => other.importance - one.importance);
  }

  /** Scored candidates by the value of a choice. */
  groups(name) {
    const groups = new Map();
    for (const row of this.run.scored()) {
      const value = row[`choice ${name}`];
      if (value === null || value === undefined) continue;
      if (!groups.has(value)) groups.set(value, []);
      groups.get(value).push(row);
    }
    return [...groups].sort(([one], [other]) => compared(one, other));
  }

  slices(name) {
    const groups = this.groups(name);
    const better = (rows) => rows.reduce((best, row) => (this.run.better(this.run.scoreWay, row.score, best.score) ? row : best));
    const body = groups.map(([value, rows]) => {
      const best = better(rows);
      return [value, whole.format(rows.length), number(mean(scores(rows))), element("a", { href: `#${best.number}` }, number(best.score))];
    });
    return plainTable(["value", "candidates", "mean", "best"], body);
  }

  /** A line for each candidate through its values; the best tenth stands out. */
  parallel(names) {
    const [width, height, top, bottom] = [1000, 300, 34, 268];
    const rows = [...this.run.scored()].sort((one, other) => (this.run.better(this.run.scoreWay, one.score, other.score) ? 1 : -1)).slice(-MOST_LINES);
    const axes = names.map((name) => {
      const values = this.groups(name).map(([value]) => value);
      return { name, label: name, ends: [values[0], values.at(-1)], at: (row) => values.indexOf(row[`choice ${name}`]) / Math.max(1, values.length - 1) };
    });
    const [low, high] = [Math.min(...scores(rows)), Math.max(...scores(rows))];
    axes.push({ name: "", label: this.run.scoreName, ends: [number(low), number(high)], at: (row) => (high > low ? (row.score - low) / (high - low) : 0.5) });
    const x = (place) => 60 + (place * (width - 120)) / Math.max(1, axes.length - 1);
    const y = (part) => bottom - part * (bottom - top);
    const lines = rows.map((row, place) => {
      const points = axes.map((axis, at) => [x(at), axis.at(row)]).filter(([, part]) => part >= 0);
      const line = drawn("polyline", {
        points: points.map(([at, part]) => `${at.toFixed(1)},${y(part).toFixed(1)}`).join(" "),
        class: place >= rows.length * 0.9 ? "way best" : "way",
      });
      line.addEventListener("click", () => this.choose(row.number));
      line.append(drawn("title", {}, `candidate ${row.number}: ${number(row.score)}`));
      return line;
    });
    const marks = axes.flatMap((axis, at) => [
      drawn("line", { x1: x(at), x2: x(at), y1: top, y2: bottom, class: "axis" }),
      drawn("text", { x: x(at), y: top - 20, "text-anchor": "middle", class: "label" }, clipped(axis.label)),
      drawn("text", { x: x(at), y: top - 6, "text-anchor": "middle", class: "end" }, clipped(axis.ends[1])),
      drawn("text", { x: x(at), y: bottom + 16, "text-anchor": "middle", class: "end" }, clipped(axis.ends[0])),
    ]);
    const label = `Candidates by the values of their choices and their score; the best tenth stands out`;
    return element("div", { class: "parallel" }, drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...lines, ...marks));
  }
}

/** Candidates that a reader has chosen, as columns of one table, with their diagrams. */
class Compared {
  constructor(run, pictures) {
    this.run = run;
    this.pictures = pictures;
    this.numbers = [];
  }

  has(number) {
    return this.numbers.includes(number);
  }

  toggle(number) {
    this.numbers = this.has(number) ? this.numbers.filter((one) => one !== number) : [...this.numbers, number].slice(-6);
    this.draw();
  }

  draw() {
    const rows = this.numbers.map((one) => this.run.byNumber.get(one)).filter(Boolean);
    byId("compared").hidden = rows.length === 0;
    if (!rows.length) return;
    const line = (name, shown) => [name, ...rows.map(shown)];
    const measures = [...this.run.measures()].filter(([name]) => rows.some((row) => row[name] !== null && row[name] !== undefined));
    const differing = this.run.choices.filter((name) => new Set(rows.map((row) => row[`choice ${name}`])).size > 1);
    const body = [
      ...measures.map(([name, { label }]) => line(label, (row) => number(row[name]))),
      line(this.run.about.measured ? "network" : "how it came", (row) => origin(row)),
      ...differing.map((name) => line(name, (row) => row[`choice ${name}`] ?? "–")),
      line("", (row) => {
        const address = this.pictures(row.number, "network", theme());
        return address ? element("img", { src: address, alt: `Diagram of ${this.run.noun} ${row.number}` }) : "";
      }),
    ];
    const head = (row) =>
      element("span", {}, element("a", { href: `#${row.number}` }, `${this.run.noun} ${row.number}`), " ",
        element("button", { type: "button", "aria-label": `Leave out ${this.run.noun} ${row.number}`, click: () => this.toggle(row.number) }, "×"));
    byId("compared-body").replaceChildren(plainTable(["", ...rows.map(head)], body));
  }
}

const scores = (rows) => rows.map((row) => row.score);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Numbers by size, words by their letters. */
function compared(one, other) {
  const [first, second] = [Number(one), Number(other)];
  return Number.isNaN(first) || Number.isNaN(second) ? String(one).localeCompare(String(other)) : first - second;
}

const clipped = (text) => (String(text).length > 16 ? `${String(text).slice(0, 15)}…` : String(text));

/** A share as a bar with its number. */
function share(part) {
  const bar = element("span", { class: "bar-of" });
  bar.style.width = `${Math.round(100 * Math.min(1, part))}%`;
  return element("span", { class: "share" }, element("span", { class: "track" }, bar), ` ${Math.round(100 * part)} %`);
}

function plainTable(heads, rows) {
  return element(
    "table",
    { class: "plain heads" },
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, cell))))),
  );
}

/** An element of a drawing. */
function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}
