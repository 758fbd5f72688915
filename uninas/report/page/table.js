// The table of candidates, by DataTables: sorts, filters, and keeps only the rows of one page in the document.

const PAGE = matchMedia("(max-width: 50rem)").matches ? 10 : 25;

class Table {
  constructor(run, DataTable, choose) {
    this.run = run;
    this.shown = null; // numbers that the filter "show" lets through; null lets all
    const columns = this.columns();
    // Heads are elements, because DataTables takes a title for markup.
    const heads = columns.map(({ name }) => element("th", {}, name));
    byId("table").append(element("thead", {}, element("tr", {}, ...heads)));
    DataTable.ext.search.push((settings, texts, index, row) => this.shown === null || this.shown.has(row.number));
    this.table = new DataTable(byId("table"), {
      data: run.rows,
      columns,
      order: [
        [1, run.scoreWay === "higher" ? "desc" : "asc"],
        [0, "asc"],
      ],
      pageLength: PAGE,
      lengthMenu: [10, 25, 50, 100, 250],
      autoWidth: false,
      deferRender: true,
      orderMulti: true,
      layout: { topStart: "search", topEnd: "pageLength", bottomStart: "info", bottomEnd: "paging" },
      columnControl: { target: 1, content: ["search"] },
      ordering: { indicators: true, handler: true },
      language: {
        search: "find",
        lengthMenu: "_MENU_ on a page",
        info: `_START_ to _END_ of _TOTAL_ ${run.noun}s`,
        infoEmpty: `no ${run.noun}s`,
        infoFiltered: "(of _MAX_)",
        emptyTable: `no ${run.noun}s yet`,
        zeroRecords: "none fits",
      },
      createdRow: (line, row) => {
        line.dataset.number = row.number;
      },
      drawCallback: () => this.highlight(),
    });
    for (const [place, input] of [...byId("table").querySelectorAll("thead tr:nth-child(2) input")].entries()) {
      input.setAttribute("aria-label", `filter by ${columns[place].name}`);
    }
    byId("table").addEventListener("click", (event) => {
      const line = event.target.closest("tbody tr[data-number]");
      if (line && !event.target.closest("a")) choose(Number(line.dataset.number));
    });
  }

  /** Numbers are shown in one unit per column, so that what is typed into a filter is what is read. */
  columns() {
    const scaled = (measure, name) => {
      const [size, unit] = this.run.unit(measure);
      const digits = size === 1 ? 0 : 2;
      return this.numeric(
        unit ? `${name} (${unit})` : name,
        (row) => (row[measure] === null ? null : row[measure] / size),
        (value) => minus(value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })),
      );
    };
    const { scoreName, scoreWay, lastRung } = this.run;
    const others = this.run.about.objectives
      .slice(1)
      .map(([name]) => name)
      .filter((name) => !COSTS.includes(name));
    const costs = [
      ["params", "params"],
      ["flops", "FLOPs"],
      ["operations", "ops"],
    ].filter(([name]) => name !== scoreName && (!this.run.about.measured || name !== "operations"));
    const link = (row) => element("a", { href: `#${row.number}` }, String(row.number));
    const counts = (row) => row.rung === lastRung;
    return [
      {
        ...this.numeric("#", (row) => row.number, String),
        render: (value, type, row) => (type === "display" ? link(row) : row.number),
      },
      this.numeric(scoreName, (row) => (counts(row) ? row.score : null), number, scoreWay),
      ...(lastRung
        ? [
            this.numeric("cheap", (row) => (counts(row) ? null : row.score), number),
            this.numeric("rung", (row) => row.rung, String),
          ]
        : []),
      ...others.map((name) => this.numeric(name, (row) => row[`component ${name}`] ?? null, number)),
      ...costs.map(([name, label]) => scaled(name, label)),
      ...(this.run.about.measured ? [] : [this.numeric("parent", (row) => row.parent, String)]),
      this.words(this.run.about.measured ? "network" : "how it came", (row) =>
        row.score === null ? `${origin(row)} – no score: ${trouble(row)}` : origin(row),
      ),
    ];
  }

  /** A column of numbers; those that are missing come last where the best come first. */
  numeric(name, value, shown, way = "lower") {
    const last = way === "higher" ? -Infinity : Infinity;
    return {
      name,
      data: null,
      type: "num",
      className: "dt-right",
      width: "1%",
      render: (data, type, row) => {
        const found = value(row);
        if (type === "sort") return found ?? last;
        if (type === "display") return found === null || found === undefined ? "" : shown(found);
        return found ?? "";
      },
    };
  }

  words(name, value) {
    return {
      name,
      data: null,
      type: "string",
      className: "words",
      render: (data, type, row) => {
        if (type === "display") return breakable(value(row));
        return type === "filter" ? escaped(value(row)) : value(row); // DataTables makes markup of what it searches in
      },
    };
  }

  add(rows) {
    this.table.rows.add(rows).draw(false);
  }

  /** Let through only these candidates; null lets all. */
  show(rows) {
    this.shown = rows === null ? null : new Set(rows.map((row) => row.number));
    this.table.draw();
  }

  /** Mark the chosen candidate where it is on the page. */
  mark(row) {
    this.chosen = row?.number;
    this.highlight();
  }

  highlight() {
    for (const line of byId("table").querySelectorAll("tbody tr[data-number]")) {
      const chosen = Number(line.dataset.number) === this.chosen;
      line.classList.toggle("chosen", chosen);
      if (chosen) line.setAttribute("aria-current", "true");
      else line.removeAttribute("aria-current");
    }
  }
}

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Text that may break after a dot, as long paths of nodes should. */
function breakable(text) {
  const pieces = text.split(/(?<=[.])(?=\w)/);
  return element("span", {}, ...pieces.flatMap((piece, at) => (at ? [element("wbr"), piece] : [piece])));
}

/** How a candidate came about, as a phrase. */
function origin(row) {
  if (row.parent === null) return row.edit || (row.number === 0 ? "the start" : "a further start");
  if (row.edit) return row.edit;
  return row.mate === null ? "scored again" : `crossed with ${row.mate}`;
}

/** Why a candidate has no score; "" where it has one. */
function trouble(row) {
  return row.score === null ? [row.reason, row.failure].filter(Boolean).join(": ") || "unknown" : "";
}
