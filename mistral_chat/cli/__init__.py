"""The commands: one small module each, loaded when it is called."""
