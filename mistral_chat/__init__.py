"""A private chat with Mistral 7B Instruct, in the terminal, on your own machine."""

__version__ = "0.1.0"
