"""The language: texts to syntax trees to graphs and spaces, and back."""
