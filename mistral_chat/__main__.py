"""Starts the program with ``python -m mistral_chat``."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, where a file could shadow a library
    from mistral_chat.cli.main import main

    main()
