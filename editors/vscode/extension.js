// Starts `uninas lsp` and hands it to the editor. All that is known about the language is known by that server.
"use strict";

const { commands, window, workspace } = require("vscode");
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

async function activate(context) {
  context.subscriptions.push(
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
