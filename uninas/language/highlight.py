"""Colours for `.uni` texts: a Pygments lexer, which Sphinx and terminals find under the name `uninas`.

Editors use editors/vscode/syntaxes/uninas.tmLanguage.json instead. Pygments is needed only here; nothing else imports
this module.
"""

from __future__ import annotations

import re

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, Text, Whitespace

from uninas.language.resources import grammar_text

KEYWORDS = tuple(sorted(set(re.findall(r'"([a-z]+)"', grammar_text()))))
"""Every word of the grammar. Most are free as names elsewhere: `stride` begins nothing in `conv(64, 3, stride)`."""

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_FREE = r"(?!\s*(?:[,)\]}.=!<>*/%]|->))"  # what follows shows that a word is a name, not a keyword


class UniLexer(RegexLexer):
    """Lexer of the UniNAS language."""

    name = "UniNAS"
    aliases = ("uninas", "uni")
    filenames = ("*.uni",)
    tokens = {  # noqa: RUF012  # Pygments reads it so
        "root": [
            (r"\s+", Whitespace),
            (r"#[^\n]*", Comment.Single),
            (rf"\b(block|network|space)(\s+)({_NAME})", bygroups(Keyword.Declaration, Whitespace, Name.Class)),
            (
                rf"\b(from)(\s+)({_NAME}(?:\s*\.\s*{_NAME})*)(\s+)(import)\b",
                bygroups(Keyword.Namespace, Whitespace, Name.Namespace, Whitespace, Keyword.Namespace),
            ),
            (r"(:)(\s*)(int|float|bool|block)\b", bygroups(Punctuation, Whitespace, Keyword.Type)),
            (rf"\b(as)(\s+)({_NAME})", bygroups(Keyword, Whitespace, Name.Label)),
            (words(("true", "false"), prefix=r"\b", suffix=r"\b"), Keyword.Constant),
            (r"(?<![\w.])(?:in(?=\s*(?:[,)\]}.+*]|->|\[|$))|out|[CHW])\b", Name.Builtin.Pseudo),
            (
                rf"(->|\|)(\s*)(?!(?:{'|'.join(KEYWORDS)})\b)({_NAME})",
                bygroups(Operator, Whitespace, Name.Function),
            ),
            (r"(?<=[\w)\]])(\s+)(x)(?=\s+[\w(])", bygroups(Whitespace, Operator.Word)),
            (r"\bx(?=\s+[\d(])", Operator.Word),
            (words(KEYWORDS, prefix=r"\b", suffix=r"\b" + _FREE), Keyword),
            (rf"{_NAME}(?=\s*\()", Name.Function),
            (rf"{_NAME}(?=\s*(?:=(?!=)|:))", Name.Variable),
            (_NAME, Name),
            (r"\d+(?:\.\d+)?(?:e[+-]?\d+|[kMG](?!\w)|%(?!\s*[\w(]))?", Number),
            (r"->|\.\.|==|!=|<=|>=|//|[-+*/%<>=|]", Operator),
            (r"[{}()\[\],.:]", Punctuation),
            (r".", Text),
        ]
    }
