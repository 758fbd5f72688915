"""The language server protocol: an editor's questions about places in documents, asked of `uninas.lsp.text`.

A document is looked at when it is opened and after every change; answers are given from that state. Places count
characters from 0 here and whatever the editor counts there (UTF-16 units, unless it says otherwise).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from lsprotocol import types
from pygls import uris
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.workspace import PositionCodec

from uninas.errors import WARNINGS, Diagnostic, Source, Span, UninasError, in_a_line
from uninas.graph import Graph
from uninas.language.formatter import format_text
from uninas.lsp.text import Found, Part, Text
from uninas.version import __version__

KINDS = {
    "operation": types.CompletionItemKind.Function,
    "block": types.CompletionItemKind.Class,
    "network": types.CompletionItemKind.Module,
    "space": types.CompletionItemKind.Module,
    "module": types.CompletionItemKind.File,
    "wire": types.CompletionItemKind.Variable,
    "parameter": types.CompletionItemKind.Variable,
    "argument": types.CompletionItemKind.Property,
    "move": types.CompletionItemKind.Method,
    "cost": types.CompletionItemKind.Constant,
    "word": types.CompletionItemKind.Keyword,
}
TOKENS = ("comment", "number", "keyword", "function", "class", "parameter", "variable")
"""Kinds of words that an editor may colour, by the names of the protocol."""
PARTS = {
    "block": types.SymbolKind.Class,
    "network": types.SymbolKind.Module,
    "space": types.SymbolKind.Namespace,
    "section": types.SymbolKind.Field,
    "stage": types.SymbolKind.Array,
    "choice": types.SymbolKind.Enum,
    "wire": types.SymbolKind.Variable,
}


class Placed(Protocol):
    """A question about a place in a document."""

    text_document: types.TextDocumentIdentifier
    position: types.Position


class Server(LanguageServer):
    """The server, with the last state of every open document."""

    def __init__(self) -> None:
        super().__init__("uninas", __version__)
        self.texts: dict[str, Text] = {}

    def read(self, uri: str) -> None:
        """Look at a document anew and publish its problems."""
        document = self.workspace.get_text_document(uri)
        path = Path(document.path) if document.path and uri.startswith("file:") else None
        text = Text(document.source, str(path or uri), path, self.texts.get(uri))
        self.texts[uri] = text
        places = Places(text.source, document.position_codec)
        found = [places.diagnostic(one) for one in (*text.problems, *text.cautions)]
        self.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri=uri, diagnostics=found, version=document.version)
        )

    def under(self, params: Placed) -> tuple[Text, Places, int]:
        """A document, and the offset in it that an editor asks about."""
        text, places = self.at(params.text_document.uri)
        return text, places, places.offset(params.position)

    def at(self, uri: str) -> tuple[Text, Places]:
        """A document as it was read last."""
        if uri not in self.texts:
            self.read(uri)
        codec = self.workspace.get_text_document(uri).position_codec
        return self.texts[uri], Places(self.texts[uri].source, codec)


class Places:
    """Offsets of a text to positions in a document, and back."""

    def __init__(self, source: Source, codec: PositionCodec):
        self.source = source
        self.codec = codec
        self.lines = [f"{line}\n" for line in source.text.split("\n")]

    def position(self, offset: int) -> types.Position:
        line, column = self.source.position(max(0, offset))
        return self.codec.position_to_client_units(self.lines, types.Position(line - 1, column - 1))

    def offset(self, position: types.Position) -> int:
        place = self.codec.position_from_client_units(self.lines, position)
        return sum(map(len, self.lines[: place.line])) + place.character

    def range(self, start: int, end: int) -> types.Range:
        return types.Range(self.position(start), self.position(end))

    def of(self, span: Span) -> types.Range:
        return self.range(span.start, span.end)

    def diagnostic(self, problem: Diagnostic) -> types.Diagnostic:
        """A mistake where it is; one in another file is shown at the top, with its place in words."""
        here = problem.span is not None and problem.span.source.text == self.source.text
        away = f"{problem.span}: " if problem.span and not here else ""
        notes = "".join(f"\n{note}" for note in problem.notes)
        return types.Diagnostic(
            range=self.of(problem.span) if here and problem.span else self.range(0, 0),
            message=f"{away}{problem.message}{notes}",
            severity=types.DiagnosticSeverity.Warning if problem.code in WARNINGS else types.DiagnosticSeverity.Error,
            code=problem.code,
            source="uninas",
            data={"suggestion": problem.suggestion} if here and problem.suggestion else None,
        )


def symbol(places: Places, part: Part) -> types.DocumentSymbol:
    """A part of the outline."""
    return types.DocumentSymbol(
        name=part.name,
        kind=PARTS[part.kind],
        detail=part.kind,
        range=places.of(part.span),
        selection_range=places.of(part.name_span),
        children=[symbol(places, one) for one in part.parts],
    )


def item(found: Found) -> types.CompletionItem:
    """A completion, the nearest meaning first."""
    order = (
        ("argument", "wire", "parameter").index(found.kind) if found.kind in ("argument", "wire", "parameter") else 5
    )
    documentation = types.MarkupContent(types.MarkupKind.Markdown, found.full) if found.full else None
    return types.CompletionItem(
        label=found.name,
        kind=KINDS[found.kind],
        detail=found.short or found.kind,
        documentation=documentation,
        sort_text=f"{order}{found.name}",
        insert_text=f"{found.name}=" if found.kind == "argument" else None,
    )


Draw = Callable[[Graph], str]
"""Draws a graph as SVG."""


def serve(draw: Draw | None = None) -> Server:
    """A server with all its features, which `start_io` starts; it shows previews where there is who draws them."""
    server = Server()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        server.read(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        server.read(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: types.DidSaveTextDocumentParams) -> None:
        for uri in list(server.texts):  # others may import what was saved
            server.read(uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.texts.pop(uri, None)
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=uri, diagnostics=[]))

    _features_of_places(server)
    _features_of_documents(server)
    _quick_fixes(server)
    _features_of_names(server)
    if draw is not None:
        _preview(server, draw)
    return server


def _preview(server: Server, draw: Draw) -> None:
    """`uninas/preview`: the diagram of the definition at a position, or of the last one, as SVG."""

    @server.feature("uninas/preview")
    def preview(params: Any) -> dict[str, str] | None:
        text, places = server.at(str(_value(_value(params, "textDocument"), "uri")))
        position, offset = _value(params, "position"), None
        if position is not None:
            line, character = (int(_value(position, name)) for name in ("line", "character"))
            offset = places.offset(types.Position(line, character))
        found = text.drawable(offset)
        try:
            return None if found is None else {"name": found.name, "svg": draw(found)}
        except UninasError:  # too large to be drawn
            return None


def _value(given: Any, name: str) -> Any:
    """A part of what an editor sent in a request of our own, whatever holds it."""
    return given.get(name) if isinstance(given, dict) else getattr(given, name, None)


def _features_of_names(server: Server) -> None:
    """Names of a text: their colours, and other ones."""
    legend = types.SemanticTokensLegend(token_types=list(TOKENS), token_modifiers=[])

    @server.feature(types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, legend)
    def tokens(params: types.SemanticTokensParams) -> types.SemanticTokens:
        text, places = server.at(params.text_document.uri)
        data: list[int] = []
        line = character = 0
        for offset, length, kind in text.tokens():
            start, end = places.position(offset), places.position(offset + length)
            before = character if start.line == line else 0
            size = end.character - start.character
            data += [start.line - line, start.character - before, size, TOKENS.index(kind), 0]
            line, character = start.line, start.character
        return types.SemanticTokens(data=data)

    @server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
    def nameable(params: types.PrepareRenameParams) -> types.Range | None:
        text, places, offset = server.under(params)
        span = text.nameable(offset)
        return places.of(span) if span else None

    @server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
    def rename(params: types.RenameParams) -> types.WorkspaceEdit:
        text, places, offset = server.under(params)
        try:
            found = text.renamed(offset, params.new_name)
        except UninasError as problem:
            raise JsonRpcInvalidParams(in_a_line(problem)) from None
        edits = [types.TextEdit(places.of(span), params.new_name) for span in found]
        return types.WorkspaceEdit(changes={params.text_document.uri: edits})


def _features_of_places(server: Server) -> None:
    """What is asked about what stands under the cursor."""

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        text, places, offset = server.under(params)
        found = text.hover(offset)
        if found is None:
            return None
        return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, found[1]), places.of(found[0]))

    @server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=[">", "(", ",", "."]))
    def completion(params: types.CompletionParams) -> types.CompletionList:
        text, _, offset = server.under(params)
        known: dict[str, Found] = {}
        for found in text.completions(offset):
            known.setdefault(found.name, found)
        return types.CompletionList(is_incomplete=False, items=[item(found) for found in known.values()])

    @server.feature(types.TEXT_DOCUMENT_SIGNATURE_HELP, types.SignatureHelpOptions(trigger_characters=["(", ","]))
    def signature(params: types.SignatureHelpParams) -> types.SignatureHelp | None:
        text, _, offset = server.under(params)
        found = text.signature(offset)
        if found is None:
            return None
        name, arguments, active = found
        parameters = [types.ParameterInformation(label=one.name, documentation=one.short) for one in arguments]
        label = f"{name}({', '.join(one.name for one in arguments)})"
        return types.SignatureHelp([types.SignatureInformation(label, None, parameters)], 0, active)

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def definition(params: types.DefinitionParams) -> types.Location | None:
        text, places, offset = server.under(params)
        found = text.definition(offset)
        if found is None:
            return None
        path, span = found
        if path is None:
            return types.Location(params.text_document.uri, places.of(span))
        uri = uris.from_fs_path(str(path))
        return types.Location(uri, Places(span.source, places.codec).of(span)) if uri else None


def _features_of_documents(server: Server) -> None:
    """What is asked of a whole document."""

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def symbols(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        text, places = server.at(params.text_document.uri)
        return [symbol(places, part) for part in text.outline()]

    @server.feature(types.TEXT_DOCUMENT_INLAY_HINT)
    def hints(params: types.InlayHintParams) -> list[types.InlayHint]:
        text, places = server.at(params.text_document.uri)
        first, last = places.offset(params.range.start), places.offset(params.range.end)
        shapes = [
            types.InlayHint(places.position(offset), shape, types.InlayHintKind.Type, padding_left=True)
            for offset, shape in text.shapes()
            if first <= offset <= last
        ]
        return shapes + [
            types.InlayHint(places.position(offset), value, types.InlayHintKind.Parameter)
            for offset, value in text.sizes()
            if first <= offset <= last
        ]

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatting(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        text, places = server.at(params.text_document.uri)
        try:
            made = format_text(text.source.text, text.source.name)
        except UninasError:  # the editor shows why already
            return None
        whole = places.range(0, len(text.source.text))
        return [] if made == text.source.text else [types.TextEdit(whole, made)]


def _quick_fixes(server: Server) -> None:
    """What mends a mistake: the word that was meant, in its place."""

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix])
    )
    def actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        text, places = server.at(params.text_document.uri)
        first, last = places.offset(params.range.start), places.offset(params.range.end)
        made = []
        for problem in text.problems:
            shown = places.diagnostic(problem)
            if problem.span is None or not shown.data or problem.span.end < first or problem.span.start > last:
                continue
            new = str(problem.suggestion)
            edit = types.WorkspaceEdit(changes={params.text_document.uri: [types.TextEdit(shown.range, new)]})
            made.append(
                types.CodeAction(
                    title=f"Write {new}",
                    kind=types.CodeActionKind.QuickFix,
                    diagnostics=[shown],
                    is_preferred=True,
                    edit=edit,
                )
            )
        return made
