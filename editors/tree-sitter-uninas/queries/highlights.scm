; Later patterns win in Neovim, earlier ones in other editors: so each name fits one pattern that says more than @variable.
(comment) @comment
(number) @number
(arrow) @operator
(operator) @operator
["{" "}" "(" ")" "[" "]"] @punctuation.bracket
["block" "network" "space" "from" "import"] @keyword
(definition name: (identifier) @type)
(import (identifier) @type)
(path) @module
(call function: (identifier) @function.call)
(binding name: (identifier) @variable)

((identifier) @keyword
  (#any-of? @keyword
    "input" "init" "stem" "stage" "head" "section" "stride" "choose" "with" "start" "moves" "patience" "budget" "where"
    "at" "as" "if" "else" "and" "or" "not" "repeat" "each" "shared" "step"))

((identifier) @variable.builtin
  (#any-of? @variable.builtin "in" "out" "C" "H" "W" "width" "index"))

((identifier) @boolean
  (#any-of? @boolean "true" "false"))
