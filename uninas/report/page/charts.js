// The two charts, by Bokeh: progress, and one measure against another with the Pareto front.

const color = (token) => getComputedStyle(document.documentElement).getPropertyValue(`--${token}`).trim();

/** A chart of candidates in which one can be chosen; `draw` fills its sources from the run. */
class Chart {
  constructor(place, choose) {
    this.place = byId(place);
    this.themed = []; // [model, {property: token}], to be painted anew when the theme changes
    const { figure } = Bokeh.Plotting;
    this.figure = figure({
      sizing_mode: "stretch_both",
      min_height: 200,
      tools: "pan,box_zoom,wheel_zoom,tap,reset,save",
      toolbar_location: "above",
      output_backend: "canvas",
      min_border_right: 16,
    });
    this.figure.toolbar.logo = null;
    this.dots = this.source("x", "y", "number");
    this.chosen = this.source("x", "y", "number");
    this.dots.selected.properties.indices.change.connect(() => {
      const [index] = this.dots.selected.indices;
      if (index !== undefined) choose(this.dots.data.number[index]);
    });
    this.theme(this.figure, { background_fill_color: "paper", border_fill_color: "paper", outline_line_color: "line" });
    for (const axis of [...this.figure.xaxes, ...this.figure.yaxes]) {
      axis.axis_label_text_font_style = "normal";
      this.theme(axis, {
        axis_label_text_color: "faint",
        major_label_text_color: "faint",
        axis_line_color: "line",
        major_tick_line_color: "line",
        minor_tick_line_color: "line",
      });
    }
    for (const grid of [...this.figure.xgrids, ...this.figure.ygrids]) this.theme(grid, { grid_line_color: "panel" });
  }

  source(...columns) {
    return new Bokeh.ColumnDataSource({ data: Object.fromEntries(columns.map((name) => [name, []])) });
  }

  /** The dots of all candidates, which answer to the pointer, and the ring around the chosen one. */
  addDots(options) {
    const dots = this.figure.scatter({
      x: { field: "x" },
      y: { field: "y" },
      source: this.dots,
      size: 6,
      line_color: null,
      fill_alpha: 0.65,
      nonselection_fill_alpha: 0.65,
      ...options,
    });
    this.figure.add_tools(
      new Bokeh.HoverTool({
        renderers: [dots],
        tooltips: [
          ["number", "@number"],
          ["across", "@x{0,0.[0000]}"],
          ["up", "@y{0,0.[0000]}"],
        ],
      }),
    );
    return dots;
  }

  /** Without a word: a legend cannot draw a mark that is nowhere yet. */
  addChosen() {
    this.addMark(this.chosen, "circle", "", "mark", 16, { fill_color: null, line_width: 3 });
  }

  /** A larger mark on some candidates, with its word, if it has one, in the legend. */
  addMark(source, marker, word, token, size, options = {}) {
    const mark = this.figure.scatter({
      x: { field: "x" },
      y: { field: "y" },
      source,
      marker,
      size,
      line_width: 2,
      fill_color: null,
      ...(word && { legend_label: word }),
      ...options,
    });
    this.theme(mark.glyph, { line_color: token });
    return mark;
  }

  addStep(source, word, token, mode) {
    const step = this.figure.step({
      x: { field: "x" },
      y: { field: "y" },
      source,
      mode,
      line_width: 2,
      legend_label: word,
    });
    this.theme(step.glyph, { line_color: token });
    return step;
  }

  /** Put the legend above the plot, where it hides nothing, and show the chart. */
  async show() {
    const { legend } = this.figure;
    if (legend) {
      legend.orientation = "horizontal";
      legend.click_policy = "hide";
      legend.padding = 4;
      legend.margin = 0;
      legend.border_line_color = null;
      legend.location = "top_left";
      this.figure.center = this.figure.center.filter((one) => one !== legend);
      this.figure.add_layout(legend, "above");
      this.theme(legend, { background_fill_color: "paper", label_text_color: "ink", inactive_fill_color: "panel" });
    }
    this.paint();
    await Bokeh.Plotting.show(this.figure, this.place);
  }

  theme(model, tokens) {
    this.themed.push([model, tokens]);
  }

  paint() {
    for (const [model, tokens] of this.themed) {
      for (const [name, token] of Object.entries(tokens)) model[name] = color(token);
    }
  }

  choose(row, [x, sizeX], [y, sizeY]) {
    const there = row && row.rung === this.run.lastRung && row[x] !== null && row[y] !== null;
    this.chosen.data = there
      ? { x: [row[x] / sizeX], y: [row[y] / sizeY], number: [row.number] }
      : { x: [], y: [], number: [] };
  }
}

class Progress extends Chart {
  constructor(choose) {
    super("progress", choose);
    this.record = this.source("x", "y");
    this.failed = this.source("x", "y", "number");
    this.best = this.source("x", "y", "number");
    const dots = this.addDots({});
    this.theme(dots.glyph, { fill_color: "dot" });
    this.addStep(this.record, "best so far", "best", "after");
    this.figure.extra_y_ranges = { ground: new Bokeh.Range1d({ start: 0, end: 1 }) };
    const ticks = this.figure.scatter({
      x: { field: "x" },
      y: { field: "y" },
      source: this.failed,
      marker: "x",
      size: 8,
      line_width: 2,
      y_range_name: "ground",
      legend_label: "without a score",
    });
    this.theme(ticks.glyph, { line_color: "bad" });
    this.figure.y_range.renderers = [dots]; // the ticks have a scale of their own
    this.addMark(this.best, "star", "best", "best", 18);
    this.addChosen();
    this.figure.xaxes[0].axis_label = "candidate";
  }

