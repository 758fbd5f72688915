// One candidate: its numbers, where it came from, its diagram, its text and what changed.

class Detail {
  constructor(run, pictures, compared) {
    this.run = run;
    this.compared = compared;
    this.pictures = pictures; // (number, level, theme) -> address of a picture, or null
    this.wanted = "picture";
    this.box = byId("detail");
  }

  show(row) {
    this.row = row;
    this.box.hidden = !row;
    this.box.parentElement.classList.toggle("two", Boolean(row));
    if (!row) return;
    const views = [
      ["picture", "Diagram"],
      ...(this.run.about.measured ? [] : [["diff", row.parent === null ? "Against the start" : "What changed"]]),
      ["text", "Text"],
    ];
    const plain = this.run.about.measured ? "text" : "diff";
    const buttons = views.map(([view, label]) =>
      element("button", { type: "button", "data-view": view, click: () => this.want(view) }, label),
    );
    this.body = element("div", { id: "detail-body" });
    this.box.replaceChildren(
      element(
        "div",
        { class: "bar" },
        element("h2", { id: "detail-title" }, `${this.run.about.measured ? "Network" : "Candidate"} ${row.number}`),
        this.comparing(row),
        element(
          "button",
          {
            type: "button",
            id: "detail-close",
            click: () => {
              location.hash = "#candidates";
            },
          },
          "Close",
        ),
      ),
      this.facts(row),
      this.configuration(row) ?? "", // null would be shown as a word
      this.line(row) ?? "",
      element("p", { class: "bar", role: "group", "aria-label": "What to look at" }, ...buttons),
      this.body,
    );
    this.look(this.wanted === "picture" && !this.pictures(row.number, "network", theme()) ? plain : this.wanted);
  }

  /** Look at this of every candidate from now on, as far as there is one. */
  want(view) {
    this.wanted = view;
    this.look(view);
  }

  /** The button that puts a candidate beside others. */
  comparing(row) {
    const button = element(
      "button",
      {
        type: "button",
        id: "detail-compare",
        "aria-pressed": String(this.compared.has(row.number)),
        click: () => {
          this.compared.toggle(row.number);
          button.setAttribute("aria-pressed", String(this.compared.has(row.number)));
        },
      },
      "Compare",
    );
    return button;
  }

  /** All choices of a candidate with their values; null in a space of moves. */
  configuration(row) {
    const chosen = this.run.choices.filter((name) => row[`choice ${name}`] !== null && row[`choice ${name}`] !== undefined);
    if (!chosen.length) return null;
    const parent = row.parent === null ? undefined : this.run.byNumber.get(row.parent);
    const lines = chosen.map((name) => {
      const value = row[`choice ${name}`];
      const before = parent?.[`choice ${name}`];
      return [name, before !== undefined && before !== value ? element("strong", {}, `${value} (was ${before ?? "not asked"})`) : value];
    });
    return element(
      "details",
      { open: true },
      element("summary", {}, `Its ${plural(chosen.length, "choice")}`),
      plainTable(["choice", "value"], lines),
    );
  }

