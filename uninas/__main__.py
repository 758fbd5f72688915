"""`python -m uninas` is the `uninas` command."""

from uninas.cli.main import main

if __name__ == "__main__":
    main()
