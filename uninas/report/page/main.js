// The page: load what it carries, show it, follow the address (#42 is candidate 42) and, when served, the run.

const POLL = 2000; // milliseconds between questions to the server

class Page {
  constructor() {
    this.run = new Run();
    this.choose = (number) => {
      location.hash = `#${number}`;
    };
    this.albums = {};
    this.addresses = new Map();
  }

  async start() {
    this.dark(matchMedia("(prefers-color-scheme: dark)").matches);
    const packed = byId("part-data") !== null;
    const data = packed ? JSON.parse(await part("data")) : await ask("run.json?after=0");
    this.albums = data.diagrams ?? null;
    this.run.add(data);
    this.arrived = data.arrived;
    await loadScript("bokeh");
    await loadScript("bokeh-api");
    Bokeh.set_log_level("error");
    const { default: DataTable } = await import(await scriptAddress("datatables"));
    this.progress = new Progress(this.choose);
    this.tradeOff = new TradeOff(this.choose);
    this.table = new Table(this.run, DataTable, this.choose);
    this.compared = new Compared(this.run, (...asked) => this.picture(...asked));
    this.detail = new Detail(this.run, (...asked) => this.picture(...asked), this.compared);
    this.insight = new Insight(this.run, this.choose);
    this.axes();
    this.measured();
    this.draw();
    await Promise.all([this.progress.show(), this.tradeOff.show()]);
    this.settings();
    this.listen();
    this.follow();
    document.body.dataset.ready = "true";
    if (!packed) setTimeout(() => this.poll(), POLL);
  }

  // ---- what is shown -------------------------------------------------------------------------------------------------

  draw() {
    this.progress.draw(this.run);
    const [x, y] = [byId("axis-x").value, byId("axis-y").value];
    this.front = this.tradeOff.draw(this.run, x, y);
    byId("pareto-note").textContent = this.front.length
      ? `${plural(this.front.length, this.run.noun)} on the front: none is better in both.${this.run.about.limits[x] ? " Dashed lines are the budget." : ""}`
      : "Which way is better is not known for one of these, so there is no front.";
    this.cards();
    this.best();
    this.insight.draw();
    this.compared.draw();
    this.state();
  }

  /** The diagram of the best network, beside the curve. */
  best() {
    const best = this.run.best();
    const address = best && this.picture(best.number, "network", theme());
    byId("best-figure").hidden = !address;
    if (!address) return;
    byId("best-link").href = `#${best.number}`;
    byId("best-link").textContent = `${this.run.noun} ${best.number}`;
    byId("best-note").textContent = `${this.run.scoreName} ${number(best.score)}, ${short(best.params)} parameters, ${short(best.flops)} FLOPs. ${this.run.about.measured ? "" : "It was made so: "}${origin(best)}.`;
    byId("best-picture").replaceChildren(
      element("img", { src: address, alt: `Diagram of the best network, number ${best.number}` }),
    );
  }

  /** How well scores rank, where the page is that of a ranking. */
  measured() {
    const { measured } = this.run.about;
    byId("measured").hidden = !measured;
    if (!measured) return;
    byId("progress-figure").hidden = true;
    byId("candidates-title").textContent = "Networks";
    byId("again-note").textContent = "What has a score is not scored again.";
    byId("which").querySelector("[value=line]").remove();
    byId("measured-body").replaceChildren(
      ...measured.flatMap(({ dataset, heads, rows }) => [element("h3", {}, dataset), plainTable(heads, rows)]),
    );
  }

  state(trouble = "") {
    const { goal } = this.run.about;
    const done = this.run.rows.reduce((most, row) => Math.max(most, row.number), 0);
    const how =
      goal === null
        ? ""
        : done >= goal
          ? "Complete. "
          : `${whole.format(done)} of ${whole.format(goal)} candidates so far. `;
    byId("state").textContent = `${how}${trouble}`;
    byId("title").textContent = this.run.about.title ?? `Search ${this.run.about.folder}`;
    const left = this.run.about.left_out;
    byId("rows-note").hidden = !left;
    byId("rows-note").textContent =
      `The best ${whole.format(this.run.rows.length)} are on this page; ${whole.format(left)} more are in the database.`;
  }

  cards() {
    const { rows } = this.run;
    const best = this.run.best();
    const start = this.run.byNumber.get(0);
    const failed = rows.filter((row) => row.score === null);
    const reasons = Map.groupBy ? Map.groupBy(failed, (row) => row.reason || "unknown") : new Map();
    const refused = rows.reduce((sum, row) => sum + row.refused, 0);
    const scoring = rows.reduce((sum, row) => sum + (row.seconds ?? 0), 0);
    const began = rows.reduce((first, row) => Math.min(first, row.started ?? Infinity), Infinity);
    const ended = rows.reduce((last, row) => Math.max(last, (row.started ?? 0) + (row.seconds ?? 0)), 0);
    const { measured } = this.run.about;
    const counted = measured && [
      [
        `best ${this.run.scoreName}`,
        best ? number(best.score) : "–",
        best ? element("a", { href: `#${best.number}` }, `network ${best.number}`) : "",
      ],
      ["networks", whole.format(rows.length), `${plural(measured.length, "data set")}`],
      ["scores", whole.format(measured[0]?.rows.length ?? 0), measured[0]?.rows[0] ? `first by tau: ${measured[0].rows[0][0]}` : ""],
      ["parameters of the best", short(best?.params), ""],
    ];
    const cards = counted ?? [
      [
        `best ${this.run.scoreName}`,
        best ? number(best.score) : "–",
        best ? element("a", { href: `#${best.number}` }, `candidate ${best.number}`) : "no score yet",
      ],
      ["of the start", start && start.score !== null ? number(start.score) : "–", `${this.run.scoreWay} is better`],
      ["parameters of the best", short(best?.params), start ? `the start has ${short(start.params)}` : ""],
      ["FLOPs (2 × MACs) of the best", short(best?.flops), start ? `the start has ${short(start.flops)}` : ""],
      ["candidates", whole.format(Math.max(0, rows.length - 1)), `${plural(refused, "move")} refused on the way`],
      [
        "without a score",
        whole.format(failed.length),
        [...reasons].map(([reason, some]) => `${reason} ${some.length}`).join(", ") || "none failed",
      ],
      ["time", duration(ended > began ? ended - began : null), `${duration(scoring)} of scoring in all`],
    ];
    byId("cards").replaceChildren(
      ...cards.map(([name, value, more]) =>
        element(
          "div",
          {},
          element("dt", {}, name),
          element("dd", { class: "value" }, value),
          element("dd", { class: "more" }, more),
        ),
      ),
    );
  }

