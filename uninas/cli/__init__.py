"""The command line: every command, its options and its tables. Only this folder imports click."""
