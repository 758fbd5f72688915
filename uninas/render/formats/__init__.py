"""Formats: a scene written as DOT, SVG, PNG, PDF or Mermaid."""
