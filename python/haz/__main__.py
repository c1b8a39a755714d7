"""``python -m haz``: the command ``haz``."""

from haz.cli.main import main

if __name__ == "__main__":
    main()
