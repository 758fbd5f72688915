// Starts `uninas lsp` and hands it to the editor. All that is known about the language is known by that server.
"use strict";

const { ViewColumn, commands, window, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function start() {
  const command = workspace.getConfiguration("uninas").get("command", "uninas");
  client = new LanguageClient(
    "uninas",
    "UniNAS",
    { command, args: ["lsp", "--stdio"] },
    { documentSelector: [{ language: "uninas" }] },
  );
  try {
    await client.start();
  } catch (problem) {
    client = undefined;
    window.showWarningMessage(
      `UniNAS cannot start '${command} lsp': ${problem.message}. Install it with pip install 'uninas-toolkit[lsp]', ` +
        "or say where it is in the setting uninas.command. Colours and snippets work without it.",
    );
  }
}

async function stop() {
  const running = client;
  client = undefined;
  await running?.stop();
}

let panel;

/** Draw the definition at the cursor beside the text, and again when the text is saved. */
async function preview() {
  const editor = window.activeTextEditor;
  if (!client || editor?.document.languageId !== "uninas") return;
  const { line, character } = editor.selection.active;
  const found = await client.sendRequest("uninas/preview", {
    textDocument: { uri: editor.document.uri.toString() },
    position: { line, character },
  });
  if (!found) {
    window.setStatusBarMessage("UniNAS: nothing here can be drawn", 4000);
    return;
  }
  if (!panel) {
    panel = window.createWebviewPanel("uninas.preview", "UniNAS", { viewColumn: ViewColumn.Beside, preserveFocus: true });
    panel.onDidDispose(() => {
      panel = undefined;
    });
  }
  const policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
  const picture = Buffer.from(found.svg).toString("base64");
  panel.title = found.name || "UniNAS";
  panel.webview.html =
    `<!doctype html><meta http-equiv="Content-Security-Policy" content="${policy}">` +
    `<body style="background: white"><img style="max-width: 100%" src="data:image/svg+xml;base64,${picture}">`;
}

async function activate(context) {
  context.subscriptions.push(
    commands.registerCommand("uninas.preview", preview),
    workspace.onDidSaveTextDocument((document) => {
      if (panel && document.languageId === "uninas") preview();
    }),
    commands.registerCommand("uninas.restart", async () => {
      await stop();
      await start();
    }),
    workspace.onDidChangeConfiguration(async (event) => {
      if (event.affectsConfiguration("uninas.command")) {
        await stop();
        await start();
      }
    }),
  );
  await start();
}

module.exports = { activate, deactivate: stop };
