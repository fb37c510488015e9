"""Starts the program with ``python -m mistral_chat``."""

from mistral_chat.cli.main import main

if __name__ == "__main__":
    main()
