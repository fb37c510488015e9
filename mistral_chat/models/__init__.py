"""GGUF files: what can be had, what is on this disk, and how it gets here."""
