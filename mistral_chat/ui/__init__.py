"""The terminal user interface. Nothing outside this folder imports textual or rich."""