  facts(row) {
    const link = (to) => element("a", { href: `#${to}` }, `${this.run.noun} ${to}`);
    const measures = this.run.measures();
    const facts = [
      [
        this.run.about.rungs[row.rung] ?? "score",
        row.score === null ? element("span", { class: "failed" }, `none – ${trouble(row)}`) : number(row.score),
      ],
      ...this.run.components.map((name) => [name, number(row[`component ${name}`])]),
      ["parameters", `${number(row.params)}  (${short(row.params)})`],
      ["FLOPs (2 × MACs)", `${number(row.flops)}  (${short(row.flops)})`],
      ...["operations", "activations", "peak"]
        .filter((name) => row[name])
        .map((name) => [measures.get(name).label, number(row[name])]),
      ...(this.run.about.measured ? [["network", origin(row)]] : this.made(row, link)),
      ["key", row.key],
    ].filter(([, value]) => value !== "–" && value !== "");
    return element(
      "table",
      { class: "plain" },
      element(
        "tbody",
        {},
        ...facts.map(([name, value]) =>
          element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)),
        ),
      ),
    );
  }

  /** Where a candidate of a search came from, and how it was scored. */
  made(row, link) {
    const children = this.run.children(row.number);
    const some = children.slice(0, 12).flatMap((child) => [link(child.number), " "]);
    return [
      ["how it came", origin(row)],
      ["parent", row.parent === null ? "none" : link(row.parent)],
      ...(row.mate === null ? [] : [["second parent", link(row.mate)]]),
      [
        "children",
        children.length
          ? element("span", {}, ...some, children.length > 12 ? `and ${children.length - 12} more` : "")
          : "none",
      ],
      ...(this.run.lastRung ? [["rung", `${row.rung} of ${this.run.lastRung}`]] : []),
      ["moves refused before", number(row.refused)],
      [
        "scored",
        [
          `in ${duration(row.seconds)}`,
          row.worker && `by ${row.worker}`,
          row.started && `at ${new Date(1000 * row.started).toLocaleString()}`,
        ]
          .filter(Boolean)
          .join(" "),
      ],
      ["seed", row.seed],
    ];
  }

  line(row) {
    const line = this.run.line(row.number);
    if (line.length < 2) return null;
    const steps = line
      .slice(0, 200)
      .map((one) =>
        element(
          "li",
          {},
          element("a", { href: `#${one.number}` }, String(one.number)),
          ` ${origin(one)}`,
          one.score === null ? "" : ` – ${number(one.score)}`,
        ),
      );
    const more =
      line.length > 200
        ? element("p", { class: "note" }, `and ${line.length - 200} more, back to ${line.at(-1).number}`)
        : null;
    return element(
      "details",
      {},
      element("summary", {}, `Its line: ${plural(line.length - 1, "step")} from candidate ${line.at(-1).number}`),
      element("ol", {}, ...steps),
      more,
    );
  }

  look(view) {
    this.view = view;
    for (const button of this.box.querySelectorAll("[data-view]"))
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
    const made = { picture: () => this.picture(), diff: () => this.diff(), text: () => this.text() }[view]();
    this.body.replaceChildren(...made.filter(Boolean));
  }

  picture(level = "network") {
    const address = this.pictures(this.row.number, level, theme());
    if (!address) {
      return [
        element(
          "p",
          { class: "note" },
          "This page has diagrams of the best candidates, of the start and of the line that leads to the best. For this one, save its " +
            "text as a file and draw it: uninas render candidate.uni -o candidate.svg",
        ),
      ];
    }
    const levels = ["network", "block"].filter((one) => this.pictures(this.row.number, one, theme()));
    const image = element("img", {
      src: address,
      alt: `Diagram of ${this.run.noun} ${this.row.number}; the text says the same`,
      error: () => frame.replaceChildren(element("p", { class: "note" }, "This diagram cannot be drawn.")),
    });
    const frame = element("div", { class: "picture", tabindex: "0" }, image);
    const full = element(
      "button",
      {
        type: "button",
        "aria-pressed": "false",
        click: () => {
          full.setAttribute("aria-pressed", String(frame.classList.toggle("full")));
        },
      },
      "Full size",
    );
    const choices =
      levels.length < 2
        ? []
        : levels.map((one) =>
            element(
              "button",
              {
                type: "button",
                "aria-pressed": String(one === level),
                click: () => this.body.replaceChildren(...this.picture(one)),
              },
              one === "network" ? "Network" : "Blocks",
            ),
          );
    return [element("p", {}, ...choices.flatMap((button) => [button, " "]), full), frame];
  }

  text() {
    const lines = this.run.lines(this.row.number);
    if (lines === null)
      return [element("p", { class: "note" }, `This page has no text of this ${this.run.noun}${this.run.about.measured ? "." : "; the database of the run has."}`)];
    const text = `${lines.join("\n")}\n`;
    const copied = element("button", { type: "button", click: () => copy(text, copied) }, "Copy");
    const saved = element(
      "a",
      {
        href: URL.createObjectURL(new Blob([text], { type: "text/plain" })),
        download: `${this.run.noun}-${this.row.number}.uni`,
      },
      "Save as a file",
    );
    return [element("p", {}, copied, " ", saved), element("pre", { tabindex: "0" }, text)];
  }

  diff() {
    const [base, stored] = this.run.changes.get(this.row.number) ?? [];
    if (stored === undefined || base === null) {
      const why =
        base === null ? "This candidate was not made from another one." : "This page has no text of this candidate.";
      return [element("p", { class: "note" }, why)];
    }
    const before = this.run.lines(base);
    const changes = before === null ? [] : changesOf(before, namedAs(before, this.run.lines(this.row.number)));
    if (before === null || changes.length === 0) {
      return [
        element(
          "p",
          { class: "note" },
          before === null ? "This page has no text of its parent." : `The same as candidate ${base}.`,
        ),
      ];
    }
    const shown = element("pre", { class: "diff", tabindex: "0" });
    let last = 0;
    const put = (kind, sign, some) =>
      shown.append(...some.map((line) => element("span", { class: kind }, `${sign} ${line}\n`)));
    for (const [place, gone, come] of changes) {
      const from = Math.max(last, place - 3);
      if (from > last || last === 0) shown.append(element("span", { class: "place" }, `line ${from + 1}\n`));
      put("same", " ", before.slice(from, place));
      put("gone", "−", before.slice(place, place + gone));
      put("added", "+", come);
      last = place + gone;
    }
    put("same", " ", before.slice(last, last + 3));
    return [element("p", {}, `− candidate ${base}, + candidate ${this.row.number}`), shown];
  }
}
