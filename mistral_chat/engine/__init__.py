"""Runs the model: prompts, the rolling window, llama.cpp, and the thread it lives on."""
