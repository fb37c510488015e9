"""The commands: one small module each, imported when it is called."""
