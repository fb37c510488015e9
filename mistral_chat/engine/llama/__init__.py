"""The llama.cpp bindings, through the low-level API. Nothing outside this folder imports llama_cpp."""