  draw(run) {
    this.run = run;
    const scored = run.scored();
    const failed = run.rows.filter((row) => row.score === null);
    const best = run.best();
    const record = run.record();
    if (record.length) record.push([run.rows.at(-1).number, record.at(-1)[1]]);
    const [size] = ([this.size] = run.unit("score"));
    this.dots.data = {
      x: scored.map((row) => row.number),
      y: scored.map((row) => row.score / size),
      number: scored.map((row) => row.number),
    };
    this.record.data = { x: record.map((step) => step[0]), y: record.map((step) => step[1] / size) };
    for (const item of this.figure.legend?.items ?? [])
      if (item.label?.value === "without a score") item.visible = failed.length > 0;
    this.failed.data = {
      x: failed.map((row) => row.number),
      y: failed.map(() => 0.02),
      number: failed.map((row) => row.number),
    };
    this.best.data = best
      ? { x: [best.number], y: [best.score / size], number: [best.number] }
      : { x: [], y: [], number: [] };
    this.figure.yaxes[0].axis_label = axisLabel(run, "score");
  }

  mark(row) {
    this.choose(row, ["number", 1], ["score", this.size]);
  }
}

class TradeOff extends Chart {
  constructor(choose) {
    super("pareto", choose);
    this.front = this.source("x", "y", "number");
    this.start = this.source("x", "y", "number");
    // Steps of lightness, which can be told apart without colours.
    this.mapper = new Bokeh.LinearColorMapper({ palette: Bokeh.Palettes.Cividis256, low: 0, high: 1 });
    this.addDots({
      fill_color: { field: "number", transform: this.mapper },
      nonselection_fill_color: { field: "number", transform: this.mapper },
    });
    const bar = new Bokeh.ColorBar({
      color_mapper: this.mapper,
      title: "number",
      width: 10,
      padding: 4,
      bar_line_color: null,
    });
    this.theme(bar, { background_fill_color: "paper", major_label_text_color: "faint", title_text_color: "faint" });
    this.figure.add_layout(bar, "right");
    this.stairs = this.addStep(this.front, "Pareto front", "best", "after");
    this.addMark(this.front, "circle", "Pareto front", "best", 9);
    this.begun = this.addMark(this.start, "square", "start", "start", 13);
    this.addChosen();
    this.limits = ["low", "high"].map(
      () => new Bokeh.Span({ dimension: "height", line_dash: "dashed", line_width: 1.5, visible: false }),
    );
    for (const span of this.limits) {
      this.theme(span, { line_color: "faint" });
      this.figure.add_layout(span);
    }
  }

  /** The end of the palette that would vanish in the background is left out. */
  paint() {
    super.paint();
    const all = Bokeh.Palettes.Cividis256;
    this.mapper.palette = theme() === "dark" ? all.slice(90) : all.slice(0, 215);
  }

  /** Draw two measures against each other; returns the front. */
  draw(run, x, y) {
    [this.run, this.x, this.y] = [run, x, y];
    const rows = run.scored().filter((row) => row[x] !== null && row[y] !== null);
    const front = run.front(x, y);
    const start = run.byNumber.get(0);
    const [sizeX, sizeY] = (this.sizes = [run.unit(x)[0], run.unit(y)[0]]);
    const at = (some) => ({
      x: some.map((row) => row[x] / sizeX),
      y: some.map((row) => row[y] / sizeY),
      number: some.map((row) => row.number),
    });
    this.mapper.high = Math.max(1, run.rows.at(-1)?.number ?? 1);
    this.dots.data = at(rows);
    this.front.data = at(front);
    this.stairs.glyph.mode = run.measures().get(x).way === "higher" ? "before" : "after";
    this.start.data = at(start && rows.includes(start) && !run.about.measured ? [start] : []);
    const entry = this.figure.legend.items.find((item) => item.renderers.includes(this.begun));
    entry.visible = !run.about.measured; // a ranking has no start, and its legend does not name one
    this.figure.xaxes[0].axis_label = axisLabel(run, x);
    this.figure.yaxes[0].axis_label = axisLabel(run, y);
    const [low, high] = run.about.limits[x] ?? [null, null];
    [low, high].forEach((limit, side) => {
      this.limits[side].visible = limit !== null;
      if (limit !== null) this.limits[side].location = limit / sizeX;
    });
    return front;
  }

  mark(row) {
    this.choose(row, [this.x, this.sizes[0]], [this.y, this.sizes[1]]);
  }
}

/** "FLOPs (2 × MACs), G; lower is better"; plain, because Bokeh takes $$ in a name for TeX */
function axisLabel(run, name) {
  const { label, way } = run.measures().get(name);
  const [, unit] = run.unit(name);
  return new Bokeh.PlainText({ text: `${label}${unit && `, ${unit}`}${way ? `; ${way} is better` : ""}` });
}
