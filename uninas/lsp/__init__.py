"""The language server: what an editor asks about a text (`text`), and the protocol in which it asks (`server`)."""
