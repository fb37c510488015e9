"""Runs the model: prompts, the context window, llama.cpp, and its thread."""
