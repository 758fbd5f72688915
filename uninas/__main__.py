"""`python -m uninas` is the `uninas` command."""

from uninas.cli import main

if __name__ == "__main__":
    main()