  settings() {
    const { settings, command, written, by } = this.run.about;
    byId("settings").replaceChildren(
      element(
        "tbody",
        {},
        ...settings
          .filter(([, value]) => value !== "")
          .map(([name, value]) =>
            element("tr", {}, element("th", { scope: "row" }, name.replaceAll("_", " ")), element("td", {}, value)),
          ),
      ),
    );
    byId("command").textContent = command;
    byId("written").textContent =
      `${byId("part-data") ? "Written" : "Served since"} ${new Date(written).toLocaleString()} by ${by}.`;
  }

  axes() {
    const measures = [...this.run.measures()].filter(([name]) =>
      this.run.rows.some((row) => row[name] !== null && row[name] !== undefined),
    );
    const second = this.run.about.objectives[1];
    const usual = this.run.about.axis ? this.run.about.axis : second ? this.run.measure(second[0]) : this.run.scoreName === "params" ? "flops" : "params";
    for (const [id, chosen] of [
      ["axis-x", usual],
      ["axis-y", "score"],
    ]) {
      const before = byId(id).value || chosen;
      byId(id).replaceChildren(
        ...measures.map(([name, { label }]) => element("option", { value: name, selected: name === before }, label)),
      );
    }
  }

  picture(number, level, theme) {
    if (this.albums === null) return `diagram?number=${number}&level=${level}&theme=${theme}`;
    const text = this.albums[number]?.[level]?.[theme];
    if (!text) return null;
    const name = `${number} ${level} ${theme}`;
    if (!this.addresses.has(name))
      this.addresses.set(name, URL.createObjectURL(new Blob([text], { type: "image/svg+xml" })));
    return this.addresses.get(name);
  }

  // ---- what a reader does --------------------------------------------------------------------------------------------

  listen() {
    addEventListener("hashchange", () => this.follow());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => this.dark(event.matches));
    byId("theme").addEventListener("click", () => this.dark(theme() === "light"));
    byId("which").addEventListener("change", () => this.filter());
    for (const id of ["axis-x", "axis-y"])
      byId(id).addEventListener("change", () => {
        this.draw();
        this.filter();
        this.tradeOff.mark(this.row);
      });
    // Tools of charts are of no use on paper.
    const tools = (place) => {
      for (const chart of [this.progress, this.tradeOff]) chart.figure.toolbar_location = place;
    };
    addEventListener("beforeprint", () => tools(null));
    addEventListener("afterprint", () => tools("above"));
    const button = byId("copy-command");
    button.addEventListener("click", () => copy(this.run.about.command, button));
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.row) location.hash = "#candidates";
    });
  }

  /** Show the candidate that the address names. */
  follow() {
    this.row = /^#\d+$/.test(location.hash) ? this.run.byNumber.get(Number(location.hash.slice(1))) : undefined;
    this.detail.show(this.row);
    for (const view of [this.table, this.progress, this.tradeOff]) view.mark(this.row);
    if (byId("which").value === "line") this.filter();
    if (!this.row) return;
    this.detail.box.focus({ preventScroll: true });
    const { top, bottom } = this.detail.box.getBoundingClientRect();
    if (bottom < 80 || top > innerHeight - 80) this.detail.box.scrollIntoView({ block: "start" });
  }

  filter() {
    const rows = {
      all: null,
      front: this.front,
      line: this.row ? this.run.line(this.row.number) : [],
      failed: this.run.rows.filter((row) => row.score === null),
    };
    this.table.show(rows[byId("which").value]);
  }

  dark(dark) {
    document.documentElement.classList.toggle("dark", dark);
    for (const chart of [this.progress, this.tradeOff]) chart?.paint();
    if (this.detail?.row && this.detail.view === "picture") this.detail.look("picture");
    if (this.compared) {
      this.best();
      this.compared.draw();
    }
  }

  // ---- a run that goes on --------------------------------------------------------------------------------------------

  async poll() {
    try {
      if (!document.hidden) {
        const data = await ask(`run.json?after=${this.arrived}`);
        this.arrived = data.arrived;
        const fresh = this.run.add(data);
        if (fresh.length) {
          this.table.add(fresh);
          this.axes();
          this.draw();
          if (byId("which").value !== "all") this.filter();
        } else this.state();
      }
    } catch (problem) {
      this.state(`No answer from the server (${problem.message}); this page keeps what it has.`);
    }
    setTimeout(() => this.poll(), POLL);
  }
}

async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `status ${answer.status}`);
  return answer.json();
}

new Page().start().catch((problem) => {
  byId("problem").hidden = false;
  byId("problem").textContent = `This page cannot be shown: ${problem.message}. It needs a browser of 2023 or later.`;
  throw problem;
});
