// The form of UniNAS texts for editors: definitions, calls, bindings, brackets. It takes every right text, and many that
// are not; what a text means, `uninas check` and the language server say. Words of the language are names here, told
// apart by queries/highlights.scm, because most of them may name a wire, too.

module.exports = grammar({
  name: "uninas",
  word: ($) => $.identifier,
  extras: ($) => [/\s/, $.comment],
  rules: {
    source_file: ($) => repeat(choice($.import, $.definition)),

    import: ($) =>
      seq("from", field("module", $.path), "import", $.identifier, repeat(seq(",", $.identifier))),
    path: ($) => seq($.identifier, repeat(seq(".", $.identifier))),

    definition: ($) =>
      seq(
        field("kind", choice("block", "network", "space")),
        field("name", $.identifier),
        optional($.arguments),
        $.body,
      ),

    body: ($) => seq("{", repeat($._item), "}"),
    arguments: ($) => seq("(", repeat($._item), ")"),
    index: ($) => seq("[", repeat($._item), "]"),

    _item: ($) =>
      choice(
        $.binding,
        $.call,
        $.identifier,
        $.number,
        $.arrow,
        $.operator,
        $.body,
        $.arguments,
        $.index,
        ",",
        ".",
        ":",
      ),
    binding: ($) => prec(1, seq(field("name", $.identifier), "=")),
    call: ($) => prec(1, seq(field("function", $.identifier), $.arguments)),

    arrow: ($) => "->",
    operator: ($) => choice("==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "//", "/", "%", "|", ".."),
    number: ($) => /[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+|[kMG%])?/,
    identifier: ($) => /[A-Za-z_][A-Za-z0-9_]*/,
    comment: ($) => /#[^\n]*/,
  },
});
